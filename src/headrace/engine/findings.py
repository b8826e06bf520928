"""Findings about one node of a flow: each check looks for one kind of thing that does not work here.

A check reads what the node type says of itself (`headrace.engine.annotations`) and what the server holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from headrace.engine.annotations import Input
from headrace.engine.credentials import CredentialKind, installed
from headrace.engine.description import AGENT_FLOWS, inputs_of, node_info
from headrace.engine.inputs import fields_of, plain_name, unreadable, unset
from headrace.engine.node import Node
from headrace.engine.parts import Part

FindingKind: TypeAlias = Literal[
    "node", "structure", "refused", "unset", "unreadable", "unread", "package", "program",
    "file", "credential", "tool", "documentStore", "flow", "variable",
]  # fmt: skip
_BESIDE: Final = frozenset(("credential", "FLOWISE_CREDENTIAL_ID", "output"))
"""Keys that builders write among a node's inputs, and that are none."""
_HARMLESS: Final[Mapping[str, str]] = {
    "chainName": "a name that only the builder shows",
    "reasoning": "it only unfolds other inputs",
    "messageHistory": "it only unfolds other inputs",
    "selectedMessageHistoryTab": "it only unfolds other inputs",
    "batchSize": "how much goes into one call changes no answer",
    "legacyBuild": "there is one way to read PDF files here",
}
"""Inputs of Flowise that nothing here reads and that no answer depends on, with the reasons."""
_TRIGGERS: Final = ("webhook", "callback")
"""How inputs begin that belong to a start with a webhook."""
_MODELS: Final = ("Chat Models", "LLMs", "Embeddings")
_ADDRESS: Final = re.compile(r"base_?(path|url)|endpoint(Host|Url)?|overrideEndpoint", re.IGNORECASE)
"""Inputs that say where a node's server is."""
_VARIABLE: Final = re.compile(r"\$vars\.([A-Za-z_]\w*)")
_STORED: Final = "FILE-STORAGE::"
_LISTS: Final[Mapping[str, FindingKind]] = {
    "listTools": "tool",
    "listStores": "documentStore",
    "listChatflows": "flow",
    "listAgentflows": "flow",
}
"""The lists of things of the server that inputs name, and what they are lists of."""
_NAMES: Final[Mapping[FindingKind, str]] = {
    "tool": "the tool",
    "documentStore": "the document store",
    "flow": "the flow",
}


class Finding(msgspec.Struct, frozen=True):
    """Something of a flow that this server does not do, or that the flow does not bring."""

    node: str
    """The node's id; "" for the flow as a whole."""
    label: str
    kind: FindingKind
    input: str
    """The input's name; "" where it is not about one."""
    stops: bool
    """The flow cannot answer until it is mended; False for a warning."""
    message: str
    """The meaning, and what to do."""


class Inventory(msgspec.Struct, frozen=True):
    """The things of a server that flows name."""

    environ: Mapping[str, str] = {}
    credentials: Collection[str] = ()
    """Ids, like those of tools and flows."""
    tools: Collection[str] = ()
    flows: Collection[str] = ()
    variables: Collection[str] = ()
    """Names."""
    stores: Mapping[str, Collection[str]] = {}
    """The names of node types in each document store, by its id."""
    upserted: Collection[str] = ()
    """Ids of the flows whose documents an upsert has brought."""
    files: Path | None = None
    """The folder with a folder of files for each flow."""


class Look(NamedTuple):
    """A part with everything that findings about it depend on."""

    part: Part
    kind: type[Node]
    inputs: Mapping[str, Any]
    """Under their names of today; references to nodes that are not in the flow are left out."""
    flow: str
    has: Inventory | None

    def shows(self, one: Input) -> bool:
        """True when a builder shows the input, given the values of the others."""
        declared = {name: _plain(other) for name, other in _builders(self.kind).items()}
        return _is_shown(_plain(one), self.inputs, declared)

    def found(self, kind: FindingKind, name: str, message: str, *, stops: bool) -> Finding:
        """A finding about this part."""
        node = self.part.node
        return Finding(node.id, node.label or node.name, kind, name, stops, f"{self.part.place} {message}")


def _plain(one: Input) -> Mapping[str, Any]:
    return {"default": one.default, "show": one.show, "hide": one.hide}


def _refused(look: Look) -> Iterator[Finding]:
    for name, field in fields_of(look.kind).items():
        if reason := field.refusal(look.inputs.get(name)):
            yield look.found("refused", name, reason, stops=True)


def _unset(look: Look) -> Iterator[Finding]:
    for name in unset(look.kind, look.inputs):
        verb = "connect something to it" if fields_of(look.kind)[name].port else "set it"
        yield look.found("unset", name, f"needs the input {name!r}: {verb}", stops=True)
    for name, reason in unreadable(look.kind, look.inputs):
        yield look.found("unreadable", name, f"has an input {name!r} that cannot be read: {reason}", stops=True)


def _unread(look: Look) -> Iterator[Finding]:
    """Inputs that are set and that nothing reads."""
    written = look.part.node.inputParams if look.part.is_node else []
    declared = {one["name"]: one for one in written if isinstance(one.get("name"), str)}
    known = {*fields_of(look.kind), *look.kind.former, *_BESIDE, *_HARMLESS}
    for name, value in look.part.inputs.items():
        if plain_name(name) in known or name.removesuffix("Config") in known or name.startswith(_TRIGGERS):
            continue
        one = declared.get(name, {})
        if _differs(value, one.get("default")) and _is_shown(one, look.part.inputs, declared):
            message = f"sets the input {name!r}, which is not read here: the flow answers as if it were not set"
            yield look.found("unread", name, message, stops=False)
    for name, one in _builders(look.kind).items():
        if one.unread and _differs(look.inputs.get(name), one.default) and look.shows(one):
            yield look.found("unread", name, f"sets the input {name!r}, but {one.unread}", stops=False)


def _differs(value: Any, default: Any) -> bool:
    """True when a value says something else than the default; numbers and flags may be texts."""
    said, usual = _text(value), _text(default)
    return said not in ("", usual) and not (usual == "" and said in ("false", "[]", "{}"))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip().lower()


@cache
def _builders(kind: type[Node]) -> Mapping[str, Input]:
    """The inputs of a node type as builders see them, by name."""
    return {one.name: one for one in inputs_of(kind)}


def _is_shown(one: Mapping[str, Any], inputs: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]) -> bool:
    """True when a builder shows the input, given the values of the others."""

    def fits(other: str, wanted: Any) -> bool:
        value = inputs.get(other)
        if value is None or value == "":
            value = declared.get(other, {}).get("default")
        return value in (wanted if isinstance(wanted, list) else [wanted])

    show, hide = one.get("show"), one.get("hide")
    shown = all(fits(*pair) for pair in show.items()) if isinstance(show, dict) else True
    return shown and not (isinstance(hide, dict) and any(fits(*pair) for pair in hide.items()))


def _packages(look: Look) -> Iterator[Finding]:
    for package in node_info(look.kind).packages:
        if find_spec(package.module) is None:
            message = f"needs a package that is not installed: {package.command}"
            yield look.found("package", "", message, stops=True)


def _files(look: Look) -> Iterator[Finding]:
    for name, one in _builders(look.kind).items():
        if one.type == "file" and look.shows(one):
            yield from _file(look, name, look.inputs.get(name))


def _file(look: Look, name: str, value: Any) -> Iterator[Finding]:
    folder = f"files/{look.flow or '<id of the flow>'}"
    if not value:
        if _has_link(look) or (look.has and look.flow in look.has.upserted):
            return
        message = (
            f"reads a file at {name!r}, and flow files hold none: put it into {folder} of the data folder and write "
            f"{_STORED}<name of the file> into the input, or send it with an upsert"
        )
        yield look.found("file", name, message, stops=True)
    elif isinstance(value, str) and value.startswith(_STORED) and look.has and look.has.files:
        for file in _listed(value.removeprefix(_STORED)):
            if not _is_file(look.has.files / look.flow, file):
                message = f"reads the file {file!r}, which is not here: put it into {folder} of the data folder"
                yield look.found("file", name, message, stops=True)


def _is_file(folder: Path, name: str) -> bool:
    """True when the folder has it; of what lies outside of the folder nothing is told."""
    try:
        path = (folder / name).resolve()
        return path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a NUL byte
        return False


def _has_link(look: Look) -> bool:
    """True when the node reads an address in place of a file."""
    return any(name.endswith("Link") and value for name, value in look.inputs.items())


def _listed(text: str) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str]) if text.startswith("[") else [text]
    except msgspec.MsgspecError:
        return [text]


def _named(look: Look) -> Iterator[Finding]:
    """Tools, document stores and flows that are named and not here."""
    if look.has is None:
        return
    known: Mapping[str, Collection[str]] = {
        "tool": look.has.tools,
        "documentStore": look.has.stores,
        "flow": look.has.flows,
    }
    steps = node_info(look.kind).category == AGENT_FLOWS  # they name tools by their node types
    for one, value in _with_items(_builders(look.kind).values(), look.inputs):
        what = None if steps and one.loadMethod == "listTools" else _LISTS.get(one.loadMethod)
        field = fields_of(look.kind).get(one.name)
        if what is None or not isinstance(value, str) or not value or "{{" in value or (field and field.port):
            continue
        if value.partition(":")[0] not in known[what]:
            message = f"names {_NAMES[what]} {value!r}, which is not here: import it, or choose another one"
            yield look.found(what, one.name, message, stops=True)


def _with_items(described: Iterable[Input], inputs: Mapping[str, Any]) -> Iterator[tuple[Input, Any]]:
    """Each input with its value, those inside of list items too."""
    for one in described:
        value = inputs.get(one.name)
        yield one, value
        for item in value if one.array and isinstance(value, list) else ():
            if isinstance(item, dict):
                yield from _with_items(one.array, item)


def _variables(look: Look) -> Iterator[Finding]:
    if look.has is None:
        return
    for name, value in look.part.inputs.items():
        if look.part.is_node or "Config" not in name:
            for variable in sorted(set(_VARIABLE.findall(str(value))) - set(look.has.variables)):
                message = f"reads the variable {variable!r}, which is not here: create it, or send it with each request"
                yield look.found("variable", name, message, stops=False)


def _credentials(look: Look) -> Iterator[Finding]:
    """A credential that is not here, or none where the node needs one, and the variable that steps in for it."""
    if look.has is None or "credential" not in fields_of(look.kind):
        return
    wanted = look.part.credential
    if wanted and wanted in look.has.credentials:
        return
    kinds = [installed()[name] for name in node_info(look.kind).credentials if name in installed()]
    own = [kind for kind in kinds if kind.fields and kind.key.variables]
    variables = " or ".join(kind.key.variables[0] for kind in own)
    stops = bool(own) and _needs_key(look, own, look.has.environ)
    if wanted:
        message = f"uses the credential {wanted!r}, which is not here: {_instead(look, variables, stops=stops)}"
        yield look.found("credential", "credential", message, stops=stops)
    elif stops:
        message = f"has no credential, and {variables} is not set: {_instead(look, variables, stops=True)}"
        yield look.found("credential", "credential", message, stops=True)


def _needs_key(look: Look, kinds: Iterable[CredentialKind], environ: Mapping[str, str]) -> bool:
    """True when the node cannot work as it is: it has no key and asks its provider's own address."""
    provider: Any = getattr(look.kind, "provider", None)
    bases = [f"{kind.key.variables[0].removesuffix('_KEY').removesuffix('_API')}_BASE_URL" for kind in kinds]
    bases += [provider.base_environ] if provider else []
    elsewhere = bool(provider and provider.keyless) or any(map(environ.get, bases))
    has_key = any(kind.steps_in(environ) or look.inputs.get(kind.key.name) for kind in kinds)
    is_model = node_info(look.kind).category in _MODELS
    needed = is_model or not all(kind.key.optional for kind in kinds)
    return needed and not (has_key or elsewhere or node_info(look.kind).keyless or _has_address(look))


def _has_address(look: Look) -> bool:
    """True when the flow says where the node's server is; that one may want no key."""
    return any(bool(value) for name, value in look.inputs.items() if _ADDRESS.fullmatch(name))


def _instead(look: Look, variables: str, *, stops: bool) -> str:
    """The ways to a key."""
    kinds = " or ".join(node_info(look.kind).credentials)
    store = f"store a credential of the kind {kinds} and choose it in the node" if kinds else "store one and choose it"
    if stops:
        return f"{store}, or set {variables} for the server"
    if look.has and variables and not _has_address(look) and any(map(look.has.environ.get, variables.split(" or "))):
        return f"the server's own key from {variables} steps in; to use another one, {store}"
    return f"{store}, if its server wants one"


def _programs(look: Look) -> Iterator[Finding]:
    """Programs that the operator has to allow or install for the node."""
    if look.has and (message := look.kind.lacks(look.has.environ)):
        yield look.found("program", "", message, stops=True)


CHECKS: Final[tuple[Callable[[Look], Iterator[Finding]], ...]] = (
    _refused,
    _unset,
    _packages,
    _programs,
    _files,
    _named,
    _credentials,
    _unread,
    _variables,
)
"""All checks of one node."""
