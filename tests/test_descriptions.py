"""Nodes describe themselves: from their records, completely, and as Flowise's node list has them."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from headrace.engine.annotations import Additional, Code, Input, Legacy, NodeInfo
from headrace.engine.description import described, inputs_of, label, node_info, summary
from headrace.engine.node import Context, Node, Step, Templated
from headrace.engine.ports import ChatModel, Documents, Memory, Tool
from headrace.nodes import built_in

RECORDS = Path(__file__).parents[2] / "shared" / "flowise" / "nodes.json"
CATALOG = built_in()


class Part(msgspec.Struct):
    key: str
    kind: Literal["text", "number"] = "text"


class Example(Node, frozen=True, kw_only=True, tag="exampleTool"):
    """Does something.

    This paragraph is for engineers.
    """

    info = NodeInfo(credentials=("openAIApi",))

    credential: str = ""
    model: ChatModel
    memory: Memory | None = None
    documents: list[Documents] = []  # noqa: RUF012 msgspec copies it
    choice: Literal["a", "b"] = "a"
    several: Additional[list[Literal["x", "y"]]] = []  # noqa: RUF012 msgspec copies it
    values: Templated = {}  # noqa: RUF012 msgspec copies it
    parts: list[Part] = []  # noqa: RUF012 msgspec copies it
    code: Code[str]
    size: Additional[int | None] = 3
    on: bool = False
    old: Legacy[str] = ""
    modelName: Annotated[str, Input(loadMethod="listModels", show={"on": True})] = "m"

    async def build(self, ctx: Context) -> Tool:
        raise NotImplementedError


def test_a_record_alone_says_category_label_and_inputs() -> None:
    says = described(Example)
    assert (says.name, says.label, says.category, says.version) == ("exampleTool", "Example Tool", "Tools", 1)
    assert says.description == "Does something."
    assert says.baseClasses == ["ExampleTool", "Tool", "StructuredTool", "Runnable"]
    assert says.credential is not None
    assert says.credential.credentialNames == ("openAIApi",)
    types = {one.name: one.type for one in says.inputs}
    assert types == {
        "model": "BaseChatModel",
        "memory": "BaseChatMemory",
        "documents": "Document",
        "choice": "options",
        "several": "multiOptions",
        "values": "json",
        "parts": "array",
        "code": "code",
        "size": "number",
        "on": "boolean",
        "modelName": "asyncOptions",
    }


def test_inputs_say_defaults_choices_and_when_they_show() -> None:
    inputs = {one.name: one for one in inputs_of(Example)}
    assert [one.name for one in inputs["choice"].options] == ["a", "b"]
    assert (inputs["choice"].default, inputs["size"].default, inputs["memory"].default) == ("a", 3, None)
    assert [inputs[name].optional for name in ("model", "memory", "code")] == [False, True, False]
    assert [inputs[name].list for name in ("model", "documents", "parts")] == [False, True, False]
    assert [inputs[name].additionalParams for name in ("several", "size", "on")] == [True, True, False]
    assert inputs["values"].acceptVariable
    assert inputs["modelName"].show == {"on": True}
    assert inputs["old"].legacy
    assert [(part.name, part.type, part.optional) for part in inputs["parts"].array] == [
        ("key", "string", False),
        ("kind", "options", True),
    ]


def test_a_step_that_says_nothing_is_a_chain() -> None:
    class Echo(Step, frozen=True, kw_only=True, tag="echoChain"):
        """Says the question again."""

    assert (node_info(Echo).category, node_info(Echo).label) == ("Chains", "Echo Chain")


def test_a_subclass_takes_over_all_but_label_and_version() -> None:
    class First(Node, frozen=True, kw_only=True, tag="first"):
        info = NodeInfo(label="The first", version=4, category="Cache", credentials=("openAIApi",))

    class Second(First, frozen=True, kw_only=True, tag="second"):
        pass

    says = node_info(Second)
    assert (says.label, says.version, says.category, says.credentials) == ("Second", 1, "Cache", ("openAIApi",))


def test_every_node_describes_itself_completely() -> None:
    for name, kind in CATALOG.items():
        says = described(kind)
        assert summary(kind), name
        assert says.label
        assert says.category
        assert all(one.name and one.label and one.type for one in inputs_of(kind)), name
        takes_credential = "credential" in {field.encode_name for field in msgspec.structs.fields(kind)}
        assert says.credential is None or takes_credential, name
        msgspec.json.encode(says)


def recorded() -> list[dict[str, Any]]:
    if not RECORDS.exists():
        pytest.skip("Flowise's node list is not here: ../shared/flowise/nodes.json")
    return [node for node in json.loads(RECORDS.read_text()) if node["name"] in CATALOG]


DEFAULTS = {
    ("chatCerebras", "basepath"): "unset means the provider's own address",
    ("chatOpenRouter", "basepath"): "unset means the provider's own address",
    ("chatSambanova", "basepath"): "Flowise's has a slip in it",
    ("azureOpenAI", "modelName"): "the model is retired",
    ("azureOpenAI", "temperature"): "follows the node for OpenAI",
    ("structuredOutputParser", "jsonStructure"): "an example of Flowise's own",
    ("ifElseFunction", "ifFunction"): "an example of Flowise's own",
    ("seqAgent", "approvalPrompt"): "words of our own",
    ("seqToolNode", "approvalPrompt"): "words of our own",
    ("tavilyAPI", "chunksPerSource"): "unset means what the service has",
    ("tavilyAPI", "days"): "unset means what the service has",
    ("loopAgentflow", "maxLoopCount"): "unset has its own meaning",
    ("conditionAgentflow", "conditions"): "an example of Flowise's own",
    ("llmAgentflow", "llmEnableMemory"): "unset means no memory",
    ("agentAgentflow", "agentEnableMemory"): "unset means no memory",
    ("conditionAgentAgentflow", "conditionAgentEnableMemory"): "unset means no memory",
}
"""Inputs whose default differs on purpose. Names and descriptions of request tools are our own words."""
TYPES = {
    ("openAIEmbeddingsCustom", "modelName"),  # asked for by name here too
}

OPEN = {
    ("startAgentflow", "scheduleTimezone"),  # every zone that Python knows
}


def pairs(node: Mapping[str, Any]) -> Iterator[tuple[Input, Mapping[str, Any]]]:
    """Inputs that both have. One that the original has in several forms under one name is one input here."""
    ours = {one.name: one for one in inputs_of(CATALOG[node["name"]])}
    named = Counter(one["name"] for one in node["inputs"])
    yield from ((ours[one["name"]], one) for one in node["inputs"] if one["name"] in ours and named[one["name"]] == 1)


def test_nodes_agree_with_flowises_in_label_version_and_category() -> None:
    for node in recorded():
        says = described(CATALOG[node["name"]])
        assert says.label == node["label"]
        assert says.version == node["version"], node["name"]
        assert says.category == node["category"]
        mine = set(says.credential.credentialNames if says.credential else ())
        assert set(node.get("credential", ())) <= mine, node["name"]


def test_types_and_choices_agree_with_flowises() -> None:
    differing: list[tuple[str, str, str, str]] = []
    for node in recorded():
        for one, theirs in pairs(node):
            if one.type != theirs["type"] and (node["name"], one.name) not in TYPES:
                differing.append((node["name"], one.name, one.type, theirs["type"]))
    assert differing == []


def test_inputs_of_agent_flows_agree_with_flowises_in_label_choices_and_when_they_show() -> None:
    """The builder knows these nodes by their inputs alone, so all that it shows of one is compared."""
    for node in recorded():
        if node["category"] != "Agent Flows":
            continue
        for one, theirs in pairs(node):
            place = (node["name"], one.name)
            assert (one.label, one.list, one.loadMethod) == (theirs["label"], False, theirs.get("loadMethod", "")), (
                place
            )
            if place not in OPEN:
                assert [choice.name for choice in one.options] == theirs.get("options", []), place
            assert (one.show, one.acceptVariable) == (theirs.get("show", {}), theirs.get("acceptVariable", False)), (
                place
            )


def test_conditions_name_inputs_by_the_names_of_flow_files() -> None:
    for name, kind in CATALOG.items():
        inputs = {one.name: one for one in inputs_of(kind)}
        named = {other for one in inputs.values() for other in (*one.show, *one.hide)}
        assert named <= inputs.keys(), name


def plain(value: Any) -> str:
    """A number as text: Flowise has some as texts."""
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def test_defaults_agree_with_flowises() -> None:
    for node in recorded():
        for one, theirs in pairs(node):
            wanted = theirs.get("default", "")
            if wanted in ("", "(long text)") or (node["name"], one.name) in DEFAULTS:
                continue
            if node["name"].startswith("requests") and one.name.endswith(("Name", "Description")):
                continue
            assert plain(one.default) == plain(wanted), (node["name"], one.name)


def test_outputs_agree_with_flowises() -> None:
    for node in recorded():
        wanted = [one["name"] for one in node.get("outputs", ()) if not one["name"].isdigit()]
        assert [one.name for one in described(CATALOG[node["name"]]).outputs] == wanted, node["name"]


def test_what_fits_together_in_flowise_fits_here() -> None:
    """Anchors are matched by base classes: whatever Flowise's node offers to an anchor, ours offers too."""
    wanted = {name for node in recorded() for one in node["inputs"] for name in one["type"].split(" | ")}
    for node in recorded():
        says = described(CATALOG[node["name"]])
        assert set(node["baseClasses"]) & wanted <= set(says.baseClasses), node["name"]


@pytest.mark.parametrize(("name", "words"), [("baseUrl", "Base URL"), ("topK", "Top K"), ("llmModel", "LLM Model")])
def test_names_become_words(name: str, words: str) -> None:
    assert label(name) == words
