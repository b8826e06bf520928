"""The parts of agent flows without a server: rich text, references, conditions, forms, prices, levels."""

from typing import Any

import msgspec
import pytest
from agentflows import flow, node, reply, start
from calls import context
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.agentflow.execution import HIDDEN, Execution, public
from headrace.engine.agentflow.graph import AgentGraph
from headrace.engine.agentflow.node import AgentRun, Loops
from headrace.engine.agentflow.progress import Item, Progress, Way
from headrace.engine.agentflow.references import Mentions
from headrace.engine.chat import ModelMessage
from headrace.engine.prices import cost
from headrace.engine.richtext import markdown
from headrace.errors import FlowError
from headrace.events import Usage
from headrace.nodes import built_in
from headrace.nodes.agentflow.conditions import Condition, fulfilled
from headrace.nodes.agentflow.forms import FormField, form
from headrace.schema import FlowFile

RICH = {
    "plain text stays": ("1 < 2 <b>x</b>", "1 < 2 <b>x</b>"),
    "paragraphs": ("<p>One</p><p></p><p>Two </p>", "One\n\nTwo"),
    "mention": ('<p>Say <span class="variable" data-id="question">{{ question }}</span></p>', "Say {{ question }}"),
    "marks": ("<p><strong>a</strong> <em>b</em> <s>c</s> <code>d</code></p>", "**a** _b_ ~~c~~ `d`"),
    "heading": ("<h2>Title</h2><p>Text</p>", "## Title\n\nText"),
    "bullets": ("<ul><li><p>a</p></li><li>b</li></ul><p>c</p>", "- a\n- b\n\nc"),
    "numbers": ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b"),
    "line break": ("<p>a<br>b</p>", "a\nb"),
    "link": ('<p><a href="https://x.org">x</a></p>', "[x](https://x.org)"),
    "quote": ("<blockquote><p>a</p></blockquote><p>b</p>", "> a\n\nb"),
    "code block": ("<pre><code>a  b\n c</code></pre>", "```\na  b\n c\n```"),
    "entities": ("<p>a &amp; b &lt;c&gt;</p>", "a & b <c>"),
    "blanks": ("<p>a\n   b</p>", "a b"),
    "JSON in a paragraph": ('<p>[{"item": "a_b"}]</p>', '[{"item": "a_b"}]'),
}


@pytest.mark.parametrize(("text", "expected"), RICH.values(), ids=RICH.keys())
def test_rich_text_becomes_markdown(text: str, expected: str) -> None:
    assert markdown(text) == expected


@given(st.text())
def test_no_text_breaks_the_reader_of_rich_text(text: str) -> None:
    markdown(f"<p>{text}")
    assert markdown(f"x{text}") == f"x{text}"


def mentions(item: Any = ...) -> Mentions:
    ctx = context()
    ctx.question = "why?"
    state = {"a": "one", "deep": {"b": [1, {"c": "x"}]}, "none": None}
    output = {"content": "said", "title": "T", "list": ["x", "y"]}
    executed = [{"nodeId": "llmAgentflow_0", "data": {"output": output}}]
    way = Way(ready=[], gone_back=2)
    run = AgentRun(ctx, Execution(id="e"), Progress(way=way, state=state, executed=executed), "why?")
    run.past = [ModelMessage("user", "Hi"), ModelMessage("assistant", "Hello")]
    return Mentions(run, [ModelMessage("user", "x")], Loops(way), *([] if item is ... else [item]))


FOUND = {
    "question": ("{{ question }}{{question}}", "why?why?"),
    "state": ("{{ $flow.state.a }} {{$flow.state.deep.b[1].c}} {{ $flow.state.deep.b.0 }}", "one x 1"),
    "structure": ("{{ $flow.state.deep }}", '{"b":[1,{"c":"x"}]}'),
    "run": ("{{ $flow.chatId }} {{ $flow.sessionId }} {{ $flow.input }}", "c s why?"),
    "node": ("{{ llmAgentflow_0 }}", "said"),
    "node with an escaped underscore": (r"{{ llmAgentflow\_0 }}", "said"),
    "output of a node": ("{{ llmAgentflow_0.output.title }} {{ llmAgentflow_0.output.list[1] }}", "T y"),
    "history": ("{{ chat_history }}", "Human: Hi\nAssistant: Hello"),
    "counts": ("{{ runtime_messages_length }} {{ loop_count }}", "1 2"),
    "list and object": ([{"k": "{{ question }}", "n": 5}], [{"k": "why?", "n": 5}]),
    "unknown": ("{{ x }} {{ $vars.y }} {{ $flow.state.none }} {{ other_0 }} {{ output }} {{ $iteration }} {{}}",) * 2,
}


@pytest.mark.parametrize(("text", "expected"), FOUND.values(), ids=FOUND.keys())
def test_references_are_replaced(text: Any, expected: Any) -> None:
    assert mentions().resolve(text) == expected


def test_a_nodes_own_output_and_an_iterations_item_are_found() -> None:
    assert mentions().resolve("{{ output }} {{ output.a.b }}", output='{"a": {"b": 3}}') == '{"a": {"b": 3}} 3'
    assert mentions({"item": "abc"}).resolve("{{$iteration.item}} {{ $iteration }}") == 'abc {"item":"abc"}'
    assert mentions("abc").resolve("{{ $iteration }}") == "abc"
    assert mentions().resolve("{{ current_date_time }}").startswith("20")


@given(st.text())
def test_a_value_is_put_in_as_it_is(value: str) -> None:
    way = Way(ready=[])
    run = AgentRun(context(), Execution(id="e"), Progress(way=way), value)
    assert Mentions(run, [], Loops(way)).resolve("a {{ question }} b") == f"a {value} b"


OPERATIONS: list[tuple[str, Any, str, Any, bool]] = [
    ("string", "a cat", "contains", "cat", True),
    ("string", "a cat", "contains", "dog", False),
    ("string", "a cat", "notContains", "dog", True),
    ("string", "a cat", "startsWith", "a", True),
    ("string", "a cat", "startsWith", "cat", False),
    ("string", "a cat", "endsWith", "cat", True),
    ("string", "a", "equal", "a", True),
    ("string", "a", "equal", "A", False),
    ("string", "a", "notEqual", "b", True),
    ("string", "abc12", "regex", r"^[a-c]+\d{2}$", True),
    ("string", "abc", "regex", r"\d", False),
    ("string", "x" * 100_000, "regex", "(x+x+)+y", False),
    ("string", "", "isEmpty", "", True),
    ("string", "x", "isEmpty", "", False),
    ("string", "x", "notEmpty", "", True),
    ("number", "42", "larger", "10", True),
    ("number", 10, "larger", "10", False),
    ("number", "10", "largerEqual", 10, True),
    ("number", "9.5", "smaller", "10", True),
    ("number", "10", "smallerEqual", "10", True),
    ("number", "1e1", "equal", "10.0", True),
    ("number", "11", "notEqual", "10", True),
    ("number", "a cat", "larger", "10", False),
    ("number", "a cat", "smaller", "10", True),
    ("number", "", "smaller", "10", True),
    ("number", None, "equal", "0", True),
    ("number", "", "equal", 0, True),
    ("number", " 5 ", "equal", "5", True),
    ("number", "5 herons", "larger", "4", True),
    ("number", "1e3", "equal", 1000, True),
    ("number", "-0.5", "smaller", "0", True),
    ("number", None, "isEmpty", "", True),
    ("number", "5", "isEmpty", "", False),
    ("string", None, "isEmpty", "", True),
    ("string", None, "equal", "", True),
    ("string", None, "contains", "null", False),
    ("string", 5, "equal", "5", True),
    ("boolean", None, "equal", False, True),
    ("boolean", "false", "equal", False, True),
    ("number", "", "isEmpty", "", True),
    ("number", "0", "notEmpty", "", True),
    ("boolean", True, "equal", "true", True),
    ("boolean", "false", "equal", True, False),
    ("boolean", "false", "notEqual", True, True),
]


@pytest.mark.parametrize(("kind", "one", "operation", "two", "expected"), OPERATIONS)
def test_conditions_compare(kind: Any, one: Any, operation: str, two: Any, expected: bool) -> None:
    assert fulfilled(Condition(kind, one, operation, two)) is expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition("string", "a", "regex", "("), "cannot be read"),
        (Condition("string", "a", "regex", "(((a{1000}){1000}){1000}){1000}"), "cannot be read"),
        (Condition("boolean", "a", "larger", "b"), "no operation 'larger'"),
        (Condition("string", "a", "sounds like", "b"), "no operation 'sounds like'"),
    ],
)
def test_a_condition_that_cannot_be_decided_says_why(condition: Condition, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        fulfilled(condition)


def test_a_structured_output_is_a_schema_of_all_its_fields() -> None:
    fields = [
        FormField("a", "string", description="first"),
        FormField("b", "stringArray"),
        FormField("c", "enum", enumValues="x, y"),
        FormField("d", "jsonArray", jsonSchema='{"k": {"type": "number", "required": false}, "l": {"type": "string"}}'),
        FormField("e", "jsonArray"),
    ]
    schema = form(fields)
    assert schema["required"] == ["a", "b", "c", "d", "e"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["a"] == {"type": "string", "description": "first"}
    assert schema["properties"]["b"]["items"] == {"type": "string"}
    assert schema["properties"]["c"]["enum"] == ["x", "y"]
    assert schema["properties"]["d"]["items"]["required"] == ["l"]
    assert schema["properties"]["e"]["items"]["type"] == "object"


@pytest.mark.parametrize("field", [FormField("a", "enum"), FormField("a", "jsonArray", jsonSchema="{nope")])
def test_a_structured_output_that_makes_no_schema_is_refused(field: FormField) -> None:
    with pytest.raises(FlowError, match="'a'"):
        form([field])


def test_a_calls_cost_is_tokens_times_price_and_absent_without_one() -> None:
    assert cost("gpt-4o-mini", Usage(32, 10, 42)) == {
        "input_cost": 32 * 1.5e-07,
        "output_cost": 10 * 6e-07,
        "total_cost": 32 * 1.5e-07 + 10 * 6e-07,
        "base_input_cost": 1.5e-07,
        "base_output_cost": 6e-07,
    }
    assert cost("nobody-knows", Usage(1, 1, 2)) == {}


def test_what_holds_secrets_is_hidden_and_what_does_not_is_shown() -> None:
    inputs = {
        "FLOWISE_CREDENTIAL_ID": "0c0ffee0",
        "openAIApiKey": "sk",
        "accessToken": "t",
        "baseOptions": {"X": "y"},
        "maxTokens": 5,
        "cache": "",
        "messages": [{"content": "x", "password": "p"}],
    }
    seen = public(inputs)
    assert "0c0ffee0" not in str(seen)
    assert [seen[name] for name in ("openAIApiKey", "accessToken", "baseOptions")] == [HIDDEN] * 3
    assert (seen["maxTokens"], seen["cache"]) == (5, "")
    assert seen["messages"] == [{"content": "x", "password": HIDDEN}]


SECRETS: dict[str, Any] = {
    "in a query": {"requestsGetUrl": "https://x.example/a?q=1&api_key=SECRET&p=2"},
    "in a query's first place": {"url": "see https://x.example/?token=SECRET."},
    "in a signed address": {"messages": [{"content": "https://x.example/a?X-Amz-Signature=SECRET"}]},
    "a user's password": {"url": "postgresql://me:SECRET@db.example/x"},
    "headers in a text": {"mcpServerConfig": '{"url": "https://x.example", "headers": {"Authorization": "SECRET"}}'},
    "the environment of a command": {"mcpServerConfig": '{"command": "x", "env": {"KEY": "SECRET"}}'},
    "deep in a text": {"config": '[{"a": {"apiKey": "SECRET"}}]'},
    "a pair of name and value": {"parameters": [{"key": "api-key", "value": "SECRET"}]},
    "a header by name": {"parameters": [{"name": "Authorization", "value": "Bearer SECRET"}]},
    "an argument": {"toolInputArgs": [{"inputArgName": "token", "inputArgValue": "SECRET"}]},
    "a cookie": {"cookie": "SECRET"},
    "a private key": {"googlePrivateKey": "SECRET"},
}


@pytest.mark.parametrize("inputs", SECRETS.values(), ids=SECRETS.keys())
def test_secrets_are_hidden_wherever_they_stand(inputs: Any) -> None:
    assert "SECRET" not in str(public(inputs))


def test_what_only_looks_like_a_secret_is_shown() -> None:
    inputs = {"url": "https://x.example/a?q=key&page=2", "text": "a ? b & c=key://", "json": '{"a" : 1}', "keys": "k"}
    assert public(inputs) == inputs


def test_notes_are_no_nodes_and_children_lie_inside_their_iteration() -> None:
    note = node("stickyNote")
    note["type"] = "stickyNote"
    inside = "iterationAgentflow_0"
    drawn = flow(
        start(), node("iteration", iterationInput="[]"), reply("a", 1, inside=inside), reply("b", 2, inside=inside),
        note,
        arrows="start_0 iteration_0, directReply_1 directReply_2",
    )  # fmt: skip
    graph = AgentGraph(msgspec.convert(drawn, FlowFile), built_in())
    assert list(graph.top.nodes) == ["startAgentflow_0", inside]
    level = graph.level(Way(ready=[], item=Item(inside, "x", 0, 1)))
    assert level.starts == graph.begun(inside) == ["directReplyAgentflow_1"]
    assert level.parents("directReplyAgentflow_2") == ["directReplyAgentflow_1"]
