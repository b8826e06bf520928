"""Writes what can be made from the code: tables in docs, the example flows, TypeScript types. `--check` compares.

A made part of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import click

from headrace import settings, typescript
from headrace.cli import cli
from headrace.engine.annotations import Input
from headrace.engine.catalog import tag
from headrace.engine.description import Description, described, inputs_of, node_info
from headrace.engine.references import node_ids
from headrace.events import Known
from headrace.javascript import library, studio
from headrace.nodes import TOOLS, built_in
from headrace.nodes.providers import Provider
from headrace.nodes.tools.search import ROWS as LOOKUPS
from headrace.nodes.tools.search import LookupNode
from headrace.nodes.vector_stores.served import ServedNode
from headrace.server import app
from headrace.server.auth import guards_of

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = "src/headrace/examples/ask-the-docs.json"
_PART: Final = re.compile(r"(?s)(<!-- generated: (\w+) -->\n).*?(<!-- end -->)")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _about(thing: Any) -> str:
    """The docstring on one line."""
    return " ".join((inspect.getdoc(thing) or "").split())


def events_part() -> str:
    """All kinds of events."""
    kinds = get_args(Known)
    return _table(
        ("event", "payload", "meaning"),
        (
            (_code(str(kind.__struct_config__.tag)), _code(inspect.get_annotations(kind)["data"]), _about(kind))
            for kind in kinds
        ),
    )


def errors_part() -> str:
    """All errors with their codes."""
    return _table(
        ("code", "status", "retryable", "class", "meaning"),
        (
            (
                _code(kind.code),
                str(kind.status or "none"),
                "yes" if kind.retryable else "no",
                _code(kind.__name__),
                _about(kind),
            )
            for kind in typescript.error_kinds()
        ),
    )


def nodes_part() -> str:
    """All node types with their inputs."""
    parts: list[str] = []
    for name, kind in built_in().items():
        says = described(kind)
        place = f"{says.label}, {says.category}{_credentials(says)}"
        rows = [(_code(one.name), _kind(one), _default(one)) for one in inputs_of(kind)]
        parts.append(f"### {name}\n\n{_about(kind)}\n\n{place}.\n\n{_table(('input', 'type', 'default'), rows)}")
    return "\n".join(parts)


def _credentials(says: Description) -> str:
    names = says.credential.credentialNames if says.credential else ()
    return f"; credential {' or '.join(map(_code, names))}" if names else ""


def _kind(one: Input) -> str:
    """The type of an input, and its choices."""
    choices = ", ".join(_code(option.name) for option in one.options)
    several = ", several" if one.list else ""
    return f"{_code(one.type)}{several}{': ' + choices if choices else ''}"


def _default(one: Input) -> str:
    return "" if one.default is None else _code(json.dumps(one.default, ensure_ascii=False))


def providers_part() -> str:
    """Every node with a model behind it: whose, where, by which protocol and with which key."""
    rows = sorted(
        (provider.label, _code(name), provider.protocol, _code(provider.base), _keys(provider))
        for name, kind in built_in().items()
        if (provider := getattr(kind, "provider", None))
    )
    return _table(("provider", "node", "protocol", "address", "credential's field and variable of its key"), rows)


def tools_part() -> str:
    """Every tool that needs no service of its own row."""
    kinds = [kind for family in TOOLS for kind in family if not issubclass(kind, LookupNode)]
    return _table(("node", "does"), ((_code(tag(kind)), _about(kind)) for kind in kinds))


def lookups_part() -> str:
    """Every service that a tool asks: the tool's name, where it is, and with which key."""
    rows = [
        (_code(row.node), _code(row.tool), _code(p.base), *map(_code, (p.field, "" if p.keyless else p.environ)))
        for _, row in LOOKUPS
        if (p := row.lookup.provider)
    ]
    return _table(("node", "tool", "address", "credential's field", "variable of the server's key"), rows)


def stores_part() -> str:
    """The vector stores on other servers."""
    rows = sorted((node_info(node).label, _code(name), node.way, node.filters) for name, node in _served().items())
    return _table(("store", "node", "reached by", "a condition on metadata"), rows)


def _served() -> dict[str, type[ServedNode]]:
    return {name: kind for name, kind in built_in().items() if issubclass(kind, ServedNode)}


def _keys(provider: Provider) -> str:
    return f"{_code(provider.field)}, {_code(provider.environ)}"


def api_part() -> str:
    """All endpoints."""
    rows = [
        (
            _code(f"{method} {path.replace(':str', '')}"),
            _permission(route) or str(route.opt.get("asks", "public")),
            str(route.summary),
        )
        for route in app.ROUTES
        if route.include_in_schema is not False
        for path in sorted(route.paths)
        for method in sorted(route.http_methods - {"OPTIONS"})
    ]
    return _table(("endpoint", "permission", "does"), rows)


def _permission(route: Any) -> str:
    return ", ".join(" or ".join(map(_code, guard.permissions)) for guard in guards_of(route))


def settings_part() -> str:
    """All settings."""
    rows = ((_code(name), _code(default), about) for name, default, about in settings.table())
    return _table(("variable", "default", "meaning"), rows)


def cli_part() -> str:
    """All commands."""
    return "\n".join(_command(path, command) for path, command in commands(cli, "headrace"))


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def _command(path: str, command: click.Command) -> str:
    usage = " ".join([path, *command.collect_usage_pieces(click.Context(command))])
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    rows = [(_code(_flag(option)), option.help or "") for option in options]
    table = f"\n{_table(('option', 'meaning'), rows)}" if rows else ""
    return f"### {path}\n\n`{usage}`\n\n{_about(command.callback)}\n{table}"


def _flag(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    return ", ".join(option.opts) + value


PARTS: Final[dict[str, Callable[[], str]]] = {
    "events": events_part,
    "errors": errors_part,
    "nodes": nodes_part,
    "providers": providers_part,
    "tools": tools_part,
    "lookups": lookups_part,
    "stores": stores_part,
    "api": api_part,
    "settings": settings_part,
    "cli": cli_part,
}


def page(text: str) -> str:
    """A page with its made parts as they should be."""
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[3]}", text)


def ask_the_docs() -> str:
    """The flow "Ask the docs"."""
    splitter = _node("markdownTextSplitter", "Markdown Text Splitter", "Text Splitters", "TextSplitter", (-800, 0),
        chunkSize=3000, chunkOverlap=0)  # fmt: skip
    docs = _node(
        "headraceDocs", "Headrace Docs", "Document Loaders", "Document", (-400, 0), textSplitter=_wire(splitter)
    )
    embeddings = _node("hashedEmbeddings", "Hashed Embeddings", "Embeddings", "Embeddings", (-400, 600))
    storage = _node("memoryVectorStore", "In-Memory Vector Store", "Vector Stores", "VectorStore", (0, 600),
        document=[_wire(docs)], embeddings=_wire(embeddings))  # fmt: skip
    storage["data"]["outputs"] = {"output": "vectorStore"}
    retriever = _node("vectorStoreRetriever", "Vector Store Retriever", "Retrievers", "VectorStoreRetriever", (0, 900),
        vectorStore=_wire(storage), searchType="hybrid", topK=12)  # fmt: skip
    model = _node("chatExtractive", "Extractive", "Chat Models", "ChatModel", (0, 0), sentences=7)
    memory = _node("bufferMemory", "Buffer Memory", "Memory", "Memory", (0, 300), memoryKey="chat_history")
    chain = _node(
        "conversationalRetrievalQAChain", "Conversational Retrieval QA Chain", "Chains",
        "ConversationalRetrievalQAChain", (400, 300), model=_wire(model), vectorStoreRetriever=_wire(retriever),
        memory=_wire(memory), returnSourceDocuments=True,
    )  # fmt: skip
    nodes = (splitter, docs, embeddings, storage, retriever, model, memory, chain)
    prompts = ("How do I resume a stream?", "How do I import a flow?", "Which node types run?")
    return _flow("Ask the docs", "5f0c9a52-7d3e-4b61-9a08-3c2f6d1e8b47", *nodes, prompts=prompts)


def calculator_agent() -> str:
    """The flow "Calculator agent"."""
    model = _node("chatArithmetic", "Arithmetic", "Chat Models", "ChatModel", (0, 0))
    memory = _node("bufferMemory", "Buffer Memory", "Memory", "Memory", (0, 300), memoryKey="chat_history")
    sums = _node("calculator", "Calculator", "Tools", "Tool", (0, 600))
    clock = _node("currentDateTime", "Current Date Time", "Tools", "Tool", (0, 900))
    wires = {"model": _wire(model), "memory": _wire(memory), "tools": [_wire(sums), _wire(clock)]}
    agent = _node("toolAgent", "Tool Agent", "Agents", "AgentExecutor", (400, 300), **wires)
    parts, prompts = (model, memory, sums, clock, agent), ("What is 17% of 2,340?", "What is the date today?")
    return _flow("Calculator agent", "b1c6f0de-2a47-4f83-8d15-6e90a7c3d524", *parts, prompts=prompts)


EXAMPLES: Final[dict[str, Callable[[], str]]] = {
    EXAMPLE: ask_the_docs,
    "src/headrace/examples/calculator-agent.json": calculator_agent,
}


def _wire(node: dict[str, Any]) -> str:
    return f"{{{{{node['id']}.data.instance}}}}"


def _flow(name: str, key: str, *nodes: dict[str, Any], prompts: Sequence[str]) -> str:
    """The flow as a stored row, since the file's own name makes no good one."""
    edges = [edge for target in nodes for input_ in target["data"]["inputs"] for edge in _edges(nodes, target, input_)]
    starters = json.dumps({"starterPrompts": {str(n): {"prompt": prompt} for n, prompt in enumerate(prompts)}})
    graph = {"nodes": list(nodes), "edges": edges}
    row = {"id": key, "name": name, "type": "CHATFLOW", "chatbotConfig": starters, "flowData": graph}
    return json.dumps(row, indent=1, ensure_ascii=False) + "\n"


def _edges(nodes: Sequence[dict[str, Any]], target: dict[str, Any], name: str) -> Iterator[dict[str, str]]:
    """The edges to one input, which becomes an anchor of the node by them."""
    wired = target["data"]["inputs"][name]
    for source in nodes:
        if _wire(source) in (wired if isinstance(wired, list) else [wired]):
            anchor = _anchor(target, name, source["data"]["type"])
            if anchor not in target["data"]["inputAnchors"]:
                target["data"]["inputAnchors"].append(anchor)
            yield _edge(source, target, name)


def _node(name: str, label: str, category: str, kind: str, at: tuple[int, int], **inputs: Any) -> dict[str, Any]:
    """A node as the builder exports it."""
    key = f"{name}_0"
    data: dict[str, Any] = {
        "id": key,
        "label": label,
        "name": name,
        "version": 1,
        "type": kind,
        "category": category,
        "baseClasses": [kind],
        "description": _about(built_in()[name]),
        "inputParams": [_param(key, input_, value) for input_, value in inputs.items() if not node_ids(value)],
        "inputAnchors": [],
        "inputs": inputs,
        "outputAnchors": [{"id": f"{key}-output-{name}-{kind}", "name": name, "label": label, "type": kind}],
        "outputs": {},
    }
    position = {"x": at[0], "y": at[1]}
    return {"id": key, "type": "customNode", "position": position, "width": 300, "height": 250, "data": data}


def _param(key: str, name: str, value: object) -> dict[str, Any]:
    kind = "boolean" if isinstance(value, bool) else "number" if isinstance(value, int) else "string"
    return {"id": f"{key}-input-{name}-{kind}", "name": name, "label": name, "type": kind, "optional": True}


def _anchor(node: dict[str, Any], name: str, kind: str) -> dict[str, str]:
    return {"id": f"{node['id']}-input-{name}-{kind}", "name": name, "label": name, "type": kind}


def _edge(source: dict[str, Any], target: dict[str, Any], name: str) -> dict[str, str]:
    left = source["data"]["outputAnchors"][0]["id"]
    right = next(anchor["id"] for anchor in target["data"]["inputAnchors"] if anchor["name"] == name)
    return {
        "id": f"{left}-{right}",
        "source": source["id"],
        "sourceHandle": left,
        "target": target["id"],
        "targetHandle": right,
        "type": "buttonedge",
    }


def files(root: Path) -> dict[Path, str]:
    """Every file with made parts, and what it should hold."""
    pages = {path: page(path.read_text()) for path in sorted((root / "docs").glob("*.md"))}
    examples = {root / name: made() for name, made in EXAMPLES.items()}
    contract = {root / typescript.FILE: typescript.contract()}
    return {**pages, **examples, **contract, **library(root), **studio(root)}


def stale(root: Path) -> dict[Path, str]:
    """Files that are not as they should be, and what they should hold."""
    return {path: text for path, text in files(root).items() if not path.exists() or path.read_text() != text}


def main(arguments: list[str]) -> None:
    """`python -m headrace.gen [--check]`."""
    if not (ROOT / "docs").is_dir():
        sys.exit("headrace.gen works on a checkout of the repository: there is no docs folder here")
    changed = stale(ROOT)
    names = ", ".join(str(path.relative_to(ROOT)) for path in changed)
    if arguments == ["--check"]:
        sys.exit(f"stale: {names}: run `make gen` and commit what it writes" if changed else None)
    if arguments:
        sys.exit("usage: python -m headrace.gen [--check]")
    _write(changed)
    _write(library(ROOT))  # compiled from the events that may just have been written
    sys.stdout.write(f"written: {names}\n" if changed else "everything is current\n")


def _write(made: dict[Path, str]) -> None:
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
