"""What stands beside a model in a flow: output parsers, moderation, caches and a second model, on a real server."""

import json
from collections.abc import Callable, Generator
from typing import Any

import pytest
from model_nodes import SECRET
from provider import Answer, Provider, Seen, as_json
from servers import Reply, Server, flow, node, serving

MODEL = "{{chatOpenAI_0.data.instance}}"
PARSERS = {
    "csvOutputParser": {},
    "customListOutputParser": {"length": "2", "separator": ";"},
    "structuredOutputParser": {
        "jsonStructure": json.dumps([{"property": "n", "type": "number", "description": "how many"}])
    },
    "advancedStructuredOutputParser": {
        "exampleJson": "z.object({ n: z.number().int(), t: z.array(z.string()).min(1) })"
    },
}


@pytest.fixture(scope="module")
def server(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    environ = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": provider.url, "GROQ_API_KEY": SECRET}
    environ["GROQ_BASE_URL"] = provider.url + "/groq"
    with serving(tmp_path_factory.mktemp("answers") / "data", **environ) as server:
        yield server


def says(*texts: str) -> Answer:
    """An answer of OpenAI's protocol."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return Answer(
        [*(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in [*chunks, last]), b"data: [DONE]\n\n"]
    )


def in_turn(provider: Provider, *answers: Answer) -> None:
    """These answers, one a request; then none."""
    left = list(answers)
    provider.seen = []
    provider.answer = lambda _: left.pop(0) if left else Answer(status=418)


def by(provider: Provider, choose: Callable[[Seen], Answer]) -> None:
    provider.seen = []
    provider.answer = choose


def chain(*more: dict[str, Any], model: str = MODEL, **inputs: Any) -> dict[str, Any]:
    prompt = node("promptTemplate", "Prompts", template="Tell: {q}")
    parts: dict[str, Any] = {"model": model, "prompt": "{{promptTemplate_0.data.instance}}", **inputs}
    return flow(openai_node(), prompt, *more, node("llmChain", "Chains", output="llmChain", **parts))


def openai_node(**inputs: Any) -> dict[str, Any]:
    return node("chatOpenAI", "Chat Models", modelName="gpt-3.5-turbo", streaming=True, **inputs)


def parsing(tag: str, **inputs: Any) -> dict[str, Any]:
    values: dict[str, Any] = {**PARSERS[tag], **inputs}
    parser = node(tag, "Output Parsers", **values)
    return chain(parser, outputParser="{{" + tag + "_0.data.instance}}")


# Output parsers

READ: list[tuple[str, str, Any]] = [
    ("csvOutputParser", " red, green ,blue\n", ["red", "green", "blue"]),
    ("csvOutputParser", "red", ["red"]),
    ("customListOutputParser", "a, b; c", ["a, b", "c"]),
    ("structuredOutputParser", '{"n": 2.5}', {"n": 2.5}),
    ("structuredOutputParser", 'Here:\n```json\n{"n": 1}\n```\nDone.', {"n": 1}),
    ("advancedStructuredOutputParser", '```\n{"n": 3, "t": ["x"]}```', {"n": 3, "t": ["x"]}),
]


@pytest.mark.parametrize(("tag", "said", "value"), READ)
def test_an_answer_is_read_into_its_form(server: Server, provider: Provider, tag: str, said: str, value: Any) -> None:
    in_turn(provider, says(said[:3], said[3:]))
    reply = server.ask(server.create_flow(parsing(tag)), "Go")
    assert (reply.status, reply.json.get("json")) == (200, value), reply.text
    assert provider.seen[0].body["messages"][0]["content"].startswith("Tell: Go\n")


def test_a_flow_with_a_parser_does_not_stream(server: Server, provider: Provider) -> None:
    in_turn(provider, says("a,b"))
    reply = server.ask(server.create_flow(parsing("csvOutputParser")), "Go", streaming=True)
    assert reply.json["json"] == ["a", "b"]


WRONG: list[tuple[str, str, str]] = [
    ("customListOutputParser", "a;b;c", "there are 3 items where 2 are wanted"),
    ("structuredOutputParser", "I do not know", "JSON is malformed"),
    ("structuredOutputParser", '{"n": "two"}', "'two' is not of type 'number'"),
    ("structuredOutputParser", '{"n": 1, "m": 2}', "'m' was unexpected"),
    ("advancedStructuredOutputParser", '{"n": 1.5, "t": ["x"]}', "1.5 is not of type 'integer'"),
    ("advancedStructuredOutputParser", '{"n": 1, "t": []}', "at $.t"),
]


@pytest.mark.parametrize(("tag", "said", "message"), WRONG)
def test_an_answer_of_another_form_is_an_error_that_says_what_is_wrong(
    server: Server, provider: Provider, tag: str, said: str, message: str
) -> None:
    in_turn(provider, says(said))
    reply = server.ask(server.create_flow(parsing(tag)), "Go")
    assert (reply.status, reply.json["code"]) == (502, "provider_malformed"), reply.text
    assert message in reply.json["message"]


def test_an_answer_of_another_form_is_mended_once_where_the_flow_wants_it(server: Server, provider: Provider) -> None:
    flow_id = server.create_flow(parsing("structuredOutputParser", autofixParser=True))
    in_turn(provider, says("n is two"), says('{"n": 2}'))
    assert server.ask(flow_id, "Go").json["json"] == {"n": 2}
    mend = provider.seen[1].body["messages"][0]["content"]
    assert "n is two" in mend
    assert "malformed" in mend
    in_turn(provider, says("n is two"), says("still two"), says('{"n": 2}'))
    reply = server.ask(flow_id, "Go")
    assert reply.json["code"] == "provider_malformed"
    assert len(provider.seen) == 2


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("z.object({ n: z.number() ", "the schema cannot be read"),
        ("z.enum()", "z.enum needs a list"),
        ("z.string().regex(/(/)", "the schema cannot be read"),
        ("", "'exampleJson' is not set"),
    ],
)
def test_a_schema_that_cannot_be_read_is_the_flows_fault(
    server: Server, provider: Provider, schema: str, message: str
) -> None:
    in_turn(provider, says("{}"))
    reply = server.ask(server.create_flow(parsing("advancedStructuredOutputParser", exampleJson=schema)), "Go")
    assert (reply.status, reply.json["code"]) == (422, "flow_error"), reply.text
    assert message in reply.json["message"]
    assert provider.seen == []


# Moderation


def moderated(*more: dict[str, Any], tag: str, **inputs: Any) -> dict[str, Any]:
    guard = node(tag, "Moderation", **inputs)
    return chain(guard, *more, inputModeration=["{{" + tag + "_0.data.instance}}"])


def test_a_question_on_the_list_never_reaches_the_model(server: Server, provider: Provider) -> None:
    flow_id = server.create_flow(
        moderated(tag="inputModerationSimple", denyList="make BOMBS\n\n  steal \n", moderationErrorMessage="No way.")
    )
    in_turn(provider, says("Fine"))
    for question in ("How to make bombs?", "I STEAL"):
        assert server.ask(flow_id, question).json["text"] == "No way."
    streamed = server.ask(flow_id, "steal", streaming=True)
    assert "".join(e["data"] for e in streamed.events if e["event"] == "token") == "No way."
    assert provider.seen == []
    assert server.ask(flow_id, "Bake bread").json["text"] == "Fine"


def test_a_list_with_a_model_is_compared_in_meaning(server: Server, provider: Provider) -> None:
    guard = {"denyList": "steal\nkill", "model": MODEL, "moderationErrorMessage": "No."}
    flow_id = server.create_flow(moderated(tag="inputModerationSimple", **guard))
    in_turn(provider, says("No"), says(" YES."))
    assert server.ask(flow_id, "rob").json["text"] == "No."
    in_turn(provider, says("No"), says("No"), says("Sure"))
    assert server.ask(flow_id, "bake").json["text"] == "Sure"
    assert "steal" in provider.seen[0].body["messages"][0]["content"]


def test_a_question_that_openai_flags_never_reaches_the_model(server: Server, provider: Provider) -> None:
    flow_id = server.create_flow(moderated(tag="inputModerationOpenAI", moderationErrorMessage=""))
    in_turn(provider, as_json({"id": "m", "results": [{"flagged": True, "categories": {"violence": True}}]}))
    assert "violates OpenAI's content moderation policies" in server.ask(flow_id, "Bad").json["text"]
    assert (provider.seen[0].path, provider.seen[0].body) == ("/moderations", {"input": "Bad"})
    in_turn(provider, as_json({"results": [{"flagged": False}]}), says("Good"))
    assert server.ask(flow_id, "Nice").json["text"] == "Good"


@pytest.mark.parametrize("answer", [as_json({"error": {"message": f"bad {SECRET}"}}, 401), Answer([b"<html>"])])
def test_a_question_that_could_not_be_looked_at_is_not_asked(
    server: Server, provider: Provider, answer: Answer
) -> None:
    in_turn(provider, answer, says("Never"))
    reply = server.ask(server.create_flow(moderated(tag="inputModerationOpenAI")), "Hm")
    assert reply.status == 502
    assert SECRET not in reply.text
    assert [seen.path for seen in provider.seen] == ["/moderations"]


# Caches


def test_a_cached_answer_costs_no_request_until_the_flow_changes(server: Server, provider: Provider) -> None:
    cached = chain(node("inMemoryCache", "Cache"))
    cached["nodes"][0] = openai_node(cache="{{inMemoryCache_0.data.instance}}")
    cached["edges"].append({"source": "inMemoryCache_0", "target": "chatOpenAI_0"})
    flow_id = server.create_flow(cached)
    in_turn(provider, says("One ", "two"), says("Another"), says("New"))

    def text(reply: Reply) -> str:
        return "".join(e["data"] for e in reply.events if e["event"] == "token")

    assert [text(server.ask(flow_id, "Hi", streaming=True)) for _ in range(3)] == ["One two"] * 3
    assert len(provider.seen) == 1
    assert server.ask(flow_id, "Hi").json["text"] == "One two"
    assert server.ask(flow_id, "Something else").json["text"] == "Another"
    assert len(provider.seen) == 2
    changed = {"flowData": json.dumps(cached)}
    assert server.send("PUT", f"/api/v1/chatflows/{flow_id}", changed, admin=True).status == 200
    assert server.ask(flow_id, "Hi").json["text"] == "New"


def test_a_broken_answer_is_not_cached(server: Server, provider: Provider) -> None:
    cached = chain(node("inMemoryCache", "Cache"))
    cached["nodes"][0] = openai_node(cache="{{inMemoryCache_0.data.instance}}")
    flow_id = server.create_flow(cached)
    half = Answer(says("Hal").pieces[:1])
    in_turn(provider, half, says("Whole"))
    assert server.ask(flow_id, "Hi").json["code"] == "provider_cut"
    assert server.ask(flow_id, "Hi").json["text"] == "Whole"


# A second model


def two_models() -> dict[str, Any]:
    groq = node("groqChat", "Chat Models", modelName="llama", streaming=True)
    both = ["{{chatOpenAI_0.data.instance}}", "{{groqChat_0.data.instance}}"]
    fallback = node("chatFallback", "Chat Models", models=both)
    return chain(groq, fallback, model="{{chatFallback_0.data.instance}}")


def test_the_second_model_answers_when_the_first_refuses(server: Server, provider: Provider) -> None:
    by(provider, lambda seen: says("Second") if "/groq/" in seen.path else as_json({"error": {"message": "no"}}, 400))
    assert server.ask(server.create_flow(two_models()), "Hi").json["text"] == "Second"
    assert [seen.path.startswith("/groq/") for seen in provider.seen] == [False, True]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (Answer(says("Hal").pieces[:1]), "provider_cut"),
        (as_json({"error": {"message": "filtered", "code": "content_filter"}}, 400), "provider_filtered"),
    ],
    ids=["an answer that has begun", "a filter's refusal"],
)
def test_the_second_model_is_not_asked_after(server: Server, provider: Provider, first: Answer, code: str) -> None:
    by(provider, lambda seen: says("Second") if "/groq/" in seen.path else first)
    assert server.ask(server.create_flow(two_models()), "Hi").json["code"] == code
    assert len(provider.seen) == 1


def test_the_last_models_error_is_the_answer(server: Server, provider: Provider) -> None:
    by(provider, lambda seen: as_json({"error": {"message": "third" if "/groq/" in seen.path else "first"}}, 404))
    reply = server.ask(server.create_flow(two_models()), "Hi")
    assert reply.json["code"] == "provider_not_found"
    assert "third" in reply.json["message"]
