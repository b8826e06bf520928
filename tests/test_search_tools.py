"""Tools that look things up: each in an agent on a real server, against its API as documented and against trouble."""

import json
from collections.abc import Generator
from typing import Any, NamedTuple

import pytest
from calls import context
from servers import Server, node, serving
from sites import GARBAGE, HUGE, SILENT, SLOW_DOWN, Answer, Script, Site, said
from test_tools import agent
from upstream import Upstream
from waiting import within

from headrace.errors import FlowError
from headrace.nodes import built_in
from headrace.nodes.tools.results import NOTHING

KEY = "key-of-the-tests/+1"


class Service(NamedTuple):
    """A node: its tool, what it asks for `rivers`, where the key is, and what it makes of an answer."""

    node: str
    tool: str
    path: str
    answer: Answer
    found: list[str]
    sent: dict[str, Any]
    key: str = ""
    argument: str = "input"
    prefix: str = ""
    wrong: Answer = said({"error": f"Invalid API key {KEY}"}, 401)
    inputs: dict[str, Any] = {}  # noqa: RUF012


FEED = b"""<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>ArXiv Query</title><entry>
<id>http://arxiv.org/abs/2401.00001v2</id><published>2024-01-01T10:00:00Z</published><title>On
  Rivers</title><summary> They flow. </summary><author><name>A. Brook</name></author></entry></feed>"""
RIVER = {"title": "Rivers", "link": "https://rivers.example/", "snippet": "Water that <b>flows</b>."}
BY_URL = {"title": "Rivers", "url": "https://rivers.example/", "description": "Water that flows &amp; falls."}
SERVICES = [
    Service(
        "serpAPI", "search", "/serp/search.json",
        said({"answer_box": {"answer": "the Nile"}, "organic_results": [RIVER]}),
        ["the Nile", "https://rivers.example/", "Water that flows."], {"q": "rivers", "engine": "google"}, "?api_key",
        prefix="SERPAPI",
    ),
    Service(
        "serper", "serper", "/serper/search",
        said({"knowledgeGraph": {"title": "Nile", "description": "A river"}, "organic": [RIVER]}),
        ["Nile: A river", "https://rivers.example/"], {"q": "rivers"}, "x-api-key", prefix="SERPER",
        wrong=said({"message": "Unauthorized."}, 403),
    ),
    Service(
        "searchAPI", "search", "/searchapi/api/v1/search", said({"organic_results": [RIVER]}),
        ["https://rivers.example/"], {"q": "rivers"}, "authorization", prefix="SEARCHAPI",
    ),
    Service(
        "googleCustomSearch", "google-custom-search", "/google/customsearch/v1", said({"items": [RIVER]}),
        ["https://rivers.example/"], {"q": "rivers", "cx": "engine-1"}, "?key", prefix="GOOGLE_CSE",
        wrong=said({"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}, 400),
    ),
    Service(
        "braveSearchAPI", "brave-search", "/brave/res/v1/web/search", said({"web": {"results": [BY_URL]}}),
        ["flows & falls"], {"q": "rivers"}, "x-subscription-token", prefix="BRAVE_SEARCH",
        wrong=said({"error": {"code": "SUBSCRIPTION_TOKEN_INVALID", "detail": "invalid"}}, 422),
    ),
    Service(
        "tavilyAPI", "tavily_search", "/tavily/search",
        said({"answer": "Many", "results": [{"title": "Rivers", "url": "https://r.example", "content": "flow"}]}),
        ["Many", "https://r.example", "flow"],
        {"query": "rivers", "max_results": 2, "include_domains": ["r.example", "s.example"], "topic": "general"},
        "authorization", argument="query", prefix="TAVILY",
        inputs={"maxResults": "2", "includeDomains": "r.example, s.example", "timeRange": ""},
    ),
    Service(
        "exaSearch", "exa_search_results_json", "/exa/search",
        said({"results": [{"title": "Rivers", "url": "https://r.example", "text": "flow", "score": 1.0}]}),
        ["https://r.example", "flow"], {"query": "rivers", "numResults": 3, "type": "neural"}, "x-api-key",
        prefix="EXASEARCH", inputs={"numResults": 3, "type": "neural", "description": "Finds pages."},
    ),
    Service(
        "searXNG", "my_search", "/searxng/search", said({"results": [{**RIVER, "content": "flow"}]}),
        ["flow"], {"q": "rivers", "format": "json", "language": "de"},
        wrong=said({"error": "no"}, 401),
        inputs={"toolName": "my search", "language": "de", "apiBase": "{site}/searxng"},
    ),
    Service(
        "wolframAlpha", "wolfram_alpha", "/wolfram/api/v1/llm-api", Answer(b"Result: 6650 km", "text/plain"),
        ["Result: 6650 km"], {"input": "rivers"}, "?appid", prefix="WOLFRAM_ALPHA",
        wrong=Answer(b"Error 1: Invalid appid", "text/plain", 403),
    ),
    Service(
        "arxiv", "arxiv_search", "/arxiv/api/query", Answer(FEED, "application/atom+xml"),
        ["On Rivers", "A. Brook", "2024-01-01", "They flow."], {"search_query": "all:rivers", "max_results": "3"},
        argument="query", prefix="ARXIV", wrong=said({"error": "no"}, 403),
    ),
    Service(
        "wikipediaTool", "wikipedia", "/wikipedia/w/api.php",
        said({"query": {"pages": [{"title": "River", "extract": "Water.", "fullurl": "https://w.example"}]}}),
        ["River", "Water.", "https://w.example"], {"gsrsearch": "rivers", "gsrlimit": "3"}, prefix="WIKIPEDIA",
        wrong=said({"error": "no"}, 403),
    ),
]  # fmt: skip
NAMES = [service.node for service in SERVICES]
VARIABLES = {
    "SERPAPI_API_KEY": KEY, "SERPER_API_KEY": KEY, "SEARCHAPI_API_KEY": KEY, "GOOGLE_API_KEY": KEY,
    "GOOGLE_CSE_ID": "engine-1", "BRAVE_SEARCH_API_KEY": KEY, "TAVILY_API_KEY": KEY, "EXASEARCH_API_KEY": KEY,
    "WOLFRAM_ALPHA_APP_ID": KEY,
}  # fmt: skip


@pytest.fixture(scope="module")
def searching(running_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose operator has keys, and stand-ins for the APIs that flows may reach."""
    bases = {f"{s.prefix}_BASE_URL": f"{running_site.url}/{s.path.split('/')[1]}" for s in SERVICES if s.prefix}
    limits = {"HEADRACE_ALLOWED_HOSTS": "127.0.0.1", "HEADRACE_FETCH_TIMEOUT": "1.5"}
    with serving(tmp_path_factory.mktemp("searching") / "data", **VARIABLES, **bases, **limits) as server:
        yield server


def tool(service: Service, web: Site, **more: Any) -> dict[str, Any]:
    inputs = {name: str(value).replace("{site}", web.url) for name, value in service.inputs.items()}
    return node(service.node, "Tools", **inputs, **more)


def used(server: Server, upstream: Upstream, web: Site, *services: Service, query: str = "rivers") -> list[Any]:
    """What an agent shows of these tools, each called once, in one turn."""
    flow = server.create_flow(agent(upstream.url, *(tool(service, web) for service in services)))
    calls = " && ".join(f"{s.tool} {json.dumps({s.argument: query})}" for s in services)
    stream = server.ask(flow, f"/tool {calls}", streaming=True)
    assert stream.kinds[-2:] == ["metadata", "end"], stream.text
    return next(event["data"] for event in stream.events if event["event"] == "usedTools")


@pytest.mark.parametrize("service", SERVICES, ids=NAMES)
def test_a_tool_asks_its_api_and_shortens_the_answer(
    searching: Server, upstream: Upstream, web: Site, service: Service
) -> None:
    web.paths[service.path] = service.answer
    [shown] = used(searching, upstream, web, service)
    assert (shown["tool"], shown["toolInput"]) == (service.tool, {service.argument: "rivers"})
    assert [text for text in service.found if text not in shown["toolOutput"]] == []
    assert "error" not in shown
    [visit] = web.visits
    sent = visit.query if visit.method == "GET" else visit.json
    assert {name: sent[name] for name in service.sent} == service.sent
    if service.key.startswith("?"):
        assert visit.query[service.key[1:]] == KEY
    elif service.key:
        assert visit.headers[service.key].removeprefix("Bearer ") == KEY
    else:
        assert KEY not in str(visit)


@pytest.mark.parametrize("service", SERVICES, ids=NAMES)
def test_a_refused_key_is_told_and_never_shown(
    searching: Server, upstream: Upstream, web: Site, service: Service
) -> None:
    web.paths[service.path] = service.wrong
    [shown] = used(searching, upstream, web, service)
    assert KEY not in str(shown)
    assert shown["toolOutput"] == ""
    assert ("does not accept the key" if service.key else "refused the request") in shown["error"]
    assert str(service.wrong.status) in shown["error"]


TROUBLE: dict[str, tuple[Script, str]] = {
    "slow down": (SLOW_DOWN, "slow down"),
    "broken": (said({"error": "oops"}, 503), "503"),
    "garbage": (GARBAGE, "does not document"),
    "a list": (said([1]), "does not document"),
    "odd": (said({"results": [1, None], "organic": 5, "web": "x", "items": {}, "answers": 3, "answer_box": []}), ""),
    "huge": (HUGE, "larger than"),
    "silent": (SILENT, "too long"),
}


@pytest.mark.parametrize(
    "services", [[s for s in SERVICES if s.node != "searchAPI"], [SERVICES[2]]], ids=["all", "one"]
)
@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_at_an_api_is_told_to_the_model(
    searching: Server, upstream: Upstream, web: Site, kind: str, services: list[Service]
) -> None:
    web.default, expected = TROUBLE[kind]
    for shown in used(searching, upstream, web, *services):
        as_text = shown["tool"] == "wolfram_alpha" and kind in ("garbage", "a list", "odd")
        if as_text or (kind == "odd" and shown["toolOutput"] == NOTHING):
            continue
        assert expected in shown["error"], shown
        assert "Traceback" not in shown["error"]
        assert KEY not in shown["error"]


def test_an_empty_query_is_not_sent(searching: Server, upstream: Upstream, web: Site) -> None:
    [shown] = used(searching, upstream, web, SERVICES[0], query="  ")
    assert shown["error"] == "SerpAPI was asked for nothing: send a query"
    assert web.visits == []


def test_a_flows_own_address_is_guarded(server: Server, upstream: Upstream, web: Site) -> None:
    searxng = next(service for service in SERVICES if service.node == "searXNG")
    [shown] = used(server, upstream, web, searxng)
    assert "HEADRACE_ALLOWED_HOSTS" in shown["error"]
    assert web.visits == []


def test_searxng_answers_that_are_pages_become_text(searching: Server, upstream: Upstream, web: Site) -> None:
    searxng = next(service for service in SERVICES if service.node == "searXNG")
    web.paths[searxng.path] = Answer(b"<html><body><h1>Rivers</h1><script>x</script>", "text/html")
    pages = searxng._replace(inputs={**searxng.inputs, "format": "html"})
    [shown] = used(searching, upstream, web, pages)
    assert shown["toolOutput"] == "Rivers"


def test_a_paper_is_read_by_its_identifier_and_in_full(searching: Server, upstream: Upstream, web: Site) -> None:
    arxiv = next(service for service in SERVICES if service.node == "arxiv")
    full = arxiv._replace(inputs={"loadFullContent": "true"})
    web.paths[arxiv.path] = arxiv.answer
    [shown] = used(searching, upstream, web, full, query="2401.00001")
    assert "no HTML edition of '2401.00001v2' (404)" in shown["error"]
    assert web.visits[0].query["id_list"] == "2401.00001"
    [shown] = used(searching, upstream, web, full._replace(inputs={**full.inputs, "continueOnFailure": "true"}))
    assert "They flow." in shown["toolOutput"]
    assert "could not be loaded" in shown["toolOutput"]
    web.paths["/arxiv/html/2401.00001v2"] = Answer(b"<body><p>The whole text", "text/html")
    [shown] = used(searching, upstream, web, full)
    assert "The whole text" in shown["toolOutput"]


def test_a_key_of_the_flow_stands_before_the_servers(searching: Server, upstream: Upstream, web: Site) -> None:
    body = {"name": "mine", "credentialName": "serperApi", "plainDataObj": {"serperApiKey": " mine\n"}}
    made = searching.send("POST", "/api/v1/credentials", body, admin=True).json
    serper = tool(SERVICES[1], web)
    serper["data"]["credential"] = made["id"]
    web.paths["/serper/search"] = SERVICES[1].answer
    flow = searching.create_flow(agent(upstream.url, serper))
    searching.ask(flow, '/tool serper {"input": "rivers"}')
    assert web.visits[0].headers["x-api-key"] == "mine"


@pytest.mark.parametrize("service", [s for s in SERVICES if s.key], ids=lambda s: s.node)
def test_a_tool_without_a_key_says_where_to_put_one(service: Service) -> None:
    with pytest.raises(FlowError, match=r"needs a key: connect a credential to the .+ node, or set [A-Z_]+$"):
        within(built_in()[service.node]().build(context()))


def test_google_needs_its_engine_too() -> None:
    with pytest.raises(FlowError, match="GOOGLE_CSE_ID"):
        within(built_in()["googleCustomSearch"]().build(context(environ={"GOOGLE_API_KEY": "k"})))


def test_wikipedia_is_asked_in_a_language_and_nowhere_else(searching: Server, upstream: Upstream, web: Site) -> None:
    wikipedia = SERVICES[-1]._replace(inputs={"language": "evil.example/#"})
    flow = searching.create_flow(agent(upstream.url, tool(wikipedia, web)))
    reply = searching.ask(flow, "Hi")
    assert reply.status == 422
    assert "is not a language of Wikipedia" in reply.json["message"]
