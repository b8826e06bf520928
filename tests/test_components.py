"""Node types and kinds of credentials over HTTP, as builders of flows read them."""

import json
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from admin import call, ok
from refusals import refused
from servers import Server, serving

from headrace.engine.credentials import KINDS, CredentialKind, check_complete, check_fields, kinds_of
from headrace.engine.description import described, node_info
from headrace.errors import InvalidRequest
from headrace.nodes import built_in
from headrace.nodes.providers import OPENAI

RECORDS = Path(__file__).parents[2] / "shared" / "flowise" / "credentials.json"
CATALOG = built_in()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("own") / "data") as server:
        yield server


# The table of credentials


def test_every_kind_that_a_node_names_is_described() -> None:
    named = {name for kind in CATALOG.values() for name in node_info(kind).credentials}
    assert named == set(KINDS)
    assert kinds_of(CATALOG) == KINDS


def test_fields_are_called_as_in_flowise() -> None:
    if not RECORDS.exists():
        pytest.skip("Flowise's list of credentials is not here: ../shared/flowise/credentials.json")
    recorded = {one["name"]: one["inputs"] for one in json.loads(RECORDS.read_text())}
    for name, kind in KINDS.items():
        assert [(field.name, field.type) for field in kind.fields or ()] == [
            (one["name"], one["type"]) for one in recorded[name]
        ], name
        wanted = {one["name"] for one in recorded[name] if not one.get("optional")}
        assert {field.name for field in kind.fields or () if not field.optional} <= wanted, name


def test_the_first_variable_that_is_set_steps_in() -> None:
    cohere = KINDS["cohereApi"]
    assert cohere.key.own({"CO_API_KEY": "second"}) == "second"
    assert cohere.key.own({"CO_API_KEY": "second", "COHERE_API_KEY": "first"}) == "first"
    assert [cohere.steps_in(environ) for environ in ({}, {"CO_API_KEY": ""}, {"CO_API_KEY": "x"})] == [
        False,
        False,
        True,
    ]
    assert not KINDS["githubApi"].steps_in({"GITHUB_TOKEN": "x"})
    assert not CredentialKind("undescribed", "Undescribed").steps_in({"": "x"})


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("cloudflareApi", "cloudflareApiToken"),
        ("azureOpenAIApi", "azureOpenAIApiKey"),
        ("voyageAIApi", "apiKey"),
        ("googleVertexAuth", "googleApplicationCredentialFilePath"),
        ("awsApi", "awsKey"),
    ],
)
def test_the_key_of_a_kind_is_the_secret_that_a_variable_replaces(kind: str, field: str) -> None:
    assert KINDS[kind].key.name == field


def test_a_provider_reads_its_names_from_the_table() -> None:
    assert (OPENAI.field, OPENAI.environ, OPENAI.base_environ) == ("openAIApiKey", "OPENAI_API_KEY", "OPENAI_BASE_URL")


# What a credential may hold


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("unheardOf", {"a": "b"}, "'unheardOf' at $.credentialName is no kind of credential of this server"),
        ("openAIApi", {"openAIApiKey": "k", "other": "x"}, "has no field 'other': it takes 'openAIApiKey'"),
        ("openAIApi", {}, "needs the field 'openAIApiKey'"),
        ("openAIApi", {"openAIApiKey": " "}, "needs the field 'openAIApiKey'"),
        ("openAIApi", {"openAIApiKey": None}, "needs the field 'openAIApiKey'"),
        ("elasticSearchUserPassword", {"cloudId": "c", "username": "u"}, "needs the field 'password'"),
        ("", {}, "is no kind of credential"),
    ],
)
def test_a_credential_that_fits_no_kind_is_refused(own: Server, kind: str, fields: dict[str, Any], words: str) -> None:
    body = {"name": "x", "credentialName": kind, "plainDataObj": fields}
    assert words in refused(call(own, "POST", "credentials", body), 400, "invalid_request")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("openAIApi", {"openAIApiKey": "k"}),
        ("redisCacheUrlApi", {}),
        ("awsApi", {}),
        ("redisCacheApi", {"redisCachePort": 6380, "redisCacheSslEnabled": True}),
        ("azureOpenAIApi", {"azureOpenAIApiKey": "k"}),
    ],
)
def test_optional_fields_and_those_with_defaults_may_be_left_out(
    own: Server, kind: str, fields: dict[str, Any]
) -> None:
    stored = ok(call(own, "POST", "credentials", {"name": "x", "credentialName": kind, "plainDataObj": fields}))
    assert stored["credentialName"] == kind


def test_a_change_may_not_add_or_blank_what_the_kind_forbids(own: Server) -> None:
    body = {"name": "x", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "k"}}
    path = f"credentials/{ok(call(own, 'POST', 'credentials', body))['id']}"
    for fields, words in (({"other": "x"}, "no field 'other'"), ({"openAIApiKey": ""}, "needs the field")):
        assert words in refused(call(own, "PUT", path, {"plainDataObj": fields}), 400, "invalid_request")
    ok(call(own, "PUT", path, {"name": "y", "plainDataObj": {"openAIApiKey": "new"}}))


# Over HTTP


def test_the_list_of_nodes_has_all_that_run_with_inputs(own: Server) -> None:
    nodes = ok(call(own, "GET", "nodes"))
    assert {one["name"] for one in nodes} == set(CATALOG)
    (model,) = [one for one in nodes if one["name"] == "chatOpenAI"]
    assert (model["label"], model["category"], model["credential"]["credentialNames"]) == (
        "OpenAI", "Chat Models", ["openAIApi"],
    )  # fmt: skip
    inputs = {one["name"]: one for one in model["inputs"]}
    assert (inputs["modelName"]["type"], inputs["modelName"]["loadMethod"]) == ("asyncOptions", "listModels")
    assert ok(call(own, "GET", "nodes/chatOpenAI")) == model


def test_a_category_has_its_nodes(own: Server) -> None:
    found = ok(call(own, "GET", "nodes/category/Text%20Splitters"))
    assert {one["name"] for one in found} == {
        name for name, kind in CATALOG.items() if described(kind).category == "Text Splitters"
    }
    assert ok(call(own, "GET", "nodes/category/Nothing")) == []


def test_icons_are_pictures_of_our_own_that_anybody_may_see(own: Server) -> None:
    for path in ("node-icon/chatOpenAI", "components-credentials-icon/wolframAlphaAppId"):
        reply = own.send("GET", f"/api/v1/{path}")
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/svg+xml")
        assert ElementTree.fromstring(reply.body).tag.endswith("svg")
        head = own.send("HEAD", f"/api/v1/{path}")
        assert (head.status, head.body) == (200, b"")
    letters = [ElementTree.fromstring(own.send("GET", f"/api/v1/{path}").body)[1].text for path in (
        "node-icon/conversationChain", "components-credentials-icon/azureOpenAIApi",
    )]  # fmt: skip
    assert letters == ["CC", "AO"]


def test_kinds_of_credentials_are_listed_and_read_alone_or_together(own: Server) -> None:
    every = {one["name"]: one for one in ok(call(own, "GET", "components-credentials"))}
    assert set(every) == set(KINDS)
    one = ok(call(own, "GET", "components-credentials/azureOpenAIApi"))
    assert one == every["azureOpenAIApi"]
    assert [field["name"] for field in one["inputs"]] == [field.name for field in KINDS["azureOpenAIApi"].fields or ()]
    assert (one["inputs"][0]["type"], one["inputs"][1]["optional"]) == ("password", True)
    assert "AZURE_OPENAI_API_KEY" in one["inputs"][0]["description"]
    both = [every["redisCacheApi"], every["redisCacheUrlApi"]]
    for separator in (",", "&", "%26", "&amp;"):
        path = f"components-credentials/redisCacheApi{separator}redisCacheUrlApi"
        assert ok(call(own, "GET", path)) == both


@pytest.mark.parametrize(
    "path",
    [
        "nodes/unheardOf",
        "node-icon/unheardOf",
        "components-credentials/unheardOf",
        "components-credentials/openAIApi,unheardOf",
        "components-credentials-icon/unheardOf",
    ],
)
def test_what_is_not_there_is_named(own: Server, path: str) -> None:
    assert "'unheardOf'" in refused(call(own, "GET", path), 404, "not_found")


def test_nodes_and_credentials_need_a_key_with_the_right(own: Server) -> None:
    key = ok(call(own, "POST", "apikey", {"keyName": str(uuid.uuid4()), "permissions": ["credentials:view"]}))
    headers = {"Authorization": f"Bearer {key['apiKey']}"}
    for path, status in (("nodes", 403), ("nodes/chatOpenAI", 403), ("components-credentials", 200)):
        assert own.send("GET", f"/api/v1/{path}", headers=headers).status == status
        assert own.send("GET", f"/api/v1/{path}").status == 401


def test_only_undescribed_kinds_take_any_field() -> None:
    loose = CredentialKind("mine", "Mine")
    check_fields(loose, ["anything"])
    check_complete(loose, {})
    with pytest.raises(InvalidRequest, match="no field 'anything'"):
        check_fields(KINDS["openAIApi"], ["anything"])
