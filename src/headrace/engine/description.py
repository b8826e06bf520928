"""Descriptions of node types, read from their records: what docs, builders and the coverage report show of a node."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from headrace.engine.annotations import Input, NodeInfo, Option, Output
from headrace.engine.catalog import tag
from headrace.engine.inputs import fields_of, parts_of
from headrace.engine.node import Node, Sink, Step

_WORD: Final = re.compile(
    r"OpenAI|OpenAPI|LocalAI|MistralAI|VoyageAI|SQLite|WolframAlpha|SearXNG|BraveSearch|[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+"
)
_SHORT: Final = {"Url": "URL", "Api": "API", "Id": "ID", "Sql": "SQL", "Json": "JSON", "Llm": "LLM", "Pdf": "PDF"}
_PLAIN: Final[Mapping[Any, str]] = {str: "string", int: "number", float: "number", bool: "boolean", Any: "string"}
# By the name of the class that a node builds: its category, and the base classes of that category's nodes.
_CAPABILITIES: Final[Mapping[str, str]] = {
    "ChatModel": "Chat Models",
    "Embeddings": "Embeddings",
    "Tool": "Tools",
    "Memory": "Memory",
    "Retriever": "Retrievers",
    "Splitter": "Text Splitters",
    "Documents": "Document Loaders",
    "Prompt": "Prompts",
    "OutputParser": "Output Parsers",
    "Moderation": "Moderation",
    "Cache": "Cache",
    "VectorStore": "Vector Stores",
}
_BASES: Final[Mapping[str, Sequence[str]]] = {
    "Chat Models": ("BaseChatModel", "BaseLanguageModel", "Runnable"),
    "LLMs": ("LLM", "BaseLLM", "BaseLanguageModel", "Runnable"),
    "Embeddings": ("Embeddings",),
    "Cache": ("BaseCache",),
    "Document Loaders": (),
    "Text Splitters": ("TextSplitter", "BaseDocumentTransformer", "Runnable"),
    "Vector Stores": ("VectorStoreRetriever", "BaseRetriever"),
    "Record Manager": ("RecordManager",),
    "Retrievers": ("BaseRetriever",),
    "Prompts": ("BasePromptTemplate", "Runnable"),
    "Memory": ("BaseChatMemory", "BaseMemory"),
    "Moderation": ("Moderation",),
    "Output Parsers": ("BaseLLMOutputParser", "Runnable"),
    "Utilities": ("Utilities",),
    "Tools": ("Tool", "StructuredTool", "Runnable"),
    "Tools (MCP)": ("Tool",),
    "Chains": ("BaseChain", "Runnable"),
    "Agents": ("BaseChain", "Runnable"),
}
_ANCHORS: Final[Mapping[str, str]] = {
    "ChatModel": "BaseChatModel",
    "Cache": "BaseCache",
    "OutputParser": "BaseLLMOutputParser",
    "Memory": "BaseChatMemory",
    "Prompt": "BasePromptTemplate",
    "Retriever": "BaseRetriever",
    "Documents": "Document",
    "Splitter": "TextSplitter",
    "Step": "BaseChain",
}
"""The builders' names of connections, where ours differ."""
_LOADS: Final[Mapping[str, str]] = {
    "ChatModel": "listModels",
    "Tool": "listTools",
    "Embeddings": "listEmbeddings",
    "VectorStore": "listVectorStores",
}
"""An agent flow's node names its components in place of connections; so these lists offer them."""
AGENT_FLOWS: Final = "Agent Flows"


class Description(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A node type as builders read it."""

    name: str
    label: str
    version: float
    type: str
    category: str
    icon: str
    """The key of its picture: `GET /api/v1/node-icon/{name}` draws it."""
    description: str
    baseClasses: Sequence[str]
    inputs: Sequence[Input]
    outputs: Sequence[Output] = ()
    credential: Input | None = None
    color: str = ""
    hideInput: bool = False


def label(name: str) -> str:
    """The name in words: `plainText` is "Plain Text"."""
    found: list[str] = _WORD.findall(name[:1].upper() + name[1:])
    words = [word[:1].upper() + word[1:] for word in found]
    return " ".join([_SHORT.get(word, word) for word in words])


def node_info(kind: type[Node]) -> NodeInfo:
    """The `info` of a node type, completed by the types that it inherits from."""
    said = [base.__dict__["info"] for base in kind.__mro__ if "info" in base.__dict__]
    own = said[0] if "info" in kind.__dict__ else NodeInfo()
    near: dict[str, Any] = {
        name: next((value for one in said if (value := getattr(one, name)) not in (None, "", ())), None)
        for name in (
            "category",
            "type",
            "outputs",
            "credentials",
            "bases",
            "keyless",
            "packages",
            "streams",
            "names_question",
        )
    }
    name = tag(kind).removesuffix("Agentflow")  # which all nodes of agent flows have
    return NodeInfo(
        label=own.label or label(name),
        version=own.version or 1,
        category=near["category"] or _category(kind),
        type=near["type"] or name[:1].upper() + name[1:],
        bases=near["bases"] or (),
        outputs=near["outputs"] or (),
        credentials=near["credentials"] or (),
        keyless=near["keyless"],
        packages=near["packages"] or (),
        streams=near["streams"] is not False,
        names_question=bool(near["names_question"]),
    )


def _category(kind: type[Node]) -> str:
    """The category that follows from what a node is or builds."""
    if issubclass(kind, Step):
        return "Chains"
    if issubclass(kind, Sink):
        return "Vector Stores"
    built = getattr(get_type_hints(kind.build).get("return"), "__name__", "")
    return _CAPABILITIES.get(built, "Utilities")


@cache
def described(kind: type[Node]) -> Description:
    """The whole description of a node type."""
    says = node_info(kind)
    bases = says.bases or _BASES.get(says.category, ())
    return Description(
        name=tag(kind),
        label=says.label,
        version=says.version,
        type=says.type,
        category=says.category,
        icon=tag(kind),
        description=summary(kind),
        baseClasses=list(dict.fromkeys((says.type, *bases))),
        inputs=[one for one in inputs_of(kind) if not one.legacy],
        outputs=says.outputs,
        credential=_credential(says),
        color=color_of(tag(kind)) if says.category == AGENT_FLOWS else "",
        hideInput=tag(kind) == "startAgentflow",
    )


def summary(thing: Any) -> str:
    """The first paragraph of its docstring, in one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def color_of(name: str) -> str:
    """A colour for a name: the same at every start, and readable under white letters."""
    hue = sum(ord(letter) * place for place, letter in enumerate(name, 7)) * 47 % 360
    return f"hsl({hue}, 45%, 40%)"


def _credential(says: NodeInfo) -> Input | None:
    if not says.credentials:
        return None
    return Input(
        name="credential",
        label="Connect Credential",
        type="credential",
        credentialNames=says.credentials,
        optional=bool(says.keyless),
    )


def inputs_of(kind: type[Node]) -> Iterable[Input]:
    """All inputs of a node type, those of older flows included."""
    fields, in_agent_flow = fields_of(kind), node_info(kind).category == AGENT_FLOWS
    own = (one for one in _described(kind) if one.name not in ("output", "node", "credential"))
    for one in own:
        port = fields[one.name].port
        if in_agent_flow and port is not None and (load := _LOADS.get(port.__name__)):
            yield msgspec.structs.replace(one, type="asyncOptions", loadMethod=load)
        elif not (in_agent_flow and one.name.endswith("Config")):  # the inputs of what another input names
            yield one


def _described(kind: type[Any]) -> Iterator[Input]:
    """The inputs that a record's fields declare: a node's, or those of each item of a list."""
    hints, prefix = get_type_hints(kind, include_extras=True), _prefix(kind)
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    for field in msgspec.structs.fields(kind):
        one = _input(field, list(parts_of(hints[field.name])))
        yield msgspec.structs.replace(
            one,
            label=one.label or label(_without(prefix, field.encode_name)),
            show={names.get(name, name): value for name, value in one.show.items()},
            hide={names.get(name, name): value for name, value in one.hide.items()},
        )


def _without(prefix: str, name: str) -> str:
    rest = name.removeprefix(prefix)
    return rest if rest[:1].isupper() else name


def _prefix(kind: type[Any]) -> str:
    """The word that all inputs of an agent flow's node begin with; its labels do without."""
    return tag(kind).removesuffix("Agentflow") if issubclass(kind, Node) and tag(kind).endswith("Agentflow") else ""


def _input(field: msgspec.structs.FieldInfo, parts: list[Any]) -> Input:
    metas = [meta for part in parts for meta in getattr(part, "__metadata__", ())]
    said = _merged(meta for meta in metas if isinstance(meta, Input))
    marks = [meta.extra or {} for meta in metas if isinstance(meta, msgspec.Meta)]
    plain = [part for part in parts if not hasattr(part, "__metadata__")]
    choices = said.options or _choices(plain)
    items = _items(plain)
    return msgspec.structs.replace(
        said,
        name=field.encode_name,
        type=said.type or _type(plain, load=bool(said.loadMethod), several=bool(choices), items=bool(items)),
        optional=not field.required,
        default=_default(field) if said.default is None else said.default,
        options=choices,
        acceptVariable=said.acceptVariable or any(mark.get("acceptVariable") for mark in marks),
        list=said.list or (_anchor(plain) is not None and any(get_origin(part) is list for part in plain)),
        array=said.array or items,
    )


def _merged(said: Iterable[Input]) -> Input:
    """Several annotations of one field as one."""
    merged: dict[str, Any] = {}
    for one in said:
        merged |= {name: value for name in one.__struct_fields__ if (value := getattr(one, name))}
    return Input(**merged)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    """The default as JSON has it; None for one that only says that nothing is set."""
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is msgspec.NODEFAULT or value == "" or value == [] or value == {}:
        return None
    return msgspec.to_builtins(value, enc_hook=str)


def _choices(parts: Iterable[Any]) -> Sequence[Option]:
    """The values that may be chosen; "" only says that none is."""
    every = [name for part in parts if get_origin(part) is Literal for name in get_args(part)]
    return [Option(str(name), str(name)) for name in every if name != ""]


def _items(parts: Iterable[Any]) -> Sequence[Input]:
    """The inputs of each item, where the field is a list of records that are no nodes.

    What a component inside of an item is set to stands beside its name, as in `agentSelectedToolConfig`.
    """
    for part in parts:
        item = get_args(part)[0] if get_origin(part) is list else None
        if isinstance(item, type) and issubclass(item, msgspec.Struct) and not issubclass(item, Node):
            every = list(_described(item))
            names = {one.name for one in every}
            return [one for one in every if not (one.name.endswith("Config") and one.name[:-6] in names)]
    return ()


def _anchor(parts: Iterable[Any]) -> str | None:
    """The builders' name of the connection that a field is, None for a parameter."""
    for part in parts:
        if isinstance(part, type) and (getattr(part, "_is_protocol", False) or issubclass(part, Node)):
            return _ANCHORS.get(part.__name__, part.__name__)
    return None


def _type(parts: Sequence[Any], *, load: bool, several: bool, items: bool) -> str:
    if anchor := _anchor(parts):
        return anchor
    is_list = any(get_origin(part) is list for part in parts)
    if load:
        return "asyncMultiOptions" if is_list else "asyncOptions"
    if several:
        return "multiOptions" if is_list else "options"
    if items or is_list:
        return "array"
    if any((get_origin(part) or part) is dict for part in parts):
        return "json"
    wanted = [part for part in parts if get_origin(part) not in (Union, UnionType) and part is not NoneType]
    return next((_PLAIN[part] for part in wanted if part in _PLAIN), "json")
