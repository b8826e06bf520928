"""Answers to what builders of flows ask beside node types: a flow's faults, templates, parts of assistants, links."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import QueryParameter

from headrace.documents.context import upsert_context
from headrace.engine.coverage import coverage
from headrace.engine.description import Description, described
from headrace.engine.findings import Finding
from headrace.engine.flow_file import read_flow
from headrace.engine.ports import LoadFailure
from headrace.errors import FetchFailed, InvalidRequest
from headrace.retrieval.library import library
from headrace.retrieval.loading import Finish
from headrace.retrieval.web import Crawl, PageDocuments
from headrace.runtime.inventory import inventory
from headrace.server.auth import local, needs
from headrace.server.disconnect import while_there
from headrace.server.predictions import FlowId

FlowType = Literal["CHATFLOW", "AGENTFLOW", "MULTIAGENT", "ASSISTANT"]
_TYPES = {"CHATFLOW": "Chatflow", "MULTIAGENT": "Agentflow", "AGENTFLOW": "AgentflowV2"}
_MOST_LINKS = 1000


class NodeFaults(msgspec.Struct):
    """The faults of a node; `id` is "" for the flow as a whole."""

    id: str
    label: str
    name: str
    issues: list[str]


@get("/api/v1/validation/{flow_id:str}", guards=[needs("chatflows:view")], summary="A flow's faults", tags=["flows"])
async def validate(request: Request[Any, Any, Any], flow_id: FlowId) -> list[NodeFaults]:
    """The findings of the flow's coverage report, node by node; those that keep it from answering come first."""
    here = local(request)
    row = await here.storage.flow(flow_id)
    flow = read_flow(row.flowData)
    has = await inventory(here.storage)
    report = coverage(flow, here.catalog, kind=row.type, flow_id=row.id, has=has)
    names = {node.id: node.data.name for node in flow.nodes}
    found: dict[str, NodeFaults] = {}
    for one in report.findings:
        node = found.setdefault(one.node, NodeFaults(one.node, one.label or row.name, names.get(one.node, ""), []))
        node.issues.append(one.message)
    return list(found.values())


class Draft(msgspec.Struct):
    """A drawing that need not be stored; `flowData` is JSON text, or the object."""

    flowData: str | dict[str, Any]
    type: FlowType = "CHATFLOW"
    id: str = ""
    """The flow that it is a draft of, which must not ask itself."""


@post(
    "/api/v1/validation",
    guards=[needs("chatflows:view")],
    status_code=200,
    summary="The faults of a drawing",
    tags=["flows"],
)
async def validate_draft(request: Request[Any, Any, Any], data: Draft) -> list[Finding]:
    """The findings that the stored flow's coverage report would have, with the node and the input of each."""
    here = local(request)
    text = data.flowData if isinstance(data.flowData, str) else msgspec.json.encode(data.flowData).decode()
    has = await inventory(here.storage)
    return coverage(read_flow(text), here.catalog, kind=data.type, flow_id=data.id, has=has).findings


class Template(msgspec.Struct, kw_only=True):
    """A flow to begin with; `flowData` is JSON text."""

    id: str
    templateName: str
    flowData: str
    type: str
    description: str = ""
    badge: str = ""
    framework: list[str] = []
    usecases: list[str] = []
    categories: list[str] = []
    starters: list[str] = []
    """Questions to begin with."""


@get(
    "/api/v1/marketplaces/templates",
    guards=[needs("chatflows:view")],
    summary="List flows to begin with",
    tags=["flows"],
)
async def templates(request: Request[Any, Any, Any]) -> list[Template]:
    """This server's examples, which need no key, and its templates, whose description says what they need."""
    catalog, package = local(request).catalog, files("headrace")
    found = [file for folder in ("examples", "templates") for file in (package / folder).iterdir()]
    flows = [msgspec.json.decode(file.read_bytes()) for file in found if file.name.endswith(".json")]
    return [_template(flow, catalog) for flow in sorted(flows, key=lambda flow: str(flow["name"]))]


def _template(example: dict[str, Any], catalog: Any) -> Template:
    text = msgspec.json.encode(example["flowData"]).decode()
    kinds = [catalog[node.data.name] for node in read_flow(text).nodes if node.data.name in catalog]
    return Template(
        id=example["id"],
        templateName=example["name"],
        flowData=text,
        type=_TYPES[example.get("type", "CHATFLOW")],
        description=example.get("description", ""),
        categories=sorted({described(kind).category for kind in kinds}),
        starters=example.get("starters", []),
    )


class StoreChoice(msgspec.Struct):
    """A document store that an assistant may search, by its id."""

    name: str
    label: str
    description: str


@get(
    "/api/v1/assistants/components/{part:str}",
    guards=[needs("chatflows:view")],
    summary="List what assistants are made of",
    tags=["nodes"],
)
async def assistant_parts(
    request: Request[Any, Any, Any], part: Literal["chatmodels", "tools", "docstores"]
) -> list[Description] | list[StoreChoice]:
    """The chat models and the tools of this server, or its document stores that are upserted."""
    here = local(request)
    if part == "docstores":
        rows = [row for row in await here.stores.all() if row.status == "UPSERTED"]
        return [StoreChoice(row.id, row.name, row.description or "") for row in rows]
    wanted = ("Chat Models",) if part == "chatmodels" else ("Tools", "Tools (MCP)")
    found = [described(kind) for kind in here.catalog.values()]
    return sorted((one for one in found if one.category in wanted), key=lambda one: one.label)


class Links(msgspec.Struct):
    """Pages of a web site, nearest first."""

    links: list[str]
    status: str = "OK"


@get(
    "/api/v1/fetch-links",
    guards=[needs("documentStores:preview-process", "chatflows:update")],
    opt={"refuses": (422,)},
    summary="List the pages of a web site",
    tags=["document stores"],
)
async def fetch_links(
    request: Request[Any, Any, Any],
    url: Annotated[str, QueryParameter(description="The page, or the site map, to begin with.")],
    crawl: Annotated[
        Crawl, QueryParameter(name="relativeLinksMethod", description="Follow links, or read a site map.")
    ] = "webCrawl",
    limit: Annotated[int, QueryParameter(description="The most pages; 0 for as many as there may be.")] = 10,
) -> Links:
    """The pages that a web scraper would read, and that can be read. Leaving stops it."""
    if limit < 0:
        raise InvalidRequest("the most pages cannot be less than 0 at limit")
    return await while_there(request, _links(request, url.strip(), crawl, min(limit or _MOST_LINKS, _MOST_LINKS)))


async def _links(request: Request[Any, Any, Any], url: str, crawl: Crawl, limit: int) -> Links:
    here = local(request)
    ctx = await upsert_context(here.storage, here.outside, "")
    found: dict[str, None] = {}
    async with ctx.closing:
        pages = PageDocuments(library(ctx).fetch, url, Finish(), crawl=crawl, limit=limit, selector="")
        async for one in pages.read():
            if not isinstance(one, LoadFailure):
                found[one.metadata["source"]] = None
            elif one.hides:
                raise FetchFailed(str(one))
    return Links(list(found))


ROUTES = (validate, validate_draft, templates, assistant_parts, fetch_links)
