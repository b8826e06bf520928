"""Tools that look things up at a web API: one row of a table each. A new one is a new row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import msgspec

from headrace.engine.annotations import Additional, Input, NodeInfo, options
from headrace.engine.node import Context, Node
from headrace.engine.ports import FetchReply, FetchRequest, Tool, ToolResult
from headrace.errors import FetchFailed, FlowError, HeadraceError
from headrace.nodes.accounts import Account, account, secrets, words
from headrace.nodes.tools import results, services
from headrace.nodes.tools.function import FunctionTool
from headrace.nodes.tools.lookups import PATIENCE, Lookup, answer, looked_up
from headrace.nodes.tools.results import Paper, papers
from headrace.retrieval.html_text import readable

_ARXIV_KEY: Final = re.compile(r"(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})(v\d+)?")


class Option(NamedTuple):
    """An input of a node that goes into the request."""

    name: str
    type: Any
    default: Any = None
    parameter: str = ""
    """The API's name for it, if another one."""
    listed: bool = False
    """It is a text with commas, and the API takes a list."""
    choices: Sequence[str] = ()
    """The values that a builder offers."""


class Row(msgspec.Struct, frozen=True):
    """A node type with a tool that looks things up."""

    node: str
    lookup: Lookup
    tool: str
    """The tool's name; flows and prompts may know it."""
    about: str
    argument: str = "input"
    options: Sequence[Option] = ()
    node_info: NodeInfo = NodeInfo()
    """The node type's description."""


class LookupNode(Node, frozen=True, kw_only=True):
    """The shared part of this table's nodes."""

    info = NodeInfo(category="Tools")

    row: ClassVar[Row]

    credential: str = ""

    async def build(self, ctx: Context) -> Tool:
        """The tool. Raises FlowError when the API needs a key and there is none."""
        place, more = await self.place(ctx), await self.parameters(ctx)

        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            return ToolResult(await self.found(ctx, place, str(arguments[self.row.argument]), more))

        name, about = self.names()
        return FunctionTool(name, about, _schema(self.row.argument), call)

    def names(self) -> tuple[str, str]:
        """The tool's name, and what the model is told about it."""
        return self.row.tool, self.row.about

    async def place(self, ctx: Context) -> Account:
        """The service's address and key."""
        return await account(ctx, self.row.lookup.provider, credential=self.credential)

    async def parameters(self, ctx: Context) -> dict[str, Any]:
        """The parameters of every request."""
        values: dict[str, Any] = {}
        for option in self.row.options:
            value = getattr(self, option.name)
            values[option.parameter or option.name] = words(value or "") if option.listed else value
        name, parameter = self.row.lookup.second
        if parameter:
            provider = self.row.lookup.provider
            field = provider.kind.field(name)
            own = field.own(ctx.environ) if not self.credential else ""
            values[parameter] = (await secrets(ctx, self.credential)).get(name, own).strip()
            if not values[parameter]:
                variable = field.variables[0]
                raise FlowError(f"{provider.label} needs {name!r} in its credential, or {variable} to be set")
        return values

    async def found(self, ctx: Context, place: Account, query: str, more: Mapping[str, Any]) -> str:
        """The text that the model reads."""
        return await looked_up(ctx.outside.fetch, self.row.lookup, place, query, **more)


def _schema(argument: str) -> dict[str, Any]:
    properties = {argument: {"type": "string", "description": "What to look up."}}
    return {"type": "object", "properties": properties, "required": [argument], "additionalProperties": False}


class SearXNGNode(LookupNode, frozen=True, kw_only=True):
    """A SearXNG server of one's own: its address comes from the flow, so the guard decides about it."""

    apiBase: str = "http://localhost:8080"
    toolName: str = "searxng-search"
    toolDescription: str = ""
    headers: Additional[dict[str, Any]] = {}
    format: Annotated[str, Input(additionalParams=True, options=options("json", "html"))] = "json"

    def names(self) -> tuple[str, str]:
        """As the flow says."""
        return self.toolName, self.toolDescription or self.row.about

    async def place(self, ctx: Context) -> Account:
        """The flow's own server."""
        return Account(self.apiBase.rstrip("/"), "")

    async def found(self, ctx: Context, place: Account, query: str, more: Mapping[str, Any]) -> str:
        """Servers that give no JSON give their page of results."""
        lookup, headers = self.row.lookup, {name: str(value) for name, value in self.headers.items()}
        values = {**more, "headers": headers, "format": self.format}
        if self.format == "json":
            return await looked_up(ctx.outside.fetch, lookup, place, query, **values)
        return await readable(await answer(ctx.outside.fetch, lookup, place, query, **values))


class WikipediaNode(LookupNode, frozen=True, kw_only=True):
    """Wikipedia in the language of the flow's choice."""

    language: str = "en"
    maxDocContentLength: int = 4000

    async def place(self, ctx: Context) -> Account:
        """The language is part of the address."""
        if not re.fullmatch(r"[a-z]{2,12}(-[a-z]{2,12}){0,2}", self.language):
            raise FlowError(f"{self.language!r} is not a language of Wikipedia: use its code, such as 'en'")
        base, key = await super().place(ctx)
        return Account(base.replace("//en.", f"//{self.language}."), key)

    async def found(self, ctx: Context, place: Account, query: str, more: Mapping[str, Any]) -> str:
        """Not more than the flow's bound."""
        return (await super().found(ctx, place, query, more))[: self.maxDocContentLength]


class ArxivNode(LookupNode, frozen=True, kw_only=True):
    """arXiv: papers by words, or by their identifiers."""

    former = {"name": "arxivName", "description": "arxivDescription"}

    arxivName: Additional[str] = "arxiv_search"
    arxivDescription: Additional[str] = ""
    topKResults: Additional[int] = 3
    maxQueryLength: Additional[int] = 300
    docContentCharsMax: Additional[int] = 10_000
    loadFullContent: Additional[bool] = False
    """Reads arXiv's HTML edition of each paper, which older ones do not have."""
    continueOnFailure: Additional[bool] = False
    """A paper that cannot be loaded is given with its summary alone."""

    def names(self) -> tuple[str, str]:
        """As the flow says."""
        return self.arxivName, self.arxivDescription or self.row.about

    async def found(self, ctx: Context, place: Account, query: str, more: Mapping[str, Any]) -> str:
        """The papers, each with its text if the flow wants that."""
        query = query.strip()[: self.maxQueryLength]
        keys = query.replace(",", " ").split()
        if keys and all(map(_ARXIV_KEY.fullmatch, keys)):
            values = {"search_query": None, "id_list": ",".join(keys)}
        else:
            values = {"search_query": "all:" + re.sub(r"[:-]", " ", query) if query else None}
        values |= {"max_results": min(max(self.topKResults, 1), 50)}
        reply = await answer(ctx.outside.fetch, self.row.lookup, place, query, **values)
        try:
            found = papers(reply.body)
        except ValueError:
            raise FetchFailed("arXiv answered with what it does not document: try again later") from None
        if not self.loadFullContent:
            return "\n\n".join(paper.told() for paper in found)[: self.docContentCharsMax] or results.NOTHING
        loaded = [(await self._loaded(ctx, place, paper))[: self.docContentCharsMax] for paper in found]
        return "\n\n---\n\n".join(loaded) or results.NOTHING

    async def _loaded(self, ctx: Context, place: Account, paper: Paper) -> str:
        base = place.base.replace("//export.", "//")
        try:
            reply = await ctx.outside.fetch(FetchRequest("GET", f"{base}/html/{paper.key}", timeout=PATIENCE))
            _check_loaded(paper, reply)
        except HeadraceError as error:
            if not self.continueOnFailure:
                raise
            return paper.told(f"The text could not be loaded: {error}")
        return paper.told(await readable(reply))


def _check_loaded(paper: Paper, reply: FetchReply) -> None:
    if reply.status >= 300:
        raise FetchFailed(f"arXiv has no HTML edition of {paper.key!r} ({reply.status}): read its summary")


class ExaNode(LookupNode, frozen=True, kw_only=True):
    """Exa, whose description the flow may set."""

    description: Additional[str] = ""

    def names(self) -> tuple[str, str]:
        """As the flow says."""
        return self.row.tool, self.description or self.row.about


_GOOGLE: Final = "Searches Google for what is new or not generally known."
ROWS: Final[Sequence[tuple[type[LookupNode], Row]]] = (
    (LookupNode, Row("serpAPI", services.SERPAPI, "search", _GOOGLE, node_info=NodeInfo(credentials=("serpApi",)))),
    (LookupNode, Row("serper", services.SERPER, "serper", _GOOGLE, node_info=NodeInfo(credentials=("serperApi",)))),
    (
        LookupNode,
        Row(
            "searchAPI",
            services.SEARCHAPI,
            "search",
            _GOOGLE,
            node_info=NodeInfo(label="SearchApi", credentials=("searchApi",)),
        ),
    ),
    (
        LookupNode,
        Row(
            "googleCustomSearch",
            services.GOOGLE_SEARCH,
            "google-custom-search",
            "Searches the web, or the sites that its owner chose, with Google.",
            node_info=NodeInfo(type="GoogleCustomSearchAPI", credentials=("googleCustomSearchApi",)),
        ),
    ),
    (
        LookupNode,
        Row(
            "braveSearchAPI",
            services.BRAVE,
            "brave-search",
            "Searches the web with Brave for what is new or not generally known.",
            node_info=NodeInfo(credentials=("braveSearchApi",)),
        ),
    ),
    (
        LookupNode,
        Row(
            "tavilyAPI",
            services.TAVILY,
            "tavily_search",
            "Searches the web and gives the passages of each page that fit the query.",
            "query",
            (
                Option("topic", str, "general", choices=("general", "news")),
                Option("searchDepth", str, "basic", "search_depth", choices=("basic", "advanced")),
                Option("chunksPerSource", int | None, None, "chunks_per_source"),
                Option("maxResults", int, 5, "max_results"),
                Option("timeRange", str | None, None, "time_range", choices=("day", "week", "month", "year")),
                Option("days", int | None),
                Option("includeAnswer", bool, False, "include_answer"),
                Option("includeRawContent", bool, False, "include_raw_content"),
                Option("includeImages", bool, False, "include_images"),
                Option("includeImageDescriptions", bool, False, "include_image_descriptions"),
                Option("includeDomains", str, "", "include_domains", listed=True),
                Option("excludeDomains", str, "", "exclude_domains", listed=True),
            ),
            node_info=NodeInfo(version=1.2, credentials=("tavilyApi",)),
        ),
    ),
    (
        ExaNode,
        Row(
            "exaSearch",
            services.EXA,
            "exa_search_results_json",
            "Searches the web by meaning and gives the beginning of each page.",
            options=(
                Option("numResults", int | None),
                Option("type", str | None, choices=("keyword", "neural", "auto")),
                Option("useAutoprompt", bool | None),
                Option(
                    "category",
                    str | None,
                    choices=(
                        "company",
                        "research paper",
                        "news",
                        "github",
                        "tweet",
                        "movie",
                        "song",
                        "pdf",
                        "personal site",
                        "linkedin profile",
                        "financial report",
                    ),
                ),
                Option("includeDomains", str, "", listed=True),
                Option("excludeDomains", str, "", listed=True),
                Option("startCrawlDate", str | None),
                Option("endCrawlDate", str | None),
                Option("startPublishedDate", str | None),
                Option("endPublishedDate", str | None),
            ),
            node_info=NodeInfo(version=1.1, credentials=("exaSearchApi",)),
        ),
    ),
    (
        SearXNGNode,
        Row(
            "searXNG",
            services.SEARXNG,
            "searxng-search",
            "Searches the web with several search engines at once.",
            options=(
                Option("categories", str | None),
                Option("engines", str | None),
                Option("language", str | None),
                Option("pageno", int | None),
                Option("time_range", str | None),
                Option("safesearch", int | None),
            ),
            node_info=NodeInfo(version=3),
        ),
    ),
    (
        LookupNode,
        Row(
            "wolframAlpha",
            services.WOLFRAM_ALPHA,
            "wolfram_alpha",
            "Calculates and answers questions of mathematics, science, units, dates and facts with numbers.",
            node_info=NodeInfo(credentials=("wolframAlphaAppId",)),
        ),
    ),
    (
        ArxivNode,
        Row(
            "arxiv",
            services.ARXIV,
            "arxiv_search",
            "Finds scientific papers on arXiv by words, authors or identifiers such as 1706.03762.",
            "query",
        ),
    ),
    (
        WikipediaNode,
        Row(
            "wikipediaTool",
            services.WIKIPEDIA,
            "wikipedia",
            "Finds articles of Wikipedia and gives their introductions.",
            options=(Option("topKResults", int, 3, "gsrlimit"),),
        ),
    ),
)


def _annotated(option: Option) -> Any:
    return Annotated[option.type, Input(additionalParams=True, options=options(*option.choices))]


def _node(kind: type[LookupNode], row: Row) -> type[LookupNode]:
    """The node type of a row."""
    made: Any = msgspec.defstruct(
        row.node,
        [(option.name, _annotated(option), option.default) for option in row.options],
        bases=(kind,),
        module=__name__,
        namespace={"row": row, "info": row.node_info, "__doc__": f"{row.lookup.provider.label}. {row.about}"},
        tag=row.node,
        tag_field="node",  # Exa has an input "type"
        frozen=True,
        kw_only=True,
    )
    return made


NODES: Final = tuple(_node(kind, row) for kind, row in ROWS)
