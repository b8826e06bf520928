"""What the clients ask besides questions, of a real server."""

import json
from collections.abc import Generator

import pytest
from clients import DRIVERS, SyncDriver
from servers import KEY, Server, conversation, serving
from typescript import EVERYWHERE

from headrace.errors import NotFound, Unauthorized
from headrace.schema import FileUpload

LOGO = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture(scope="module")
def branded(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    folder = tmp_path_factory.mktemp("branded")
    (folder / "logo.svg").write_bytes(LOGO)
    brand = folder / "brand.json"
    brand.write_text(json.dumps({"name": "Acme", "color": "#123456", "logo": "logo.svg"}))
    with serving(folder / "data", HEADRACE_BRAND=str(brand)) as server:
        yield server


@pytest.fixture(params=EVERYWHERE)
def client(request: pytest.FixtureRequest, branded: Server) -> SyncDriver:
    client = request.param(branded.url)
    client.key = ""
    return client


def test_flows_are_listed_for_a_key(client: SyncDriver, branded: Server) -> None:
    flow = branded.create_flow(conversation("http://127.0.0.1:1/v1"), name="Listed")
    with pytest.raises(Unauthorized):
        client.call("flows")
    client.key = KEY
    assert [(row.name, row.apikeyid) for row in client.call("flows") if row.id == flow] == [("Listed", None)]


def test_files_become_uploads_and_the_flow_says_which_it_takes(client: SyncDriver, branded: Server) -> None:
    config = {"title": "Birds", "fullFileUpload": {"status": True, "allowedUploadFileTypes": "text/plain"}}
    flow = branded.create_flow(conversation("http://127.0.0.1:1/v1"), chatbotConfig=json.dumps(config))
    assert client.call("chat_config", flow)["title"] == "Birds"
    texts = {"wren.txt": "The wren sings, größer.", "ein „Nest“.txt": "Straw."}
    files = [(name, text.encode(), "text/plain") for name, text in texts.items()]
    assert client.call("attach", flow, "0b9c7e0e-6d0e-4b52-8d0c-0a4f6f6e7b11", files) == [
        FileUpload("file:full", name, "text/plain", text) for name, text in texts.items()
    ]


def test_an_answer_is_rated_and_rated_again(client: SyncDriver, server: Server, chat: str) -> None:
    client.url = server.url
    message = server.ask(chat, "/say Yes").json["chatMessageId"]
    first = client.call("rate", chat, message, "THUMBS_DOWN", remark="too short")
    second = client.call("rate", chat, message, "THUMBS_UP")
    assert (first.rating, first.content, first.messageId) == ("THUMBS_DOWN", "too short", message)
    assert (second.rating, second.id) == ("THUMBS_UP", first.id)
    with pytest.raises(NotFound):
        client.call("rate", chat, "no-such-answer", "THUMBS_UP")


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_pages_look_is_told(driver: type[SyncDriver], server: Server, branded: Server) -> None:
    client, other = driver(branded.url), driver(server.url)
    client.key = other.key = ""
    look = client.call("look")
    assert (look.name, look.color, client.call("logo")) == ("Acme", "#123456", LOGO)
    assert (other.call("look").name, other.call("look").logo) == ("Headrace", None)
    with pytest.raises(NotFound, match="no logo"):
        other.call("logo")
