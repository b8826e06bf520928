"""Requests, web sites and APIs as tools: an agent on a real server against a real site, good and bad."""

import base64
import json
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import pytest
from servers import Server, node, serving
from sites import HUGE, SILENT, Answer, Script, Site, Visit, html, said
from test_tools import agent
from upstream import Upstream

from headrace.retrieval.html_text import page_of

RED_DOT = Answer(b"\x89PNG\r\n\x1a\n\0\0", "image/png")


@pytest.fixture(scope="module")
def reaching(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose flows may reach this machine, for a short time each."""
    limits = {"HEADRACE_ALLOWED_HOSTS": "127.0.0.1", "HEADRACE_FETCH_TIMEOUT": "1.5"}
    with serving(tmp_path_factory.mktemp("reaching") / "data", **limits) as server:
        yield server


def used(server: Server, upstream: Upstream, tool: dict[str, Any], *calls: tuple[str, Any]) -> list[Any]:
    """What an agent shows of its tool, called in one turn with these arguments."""
    asked = " && ".join(f"{name} {json.dumps(arguments)}" for name, arguments in calls)
    reply = server.ask(server.create_flow(agent(upstream.url, tool)), f"/tool {asked}")
    assert reply.status == 200, reply.text
    return reply.json["usedTools"]


def echo(visit: Visit) -> Answer:
    return said({"method": visit.method, "path": visit.path, "query": visit.query, "body": visit.body.decode()})


def test_a_model_sets_the_query_and_the_path_that_the_flow_describes(
    reaching: Server, upstream: Upstream, web: Site
) -> None:
    web.default = echo
    schema = {
        "id": {"type": "string", "in": "path", "required": True},
        "page": {"type": "number", "in": "query", "description": "Which page"},
    }
    tool = node(
        "requestsGet", "Tools", requestsGetUrl=f"{web.url}/items/:id?lang=en", requestsGetName="get item",
        requestsGetHeaders='{"X-Key": "k"}', requestsGetQueryParamsSchema=json.dumps(schema),
    )  # fmt: skip
    calls = [{"queryParams": {"id": "../a b", "page": 2}}, {"queryParams": {"page": 2}}, {"queryParams": {"id": ".."}}]
    good, missing, upwards = used(reaching, upstream, tool, *(("get_item", call) for call in calls))
    assert json.loads(good["toolOutput"])["query"] == {"lang": "en", "page": "2"}
    assert web.visits[0].headers["x-key"] == "k"
    assert [visit.path for visit in web.visits] == ["/items/..%2Fa%20b"]
    assert "'id' is a required property" in missing["error"]
    assert "cannot be '..'" in upwards["error"]


@pytest.mark.parametrize(("kind", "body"), [("Post", "requestPostBody"), ("Put", "requestPutBody")])
def test_a_models_body_is_added_to_the_flows(
    reaching: Server, upstream: Upstream, web: Site, kind: str, body: str
) -> None:
    web.default = echo
    schema = [{"name": "text", "type": "string", "required": True}, {"name": "count", "type": "number"}]
    inputs = {
        f"requests{kind}Url": f"{web.url}/notes", body: '{"list": "mine", "text": "flow"}',
        f"requests{kind}BodySchema": json.dumps(schema),
    }  # fmt: skip
    call = (f"requests_{kind.lower()}", {"body": {"text": "model", "count": 2}})
    [shown] = used(reaching, upstream, node(f"requests{kind}", "Tools", **inputs), call)
    assert json.loads(shown["toolOutput"])["method"] == kind.upper()
    assert web.visits[0].json == {"list": "mine", "text": "model", "count": 2}
    assert web.visits[0].headers["content-type"] == "application/json"


def test_a_model_chooses_the_address_where_the_flow_names_none(reaching: Server, upstream: Upstream, web: Site) -> None:
    web.default = echo
    tool = node("requestsDelete", "Tools")
    url = f"{web.url}/notes/1"
    good, guarded = used(
        reaching, upstream, tool,
        ("requests_delete", {"url": url}), ("requests_delete", {"url": "http://169.254.169.254/latest"}),
    )  # fmt: skip
    assert json.loads(good["toolOutput"])["method"] == "DELETE"
    assert "link-local" in guarded["error"]


ANSWERS: dict[str, tuple[Script, str, str]] = {
    "page": (html("<title>Hi</title><body><p>One<p>Two<script>no()</script>"), "toolOutput", "Hi\nOne\nTwo"),
    "text": (Answer(b"x" * 3000, "text/plain"), "toolOutput", "[cut here: 3000 characters in all]"),
    "picture": (RED_DOT, "toolOutput", "[image/png, 10 bytes: no text]"),
    "latin": (Answer("né".encode("latin-1"), "text/plain; charset=iso-8859-1"), "toolOutput", "né"),
    "unknown charset": (Answer("né".encode(), "text/plain; charset=punycode"), "toolOutput", "né"),
    "gone": (html("<body>It is gone.", status=410), "error", "'127.0.0.1' answered 410: It is gone."),
    "inwards": (Answer(status=302, headers={"Location": "http://10.1.2.3/"}), "error", "private address"),
    "huge": (HUGE, "error", "larger than"),
    "silent": (SILENT, "error", "took too long"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_an_address_answers_is_told_in_words(reaching: Server, upstream: Upstream, web: Site, kind: str) -> None:
    web.default, field, expected = ANSWERS[kind]
    tool = node("requestsGet", "Tools", requestsGetUrl=web.url)
    [shown] = used(reaching, upstream, tool, ("requests_get", {}))
    assert expected in shown[field]


@pytest.mark.parametrize("schema", ["{", "[1]", '"x"', '{"a": 1}', "7"])
def test_a_schema_that_cannot_be_read_names_its_input(
    reaching: Server, upstream: Upstream, web: Site, schema: str
) -> None:
    tool = node("requestsGet", "Tools", requestsGetUrl=web.url, requestsGetQueryParamsSchema=schema)
    reply = reaching.ask(reaching.create_flow(agent(upstream.url, tool)), "Hi")
    if schema == "[1]":
        assert reply.status == 200  # a list without names declares nothing
    else:
        assert (reply.status, "requestsGetQueryParamsSchema" in reply.json["message"]) == (422, True)


HOSTILE = """
from headrace.retrieval.html_text import page_of
for piece in ("<!--", "<a ", "</", "<?", "<!", "&", "<", "<a b='", "<![CDATA[", "<script></", "<div>", "&#", "<head>"):
    text = piece * (200_000 // len(piece))
    page_of(text)
    page_of(text + ">")
"""


def test_a_page_is_read_in_bounded_time_whatever_it_holds() -> None:
    # Seconds; were the time for one of them to grow with its square, it would be many minutes.
    done = subprocess.run([sys.executable, "-c", HOSTILE], timeout=120, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_page_gives_title_description_text_and_links() -> None:
    page = page_of(
        "<html><head><title>A &amp; B</title><meta name=description content='NodeInfo it'><base href='/docs/'></head>"
        "<body><h1>Head</h1>one <b>two</b><br>three<svg><text>no</text></svg><a href='x?y=1#z'>go</a>"
        "<a href='javascript:x'>no</a><table><tr><td>1<td>2</table><!-- never",
        "https://h.example/a",
    )
    assert (page.title, page.description) == ("A & B", "NodeInfo it")
    assert page.text == "Head\none two\nthreegono\n1 2"
    assert page.links == ["https://h.example/docs/x?y=1"]


# A web site


def a_site(web: Site) -> None:
    links = "<a href='/two'>2</a><a href='/three#x'>3</a><a href='http://localhost:1/out'>out</a>"
    web.paths = {
        "/": html(f"<title>Home</title><p>Welcome{links}"),
        "/two": html("<p>Second<a href='/four'>4</a>"),
        "/three": html("<p>Third", status=500),
        "/four": html("<p>Fourth"),
        "/pic": RED_DOT,
    }


def scraped(server: Server, upstream: Upstream, url: str, **inputs: Any) -> Any:
    tool = node("webScraperTool", "Tools", **inputs)
    [shown] = used(server, upstream, tool, ("web_scraper_tool", {"input": url}))
    return json.loads(shown["toolOutput"]) if shown["toolOutput"] else shown["error"]


def test_a_site_is_followed_as_deep_as_the_flow_says(reaching: Server, upstream: Upstream, web: Site) -> None:
    a_site(web)
    [home] = scraped(reaching, upstream, web.url + "/")
    assert home == {"url": web.url + "/", "title": "Home", "text": "Welcome23out"}
    pages = scraped(reaching, upstream, web.url + "/", maxDepth="3")
    assert {page["url"].removeprefix(web.url): page.get("text") for page in pages} == {
        "/": "Welcome23out", "/two": "Second4", "/three": None, "/four": "Fourth",
    }  # fmt: skip
    assert len(scraped(reaching, upstream, web.url + "/", maxDepth=3, maxPages=2)) == 2
    assert len(scraped(reaching, upstream, web.url + "/", maxDepth=3, scrapeMode="single")) == 1


def test_a_site_map_is_read_and_stays_on_its_host(reaching: Server, upstream: Upstream, web: Site) -> None:
    a_site(web)
    inner = "".join(
        f"<url><loc>{url}</loc></url>" for url in (f"{web.url}/two", "http://localhost:1/x", f"{web.url}/four")
    )
    web.paths["/inner.xml"] = Answer(f"<urlset xmlns='s'>{inner}</urlset>".encode(), "text/xml")
    outer = f"<sitemapindex xmlns='s'><sitemap><loc>{web.url}/inner.xml</loc></sitemap></sitemapindex>"
    web.paths["/sitemap.xml"] = Answer(outer.encode(), "text/xml")
    pages = scraped(reaching, upstream, web.url, scrapeMode="sitemap")
    assert [page["url"].removeprefix(web.url) for page in sorted(pages, key=lambda page: page["url"])] == [
        "/four",
        "/two",
    ]
    web.paths["/sitemap.xml"] = html("<p>none")
    followed = scraped(reaching, upstream, web.url, scrapeMode="sitemap")
    assert "no site map" in followed["note"]
    assert followed["pages"][0]["title"] == "Home"


def test_a_site_without_end_is_bounded(reaching: Server, upstream: Upstream, web: Site) -> None:
    def endless(visit: Visit) -> Answer:
        return html("<p>more" + "".join(f"<a href='{visit.path}/{n}'>x</a>" for n in range(50)))

    web.default = endless
    pages = scraped(reaching, upstream, web.url + "/a", maxDepth=100, maxPages=0)
    assert len(pages) == len(web.visits) == 100


@pytest.mark.parametrize(
    ("url", "script", "expected"),
    [
        ("{site}/", SILENT, "took too long"),
        ("{site}/", HUGE, "larger than"),
        ("{site}/", RED_DOT, "it is no page but 'image/png'"),
        ("{site}/", html("no", status=404), "answered 404"),
        ("http://10.0.0.1/", html("x"), "private address"),
        ("not an address", html("x"), "address"),
    ],
)
def test_a_site_that_cannot_be_read_is_told(
    reaching: Server, upstream: Upstream, web: Site, url: str, script: Script, expected: str
) -> None:
    web.default = script
    assert expected in scraped(reaching, upstream, url.replace("{site}", web.url))


# An API

DOCUMENT = """
openapi: 3.0.3
info: {title: Notes, version: "1"}
servers:
  - url: "{site}/{version}"
    variables: {version: {default: v1}}
paths:
  /notes/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string}}
    get:
      operationId: getNote
      summary: Reads a note.
      parameters:
        - $ref: "#/components/parameters/Tags"
        - {name: X-Trace, in: header, schema: {type: string}}
    delete: {}
  /notes:
    post:
      operationId: addNote
      requestBody:
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Note"}
components:
  parameters:
    Tags: {name: tags, in: query, schema: {type: array, items: {type: string}}}
  schemas:
    Note:
      type: object
      required: [text]
      properties:
        text: {type: string, xml: {name: t}}
        due: {type: string, nullable: true}
        parent: {$ref: "#/components/schemas/Note"}
"""


def document(web: Site, text: str = DOCUMENT) -> str:
    return "data:application/yaml;base64," + base64.b64encode(text.replace("{site}", web.url).encode()).decode()


def toolkit(web: Site, **inputs: Any) -> dict[str, Any]:
    return node("openAPIToolkit", "Tools", **{"inputType": "file", "openApiFile": document(web), **inputs})


def test_operations_of_an_api_are_tools(reaching: Server, upstream: Upstream, web: Site) -> None:
    web.default = echo
    tool = toolkit(web, headers='{"Authorization": "Bearer flow"}', removeNulls=True)
    got, added, wrong = used(
        reaching, upstream, tool,
        ("getNote", {"PathParameters": {"id": "a/b"}, "QueryParameters": {"tags": ["x", "y z"]},
                     "HeaderParameters": {"X-Trace": "t", "authorization": "Bearer model"}}),
        ("addNote", {"RequestBody": {"text": "hello", "due": None, "parent": {"text": "p"}}}),
        ("addNote", {"RequestBody": {"due": 5}}),
    )  # fmt: skip
    assert json.loads(got["toolOutput"])["path"] == "/v1/notes/a%2Fb"
    assert "did not match" in wrong["error"]
    assert json.loads(added["toolOutput"])["method"] == "POST"
    read, posted = sorted(web.visits, key=lambda visit: visit.method)
    assert read.headers["authorization"] == "Bearer flow"
    assert (read.headers["x-trace"], read.query["tags"]) == ("t", "y z")
    assert posted.json == {"text": "hello", "parent": {"text": "p"}}
    tools = {tool["function"]["name"]: tool["function"] for tool in upstream.requests[-1].body["tools"]}
    assert set(tools) == {"getNote", "delete_notes_id_", "addNote"}
    assert tools["getNote"]["description"] == "Reads a note."
    assert tools["addNote"]["parameters"]["properties"]["RequestBody"]["properties"]["due"]["type"] == [
        "string",
        "null",
    ]


SWAGGER = """
swagger: "2.0"
host: "{place}"
basePath: /v2
schemes: [http]
consumes: [application/json]
paths:
  /pets/{id}:
    parameters:
      - {name: id, in: path, required: true, type: integer, description: The pet.}
    get:
      operationId: getPet
      parameters:
        - $ref: "#/parameters/Fields"
        - {name: tags, in: query, type: array, items: {type: string}, collectionFormat: multi}
    post:
      operationId: renamePet
      consumes: [application/x-www-form-urlencoded]
      parameters:
        - {name: name, in: formData, type: string, required: true}
        - {name: photo, in: formData, type: file}
  /pets:
    post:
      operationId: addPet
      parameters: [{name: pet, in: body, required: true, schema: {$ref: "#/definitions/Pet"}}]
parameters:
  Fields: {name: fields, in: query, type: array, items: {type: string}}
definitions:
  Pet: {type: object, required: [name], properties: {name: {type: string}, mate: {$ref: "#/definitions/Pet"}}}
"""


def test_operations_of_a_document_of_version_2_are_tools(reaching: Server, upstream: Upstream, web: Site) -> None:
    web.default = echo
    place = web.url.removeprefix("http://")
    tool = toolkit(web, openApiFile=document(web, SWAGGER.replace("{place}", place)))
    shown = used(
        reaching, upstream, tool,
        ("getPet", {"PathParameters": {"id": 7}, "QueryParameters": {"fields": ["a", "b"], "tags": ["x", "y"]}}),
        ("renamePet", {"PathParameters": {"id": 7}, "RequestBody": {"name": "Tom & Co"}}),
        ("addPet", {"RequestBody": {"name": "Tom", "mate": {"name": "Ada"}}}),
        ("addPet", {"RequestBody": {"mate": {}}}),
    )  # fmt: skip
    got, renamed, added = (json.loads(each["toolOutput"]) for each in shown[:3])
    assert (got["path"], got["query"]) == ("/v2/pets/7", {"fields": "a,b", "tags": "y"})
    assert (renamed["path"], renamed["body"]) == ("/v2/pets/7", "name=Tom+%26+Co")
    assert json.loads(added["body"]) == {"name": "Tom", "mate": {"name": "Ada"}}
    assert "'name' is a required property" in shown[3]["error"]
    tools = {each["function"]["name"]: each["function"]["parameters"] for each in upstream.requests[-1].body["tools"]}
    assert tools["getPet"]["properties"]["PathParameters"] == {
        "type": "object", "required": ["id"], "properties": {"id": {"type": "integer", "description": "The pet."}}
    }  # fmt: skip
    assert set(tools["renamePet"]["properties"]["RequestBody"]["properties"]) == {"name"}


def test_a_script_of_the_flow_makes_the_call(reaching: Server, upstream: Upstream, web: Site) -> None:
    web.default = echo
    code = """const fetch = require('node-fetch');
        const reply = await fetch($url + '?more=1', $options);
        const said = await reply.json();
        return JSON.stringify([said.path, said.query, $PathParameters, $QueryParameters, $flow.input]);"""
    tool = toolkit(web, customCode=code, selectedEndpoints='["getNote"]', selectedServer=f"{web.url}/other")
    [shown] = used(reaching, upstream, tool, ("getNote", {"PathParameters": {"id": "7"}}))
    path, query, *given, asked = json.loads(shown["toolOutput"])
    assert (path, query, given) == ("/other/notes/7", {"more": "1"}, [{"id": "7"}, {}])
    assert asked.startswith("/tool getNote")
    failing = toolkit(web, customCode="throw new Error('no luck')")
    [shown] = used(reaching, upstream, failing, ("getNote", {"PathParameters": {"id": "7"}}))
    assert "no luck" in shown["error"]


def test_a_document_behind_a_link_is_read_and_its_server_may_be_relative(
    reaching: Server, upstream: Upstream, web: Site
) -> None:
    web.default = echo
    web.paths["/api/openapi.json"] = said(
        {"openapi": "3.1.0", "servers": [{"url": "../v2"}], "paths": {"/ping": {"get": {"operationId": "ping"}}}}
    )
    tool = toolkit(web, inputType="link", openApiLink=f"{web.url}/api/openapi.json", openApiFile="", returnDirect=True)
    reply = reaching.ask(reaching.create_flow(agent(upstream.url, tool)), "/tool ping {}")
    assert json.loads(reply.json["text"])["path"] == "/v2/ping"


MANY = json.dumps(
    {"openapi": "3.0.0", "servers": [{"url": "http://h"}], "paths": {f"/{n}": {"get": {}} for n in range(1000)}}
)
DOCUMENTS = {
    "none": ({"openApiFile": ""}, "upload it into 'openApiFile'"),
    "many": ({"text": MANY}, "1000 operations are too many"),
    "other": ({"text": '{"swagger": "1.2"}'}, "no OpenAPI document of version 3 or 2"),
    "list": ({"text": "[1]"}, "no OpenAPI document"),
    "text": ({"text": "a: [b"}, "neither JSON nor YAML"),
    "code": ({"text": "!!python/object/apply:os.system [id]"}, "neither JSON nor YAML"),
    "server": ({"text": '{"openapi": "3.0.0", "paths": {"/a": {"get": {}}}}'}, "selectedServer"),
    "endpoints": ({"selectedEndpoints": '["nothing"]'}, "selectedEndpoints"),
    "empty": ({"text": '{"openapi": "3.0.0", "paths": [], "servers": [{"url": "http://h"}]}'}, "selectedEndpoints"),
    "outside": ({"openApiFile": "FILE-STORAGE::../../x.yaml"}, "outside of the folder"),
    "gone": ({"openApiFile": "FILE-STORAGE::x.yaml"}, "is not there"),
    "inwards": ({"inputType": "link", "openApiLink": "http://10.0.0.1/api.json"}, "private address"),
    "missing": ({"inputType": "link", "openApiLink": "{site}/api.json"}, "answered 404"),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_that_cannot_be_used_is_told(reaching: Server, upstream: Upstream, web: Site, kind: str) -> None:
    inputs, expected = DOCUMENTS[kind]
    values = {name: value.replace("{site}", web.url) for name, value in inputs.items() if name != "text"}
    if "text" in inputs:
        values["openApiFile"] = document(web, inputs["text"])
    reply = reaching.ask(reaching.create_flow(agent(upstream.url, toolkit(web, **values))), "Hi")
    assert reply.status == 422, reply.text
    assert expected in reply.json["message"]


def test_a_stored_document_is_read_from_the_flows_folder(reaching: Server, upstream: Upstream, web: Site) -> None:
    web.default = echo
    flow = reaching.create_flow(agent(upstream.url, toolkit(web, openApiFile="FILE-STORAGE::notes.yaml")))
    stored = reaching.folder / "files" / flow / "notes.yaml"
    stored.parent.mkdir(parents=True)
    stored.write_text(DOCUMENT.replace("{site}", web.url))
    reply = reaching.ask(flow, '/tool getNote {"PathParameters": {"id": "1"}}')
    assert json.loads(reply.json["usedTools"][0]["toolOutput"])["path"] == "/v1/notes/1"
