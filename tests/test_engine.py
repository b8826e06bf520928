"""Flows without a server: references, inputs, overrides, graphs and which of them stream."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import chat_model, conversation, flow, llm_chain, node

from headrace.engine.catalog import catalog, tag
from headrace.engine.coverage import coverage
from headrace.engine.flow_file import read_flow
from headrace.engine.graph import Graph, endings, nodes_of, streams
from headrace.engine.inputs import fields_of, read
from headrace.engine.node import Node
from headrace.engine.overrides import OverrideRules, Overrides, Parameter, merged
from headrace.engine.references import Scope, node_ids, text_of
from headrace.errors import FlowError, InvalidRequest, UnknownNodes
from headrace.nodes import built_in
from headrace.nodes.memory import BufferWindowMemory
from headrace.nodes.prompts import PromptTemplate, filled, variables
from headrace.schema import FlowFile, NodeData

BASE = "http://127.0.0.1:9/v1"
CATALOG = built_in()

ChatOpenAI = built_in()["chatOpenAI"]


def scope(**built: Any) -> Scope:
    found = Scope(
        {"question": "why?", "chat_history": "Human: Hi"},
        {"chatId": "c-1", "chatHistory": [{"message": "Hi", "type": "userMessage"}]},
        {"town": "Oslo", "json": '{"a": {"b": [1, 2]}}'},
    )
    found.built.update(built)
    return found


def drawn(described: dict[str, Any]) -> FlowFile:
    return msgspec.convert(described, FlowFile)


# References

RESOLVED: dict[str, tuple[Any, Any]] = {
    "nothing to replace": ("plain", "plain"),
    "question": ("Q: {{question}}", "Q: why?"),
    "history": ("{{chat_history}}", "Human: Hi"),
    "variable": ("in {{$vars.town}}", "in Oslo"),
    "flow value": ("{{$flow.chatId}}", "c-1"),
    "path into a list": ("{{$flow.chatHistory.0.message}}", "Hi"),
    "structure as text": ("{{$flow.chatHistory}}!", '[{"message":"Hi","type":"userMessage"}]!'),
    "path into JSON text": ("{{$vars.json.a.b.1}}", "2"),
    "result of a node": ("got {{llmChain_0.data.instance}}", 'got {"name": "Ada", "tags": ["x"]}'),
    "path into a result": ("{{llmChain_0.data.instance.name}}", "Ada"),
    "several": ("{{question}} {{question}} {{$vars.town}}", "why? why? Oslo"),
    "list": (["{{question}}", {"k": "{{$vars.town}}"}, 5], ["why?", {"k": "Oslo"}, 5]),
    "key of an object stays": ({"{{question}}": "{{question}}"}, {"{{question}}": "why?"}),
    "unknown variable stays": ("{{$vars.unknown}}", "{{$vars.unknown}}"),
    "unknown node stays": ("{{other_0.data.instance}}", "{{other_0.data.instance}}"),
    "path that leads nowhere stays": ("{{$flow.chatHistory.7.message}}", "{{$flow.chatHistory.7.message}}"),
    "path through a text stays": ("{{$vars.town.name}}", "{{$vars.town.name}}"),
    "blanks inside stay": ("{{ question }}", "{{ question }}"),
    "single braces stay": ("{question}", "{question}"),
    "number stays": (5, 5),
    "null stays": (None, None),
}


@pytest.mark.parametrize(("value", "expected"), RESOLVED.values(), ids=RESOLVED.keys())
def test_references_are_replaced_where_variables_are_accepted(value: Any, expected: Any) -> None:
    built = {"llmChain_0": '{"name": "Ada", "tags": ["x"]}'}
    assert scope(**built).resolve(value, accepts_variables=True) == expected


def test_question_and_history_are_replaced_nowhere_else() -> None:
    for text in ("{{question}}", "{{chat_history}}", "Q: {{question}}"):
        assert scope().resolve(text, accepts_variables=False) == text
    assert scope().resolve("{{$vars.town}} {{$flow.chatId}}", accepts_variables=False) == "Oslo c-1"


def test_a_whole_reference_is_what_the_node_built_and_a_part_is_its_text() -> None:
    built = object()
    found = scope(model_0=built, data_0={"a": [1]})
    assert found.resolve("{{model_0.data.instance}}", accepts_variables=False) is built
    assert found.resolve(["{{model_0.data.instance}}"], accepts_variables=False) == [built]
    assert found.resolve("{{data_0.data.instance.a}}", accepts_variables=False) == [1]
    assert found.resolve("{{data_0.data.instance}}", accepts_variables=True) == '{"a":[1]}'


TEXTS = st.text() | st.lists(
    st.sampled_from(["{{question}}", "{{$vars.town}}", "{{", "}}", "$&", "{", "\\", "\n", "x"])
).map("".join)


@given(TEXTS, TEXTS, TEXTS)
def test_a_value_is_never_read_as_a_reference_again(question: str, town: str, around: str) -> None:
    found = Scope({"question": question}, {}, {"town": town})
    assert found.resolve("[{{question}}|{{$vars.town}}]", accepts_variables=True) == f"[{question}|{town}]"
    once = found.resolve(around, accepts_variables=True)
    values = {"{{question}}": question, "{{$vars.town}}": town}
    assert once == re.sub(r"\{\{question\}\}|\{\{\$vars\.town\}\}", lambda found: values[found[0]], around)


def test_node_ids_are_found_at_any_depth() -> None:
    value = ["{{a_0.data.instance}}", {"k": "x {{b_1.data.instance.text}} {{c_2.data.instance}}"}, 5, "{{question}}"]
    assert node_ids(value) == {"a_0", "b_1", "c_2"}


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(), st.lists))
def test_a_value_inside_a_text_is_compact_json(value: Any) -> None:
    text = text_of(value)
    assert text == value if isinstance(value, str) else json.loads(text) == value


# Prompt templates


@given(st.dictionaries(st.sampled_from(["a", "b c", "é"]), TEXTS, min_size=3, max_size=3))
def test_a_template_is_filled_in_one_pass(values: dict[str, str]) -> None:
    template = "{a}{{literal}}{b c}{x: 1}{é}{a}"
    assert variables(template) == ["a", "b c", "é"]
    assert filled(template, values) == f"{values['a']}{{literal}}{values['b c']}{{x: 1}}{values['é']}{values['a']}"


def test_an_open_variable_is_named() -> None:
    with pytest.raises(FlowError, match="variable 'b' has no value"):
        filled("{a} {b}", {"a": "1", "b": None})


# Inputs

READ: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "numbers as texts": ({"temperature": "0.2", "maxTokens": "7"}, {"temperature": 0.2, "maxTokens": 7}),
    "numbers": ({"temperature": 1, "maxTokens": 7}, {"temperature": 1, "maxTokens": 7}),
    "empty means not set": ({"temperature": "", "maxTokens": "", "modelName": ""}, {"modelName": "gpt-4o-mini"}),
    "null means not set": ({"temperature": None, "streaming": None}, {"temperature": 0.9, "streaming": True}),
    "booleans as texts": ({"streaming": "false", "allowImageUploads": "true"}, {"allowImageUploads": True}),
    "JSON as text": ({"baseOptions": '{"X": "1"}'}, {"baseOptions": {"X": "1"}}),
    "JSON as object": ({"baseOptions": {"X": 1}}, {"baseOptions": {"X": 1}}),
    "empty JSON": ({"baseOptions": ""}, {"baseOptions": {}}),
    "inputs that the record does not know": ({"fallback": "{{x}}", "colour": "red"}, {}),
}


@pytest.mark.parametrize(("given_inputs", "expected"), READ.values(), ids=READ.keys())
def test_loose_inputs_become_what_the_record_declares(given_inputs: dict[str, Any], expected: dict[str, Any]) -> None:
    record = read(ChatOpenAI, given_inputs, "OpenAI (chatOpenAI_0)")
    assert {name: getattr(record, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "inputs", "message"),
    [
        (ChatOpenAI, {"temperature": "warm"}, "input 'temperature' cannot be used"),
        (ChatOpenAI, {"maxTokens": "few"}, "input 'maxTokens' cannot be used"),
        (ChatOpenAI, {"baseOptions": "{"}, "input 'baseOptions' cannot be used"),
        (BufferWindowMemory, {"k": {}}, "input 'k' cannot be used"),
        (PromptTemplate, {"template": ["x", object()]}, "input 'template' cannot be used"),
        (CATALOG["llmChain"], {"prompt": PromptTemplate()}, "input 'model' is not set or not connected"),
        (
            CATALOG["llmChain"],
            {"model": "gpt", "prompt": PromptTemplate()},
            "a chat model must be connected here, not a text",
        ),
        (CATALOG["llmChain"], {"model": PromptTemplate()}, "a chat model must be connected here, not a prompt"),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_its_node(
    kind: type[Node], inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(FlowError) as caught:
        read(kind, inputs, "My node (node_0)")
    assert str(caught.value).startswith("My node (node_0): ")
    assert message in str(caught.value)


LOOSE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())


@given(st.dictionaries(st.sampled_from(sorted(fields_of(ChatOpenAI))), LOOSE | st.dictionaries(st.text(), LOOSE)))
def test_any_inputs_give_a_record_or_a_flow_error(inputs: dict[str, Any]) -> None:
    try:
        record = read(ChatOpenAI, inputs, "x")
    except FlowError as error:
        assert str(error).startswith("x: input '")  # noqa: PT017
    else:
        assert msgspec.convert(msgspec.to_builtins(record), ChatOpenAI) == record


# Overrides

OPEN = OverrideRules(status=True, nodes={"OpenAI": [Parameter(name, True) for name in ("list", "object", "text")]})


def applied(inputs: dict[str, Any], **values: Any) -> dict[str, Any]:
    node = NodeData(id="chatOpenAI_0", name="chatOpenAI", label="OpenAI", inputs=inputs)
    return {name: merged(inputs.get(name), value) for name, value in Overrides(OPEN, values).of(node).items()}


def test_lists_are_joined_without_repetition_and_replace_what_is_no_list() -> None:
    assert applied({"list": ["a", "b"]}, list=["b", "c"]) == {"list": ["a", "b", "c"]}
    assert applied({"list": "a"}, list=["b"]) == {"list": ["b"]}
    assert applied({}, list=["b"]) == {"list": ["b"]}


def test_objects_are_merged_into_objects_and_json_texts() -> None:
    assert applied({"object": {"a": 1, "b": 1}}, object={"b": 2}) == {"object": {"a": 1, "b": 2}}
    assert applied({"object": '{"a": 1}'}, object={"b": 2}) == {"object": {"a": 1, "b": 2}}
    assert applied({"object": "{a"}, object={"b": 2}) == {"object": {"b": 2}}


@given(
    st.dictionaries(
        st.sampled_from(["list", "object", "text", "closed", "vars"]), LOOSE | st.dictionaries(st.text(), LOOSE)
    )
)
def test_only_listed_inputs_ever_change(values: dict[str, Any]) -> None:
    assert set(applied({"closed": "x", "list": ["a"]}, **values)) <= {"list", "object", "text"}
    off = OverrideRules(status=False, nodes=OPEN.nodes, variables=[Parameter("a", True)])
    assert Overrides(off, values).of(NodeData(id="chatOpenAI_0", name="chatOpenAI", label="OpenAI")) == {}
    assert Overrides(off, {"vars": {"a": "x"}}).variables() == {}


# Graphs


def test_a_graph_has_what_its_ending_needs_dependencies_first() -> None:
    described = llm_chain(BASE, "{x}")
    described["nodes"].append(node("bufferMemory", "Memory"))  # nothing needs it
    graph = Graph(drawn(described), CATALOG)
    assert [n.id for n in graph.order] == ["chatOpenAI_0", "promptTemplate_0", "llmChain_0"]
    assert graph.ending.id == "llmChain_0"
    assert graph.memory is None


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_node_comes_after_what_it_needs(count: int, random: Any) -> None:
    needs = {n: sorted({random.randrange(n) for _ in range(random.randrange(4))}) if n else [] for n in range(count)}
    prompts = [
        node(
            "promptTemplate",
            "Prompts",
            n,
            template=" ".join(f"{{{{promptTemplate_{m}.data.instance}}}}" for m in below),
        )
        for n, below in needs.items()
    ]
    last = node("llmChain", "Chains", prompt=[f"{{{{promptTemplate_{n}.data.instance}}}}" for n in needs])
    random.shuffle(prompts)
    order = [n.id for n in Graph(drawn(flow(*prompts, last)), CATALOG).order]
    assert len(set(order)) == len(order)
    for n in (int(key.rpartition("_")[2]) for key in order[:-1]):
        assert all(order.index(f"promptTemplate_{m}") < order.index(f"promptTemplate_{n}") for m in needs[n])


def test_a_long_line_of_nodes_is_no_problem() -> None:
    first = node("promptTemplate", "Prompts", 0, template="x")
    line = [
        node("promptTemplate", "Prompts", n, template=f"{{{{promptTemplate_{n - 1}.data.instance}}}}")
        for n in range(1, 3000)
    ]
    edges = [{"source": a["id"], "target": b["id"]} for a, b in zip([first, *line], line, strict=False)]
    last = node("llmChain", "Chains", prompt="{{promptTemplate_2999.data.instance}}")
    edges.append({"source": "promptTemplate_2999", "target": "llmChain_0"})
    assert len(Graph(drawn({"nodes": [first, *line, last], "edges": edges}), CATALOG).order) == 3001


def test_unknown_nodes_are_named_only_when_the_flow_needs_them() -> None:
    described = conversation(BASE, memory="zepMemory")
    assert coverage(drawn(described), CATALOG).missing == ["zepMemory"]
    with pytest.raises(UnknownNodes, match="'zepMemory'"):
        Graph(drawn(described), CATALOG)
    described = conversation(BASE)
    described["nodes"].append(node("couchbase", "Vector Stores"))
    assert coverage(drawn(described), CATALOG).missing == ["couchbase"]
    assert Graph(drawn(described), CATALOG)


def test_edges_to_nowhere_and_notes_are_ignored() -> None:
    described = conversation(BASE)
    described["edges"] += [{"source": "gone_0", "target": "conversationChain_0"}, {"source": "a", "target": "b"}]
    described["nodes"].append({"id": "note_0", "type": "stickyNote", "data": {"id": "note_0", "name": "stickyNote"}})
    assert len(Graph(drawn(described), CATALOG).order) == 3
    assert len(nodes_of(drawn(described))) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object, not a list at $;"),
        ("{}", "`nodes` is missing at $;"),
        ('{"nodes": [{"id": "a"}]}', "`data` is missing at $.nodes[0];"),
        ('{"nodes": [{"id": "a", "data": {"id": "a", "name": 5}}]}', "not a whole number at $.nodes[0].data.name;"),
        ('{"nodes": [{"data": {"name": "x"}}]}', "`id` is missing at $.nodes[0].data;"),
    ],
)
def test_what_is_no_flow_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_flow(text)
    assert message in str(caught.value)


def test_the_last_of_several_endings_is_the_one_that_answers() -> None:
    two = flow(
        chat_model(BASE),
        node("conversationChain", "Chains", 0, model="{{chatOpenAI_0.data.instance}}"),
        node("conversationChain", "Chains", 1, model="{{chatOpenAI_0.data.instance}}"),
    )
    assert [n.id for n in endings(drawn(two))] == ["conversationChain_0", "conversationChain_1"]
    assert Graph(drawn(two), CATALOG).ending.id == "conversationChain_1"


# The catalog


def test_every_node_type_is_described() -> None:
    for name, kind in CATALOG.items():
        assert tag(kind) == name
        assert kind.__doc__


def test_a_node_type_may_not_be_brought_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        value = "plugin:NODES"

        @staticmethod
        def load() -> tuple[type[Node], ...]:
            class Impostor(Node, frozen=True, kw_only=True, tag="chatOpenAI"):
                pass

            return (Impostor,)

    monkeypatch.setattr(
        "headrace.engine.catalog.entry_points", lambda group: [Point]
    )  # a package that we cannot install
    with pytest.raises(ValueError, match="'chatOpenAI', which exists already"):
        catalog([(ChatOpenAI,)])


# The builder's own templates and what it streams

MARKETPLACE = Path(__file__).parents[2] / "shared" / "flowise"
TEMPLATES = sorted((MARKETPLACE / "templates").glob("*flows*/*.json"))
FLAGS = MARKETPLACE / "transcripts" / "streaming_flags_of_templates" / "table.json"
beside = pytest.mark.skipif(not TEMPLATES, reason="the builder's templates are not beside this project")
TYPES = {"chatflows": "CHATFLOW", "agentflows": "MULTIAGENT", "agentflowsv2": "AGENTFLOW"}


@beside
def test_every_template_of_the_builder_imports_with_a_coverage_report() -> None:
    assert len(TEMPLATES) == 51
    for path in TEMPLATES:
        read_one = read_flow(path.read_text())
        found = coverage(read_one, CATALOG)
        assert {n.name for n in nodes_of(read_one)} <= {*found.runs, *found.missing}, path
        assert set(found.runs) <= set(CATALOG)


@beside
def test_what_the_builder_streams_streams_here_too() -> None:
    flags = [row for row in json.loads(FLAGS.read_text()) if row["path"] == "chatflows-streaming"]
    assert len(flags) == 51
    for row in flags:
        path = MARKETPLACE / row["template"]
        if row["status"] == 200 and row["body"]["isStreaming"]:
            assert streams(read_flow(path.read_text()), TYPES[path.parent.name], CATALOG), path
