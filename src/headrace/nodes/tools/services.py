"""The web APIs that tools look things up at: address, key, parameters, and how the answer is shortened."""

from __future__ import annotations

from typing import Final

from headrace.nodes.providers import Provider
from headrace.nodes.tools import results
from headrace.nodes.tools.lookups import Lookup

SERPAPI: Final = Lookup(  # https://serpapi.com/search-api
    provider=Provider("SerpAPI", "Lookup", "https://serpapi.com", "serpApi"),
    path="/search.json",
    key="?api_key",
    fixed={"engine": "google"},
    shortened=results.google_like,
)
SERPER: Final = Lookup(  # https://serper.dev/playground
    provider=Provider("Serper", "Lookup", "https://google.serper.dev", "serperApi"),
    path="/search",
    method="POST",
    key="X-API-KEY",
    shortened=results.serper,
)
SEARCHAPI: Final = Lookup(  # https://www.searchapi.io/docs/google
    provider=Provider("SearchApi", "Lookup", "https://www.searchapi.io", "searchApi"),
    path="/api/v1/search",
    key="Authorization",
    fixed={"engine": "google"},
    shortened=results.google_like,
)
GOOGLE_SEARCH: Final = Lookup(  # https://developers.google.com/custom-search/v1/reference/rest/v1/cse/list
    provider=Provider(
        "Google Custom Search",
        "Lookup",
        "https://www.googleapis.com",
        "googleCustomSearchApi",
        prefix="GOOGLE_CSE",
    ),
    path="/customsearch/v1",
    key="?key",
    second=("googleCustomSearchApiId", "cx"),
    shortened=results.google,
)
BRAVE: Final = Lookup(  # https://api-dashboard.search.brave.com/app/documentation/web-search
    provider=Provider("Brave Search", "Lookup", "https://api.search.brave.com", "braveSearchApi"),
    path="/res/v1/web/search",
    key="X-Subscription-Token",
    shortened=results.brave,
    wrong_key=(401, 403, 422),
)
TAVILY: Final = Lookup(  # https://docs.tavily.com/documentation/api-reference/endpoint/search
    provider=Provider("Tavily", "Lookup", "https://api.tavily.com", "tavilyApi"),
    path="/search",
    asks="query",
    method="POST",
    key="Authorization",
    shortened=results.tavily,
)
EXA: Final = Lookup(  # https://docs.exa.ai/reference/search
    provider=Provider("Exa", "Lookup", "https://api.exa.ai", "exaSearchApi"),
    path="/search",
    asks="query",
    method="POST",
    key="x-api-key",
    fixed={"contents": {"text": {"maxCharacters": 2000}}},
    shortened=results.exa,
)
SEARXNG: Final = Lookup(  # https://docs.searxng.org/dev/search_api.html
    provider=Provider("SearXNG", "Lookup", "", "", prefix="SEARXNG", keyless=True),
    path="/search",
    shortened=results.searxng,
)
WOLFRAM_ALPHA: Final = Lookup(  # https://products.wolframalpha.com/llm-api/documentation
    provider=Provider(
        "Wolfram|Alpha",
        "Lookup",
        "https://www.wolframalpha.com",
        "wolframAlphaAppId",
        prefix="WOLFRAM_ALPHA",
    ),
    path="/api/v1/llm-api",
    asks="input",
    key="?appid",
    silent=(501,),  # it did not understand, and says what could be asked instead
)
ARXIV: Final = Lookup(  # https://info.arxiv.org/help/api/user-manual.html
    provider=Provider("arXiv", "Lookup", "https://export.arxiv.org", "", prefix="ARXIV", keyless=True),
    path="/api/query",
    asks="search_query",
    fixed={"sortBy": "relevance", "sortOrder": "descending"},
)
WIKIPEDIA: Final = Lookup(  # https://www.mediawiki.org/wiki/Extension:TextExtracts
    provider=Provider("Wikipedia", "Lookup", "https://en.wikipedia.org", "", prefix="WIKIPEDIA", keyless=True),
    path="/w/api.php",
    asks="gsrsearch",
    fixed={
        "action": "query",
        "generator": "search",
        "prop": "extracts|info",
        "exintro": 1,
        "explaintext": 1,
        "exlimit": "max",
        "inprop": "url",
        "format": "json",
        "formatversion": 2,
    },
    shortened=results.wikipedia,
)
