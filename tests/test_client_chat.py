"""What the Python client asks besides questions, of a real server, with both of its faces."""

import json
from collections.abc import Callable, Generator
from typing import Any

import pytest
from servers import KEY, Server, conversation, serving
from waiting import within

from headrace import AsyncHeadrace, Headrace
from headrace.errors import NotFound, Unauthorized
from headrace.schema import FileUpload

Call = Callable[..., Any]
LOGO = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture(scope="module")
def branded(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    folder = tmp_path_factory.mktemp("branded")
    (folder / "logo.svg").write_bytes(LOGO)
    brand = folder / "brand.json"
    brand.write_text(json.dumps({"name": "Acme", "color": "#123456", "logo": "logo.svg"}))
    with serving(folder / "data", HEADRACE_BRAND=str(brand)) as server:
        yield server


@pytest.fixture(params=[Headrace, AsyncHeadrace])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of a client of the server, by its name."""
    make = request.param

    def called(server: Server, method: str, *args: Any, key: str = "") -> Any:
        async def awaited() -> Any:
            async with make(server.url, key) as client:
                return await getattr(client, method)(*args)

        if make is AsyncHeadrace:
            return within(awaited())
        with make(server.url, key) as client:
            return getattr(client, method)(*args)

    return called


def test_flows_are_listed_for_a_key(call: Call, branded: Server) -> None:
    flow = branded.create_flow(conversation("http://127.0.0.1:1/v1"), name="Listed")
    assert [row.name for row in call(branded, "flows", key=KEY) if row.id == flow] == ["Listed"]
    with pytest.raises(Unauthorized):
        call(branded, "flows")


def test_files_become_uploads_and_the_flow_says_which_it_takes(call: Call, branded: Server) -> None:
    config = {"title": "Birds", "fullFileUpload": {"status": True, "allowedUploadFileTypes": "text/plain"}}
    flow = branded.create_flow(conversation("http://127.0.0.1:1/v1"), chatbotConfig=json.dumps(config))
    assert call(branded, "chat_config", flow)["title"] == "Birds"
    files = [("wren.txt", "The wren sings, größer.".encode(), "text/plain")]
    assert call(branded, "attach", flow, "0b9c7e0e-6d0e-4b52-8d0c-0a4f6f6e7b11", files) == [
        FileUpload("file:full", "wren.txt", "text/plain", "The wren sings, größer.")
    ]


def test_an_answer_is_rated_and_rated_again(call: Call, server: Server, chat: str) -> None:
    message = server.ask(chat, "/say Yes").json["chatMessageId"]
    first = call(server, "rate", chat, message, "THUMBS_DOWN", "too short")
    second = call(server, "rate", chat, message, "THUMBS_UP")
    assert (first.rating, first.content, second.rating, second.id) == (
        "THUMBS_DOWN",
        "too short",
        "THUMBS_UP",
        first.id,
    )


def test_the_pages_look_is_told(call: Call, server: Server, branded: Server) -> None:
    look = call(branded, "look")
    assert (look.name, look.color, call(branded, "logo")) == ("Acme", "#123456", LOGO)
    assert (call(server, "look").name, call(server, "look").logo) == ("Headrace", None)
    with pytest.raises(NotFound, match="no logo"):
        call(server, "logo")
