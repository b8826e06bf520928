"""Files that come with questions: pictures, attached texts, documents for one chat, and what is refused."""

import asyncio
import base64
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from servers import Reply, Server, conversation, llm_chain, node, serving
from servers import flow as drawn
from test_upserts_http import files, stored
from uploads import allowing, counts, form, reading, sources, upsert
from upstream import Upstream
from waiting import within

from headrace.errors import InvalidRequest
from headrace.nodes import built_in
from headrace.retrieval.files import to_base64
from headrace.runtime.flows import Flow
from headrace.runtime.uploads import data_of
from headrace.schema import FileUpload, FlowRow, PredictionRequest
from headrace.server.files import checked
from headrace.server.forms import FormFile
from headrace.settings import Settings

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PICTURE = {"type": "file", "name": "dot.png", "mime": "image/png", "data": f"data:image/png;base64,{PIXEL}"}


def seeing(server: Server, upstream: Upstream, **columns: Any) -> str:
    return server.create_flow(conversation(upstream.url, model={"allowImageUploads": True}), **columns)


def history(server: Server, flow: str) -> list[dict[str, Any]]:
    return server.send("GET", f"/api/v1/chatmessage/{flow}", admin=True).json


def sent(upstream: Upstream, number: int = -1) -> list[Any]:
    """What the model read, without the system message."""
    return [message["content"] for message in upstream.requests[number].body["messages"][1:]]


def test_a_picture_is_kept_and_later_turns_see_it(server: Server, upstream: Upstream) -> None:
    flow = seeing(server, upstream)
    assert server.ask(flow, "/say a dot", chatId="c", uploads=[PICTURE]).status == 200
    row, answer = history(server, flow)
    assert row["fileUploads"] == [{"type": "stored-file", "name": "dot.png", "mime": "image/png"}]
    assert answer["fileUploads"] is None
    server.ask(flow, "And before?", chatId="c")
    shown = {"type": "image_url", "image_url": {"url": PICTURE["data"]}}
    assert sent(upstream) == [[{"type": "text", "text": "/say a dot"}, shown], answer["content"], "And before?"]


def test_a_flow_whose_model_is_shown_no_pictures_takes_none(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(conversation(upstream.url))
    reply = server.ask(flow, "/say a dot", chatId="c", uploads=[PICTURE])
    assert (reply.status, "'dot.png'" in reply.json["message"]) == (400, True)
    assert upstream.requests == []


def test_a_stored_file_is_given_back_to_be_saved(server: Server, upstream: Upstream) -> None:
    flow = seeing(server, upstream)
    server.ask(flow, "/say a dot", chatId="a/../b", uploads=[PICTURE])
    path = f"/api/v1/get-upload-file?chatflowId={flow}&fileName="
    reply = server.send("GET", f"{path}dot.png&chatId=a%2F..%2Fb")
    assert (reply.status, reply.body) == (200, base64.b64decode(PIXEL))
    assert reply.headers["Content-Disposition"] == 'attachment; filename="dot.png"'
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    wanted = {"chatflowId": flow, "chatId": "a/../b", "fileName": "dot.png"}
    assert server.send("POST", "/api/v1/openai-assistants-file/download", wanted).body == reply.body
    for name, chat in (("dot.png", "b"), ("..%2Fdot.png", "a"), ("%2Fetc%2Fpasswd", "a"), ("a%00", "a"), ("", "a")):
        gone = server.send("GET", f"{path}{name}&chatId={chat}")
        assert (gone.status, gone.json["code"]) == (404, "not_found"), name
    bound = server.send("POST", "/api/v1/apikey", {"keyName": "k", "permissions": []}, admin=True).json["id"]
    server.send("PUT", f"/api/v1/chatflows/{flow}", {"apikeyid": bound}, admin=True)
    assert server.send("GET", f"{path}dot.png&chatId=a%2F..%2Fb").status == 401


def test_two_files_of_one_name_are_two_files(server: Server, upstream: Upstream) -> None:
    flow = seeing(server, upstream)
    other = {**PICTURE, "data": "data:image/png;base64," + base64.b64encode(b"other").decode()}
    for picture in (PICTURE, other, PICTURE):
        server.ask(flow, "/say ok", chatId="c", uploads=[picture])
    first, second, third = (row["fileUploads"][0]["name"] for row in history(server, flow) if row["fileUploads"])
    assert first == third == "dot.png"
    path = f"/api/v1/get-upload-file?chatflowId={flow}&chatId=c&fileName="
    assert server.send("GET", path + second).body == b"other"


def test_files_go_with_their_flow(server: Server, upstream: Upstream) -> None:
    flow = seeing(server, upstream)
    server.ask(flow, "/say ok", chatId="c", uploads=[PICTURE])
    assert (server.folder / "uploads" / flow).is_dir()
    server.send("DELETE", f"/api/v1/chatflows/{flow}", admin=True)
    assert not (server.folder / "uploads" / flow).exists()


@pytest.mark.parametrize(("query", "gone"), [("?chatId=c", ["c"]), ("", ["c", "d"]), ("?sessionId=c", [])])
def test_files_go_with_their_chat(server: Server, upstream: Upstream, query: str, gone: list[str]) -> None:
    flow = seeing(server, upstream)
    for chat in ("c", "d"):
        server.ask(flow, "/say ok", chatId=chat, uploads=[PICTURE])
    server.send("DELETE", f"/api/v1/chatmessage/{flow}{query}", admin=True)
    path = f"/api/v1/get-upload-file?chatflowId={flow}&fileName=dot.png&chatId="
    assert [chat for chat in ("c", "d") if server.send("GET", path + chat).status == 404] == gone


def test_an_attached_text_stands_before_the_question(server: Server, upstream: Upstream, chat: str) -> None:
    notes = {"type": "file:full", "name": "notes.txt", "mime": "text/plain", "data": 'First "line" <b>'}
    server.ask(chat, "Summarise", chatId="c", uploads=[notes])
    assert sent(upstream)[-1] == "<doc name='notes.txt'>First \"line\" <b></doc>\n\n\n\nSummarise"
    row = history(server, chat)[0]
    assert row["content"] == "Summarise"
    assert row["fileUploads"] == [{"type": "stored-file:full", "name": "notes.txt", "mime": "text/plain"}]


def test_an_attached_text_is_a_variable_of_prompts(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(llm_chain(upstream.url, "{files}", '{"files": "{{file_attachment}}"}'))
    server.ask(flow, "?", uploads=[{"type": "file:full", "name": "a.txt", "mime": "text/plain", "data": "{x}"}])
    assert upstream.requests[-1].body["messages"][-1]["content"] == "<doc name='a.txt'>{x}</doc>\n\n"


UNREAD = {
    "a recording": ("audio", "audio_1.wav", "audio/webm;codecs=opus"),
    "a recording that calls itself a picture": ("audio", "dot.png", "image/png"),
    "a document, and no store": ("file:rag", "a.txt", "text/plain"),
    "a program": ("file", "m.exe", "application/octet-stream"),
    "what the history calls a stored file": ("stored-file", "dot.png", "image/png"),
    "a type that nobody knows": ("other", "dot.png", "image/png"),
    "no type": ("", "a.txt", "text/plain"),
}


@pytest.mark.parametrize(("kind", "name", "mime"), UNREAD.values(), ids=UNREAD.keys())
def test_a_file_that_nothing_in_the_flow_looks_at_is_refused(
    server: Server, upstream: Upstream, kind: str, name: str, mime: str
) -> None:
    flow = seeing(server, upstream)
    upload = {"type": kind, "name": name, "mime": mime, "data": f"data:{mime};base64,AAAA"}
    reply = server.ask(flow, "/say ok", chatId="c", uploads=[upload])
    assert (reply.status, name in reply.json["message"]) == (400, True), reply.text
    assert (upstream.requests, history(server, flow)) == ([], [])
    assert not (server.folder / "uploads" / flow).exists()


@pytest.mark.parametrize(
    ("code", "status"),
    [("return 'x'", 400), ("return $input", 200), ("return $flow.input", 200), ("return '{{ question }}'", 200)],
)
def test_a_text_is_taken_by_flows_that_look_at_the_question(server: Server, code: str, status: int) -> None:
    function = node("customFunction", "Utilities", output="EndingNode", javascriptFunction=code)
    notes = {"type": "file:full", "name": "notes.txt", "mime": "text/plain", "data": "x"}
    assert server.ask(server.create_flow(drawn(function)), "?", uploads=[notes]).status == status


def test_a_document_whose_ending_no_loader_takes_is_refused(server: Server, upstream: Upstream) -> None:
    page = {"type": "file:rag", "name": "a.pdf", "mime": "application/pdf", "data": "data:application/pdf;base64,AAAA"}
    reply = server.ask(searching(server, upstream), "?", chatId="c", uploads=[page])
    assert (reply.status, "'a.pdf'" in reply.json["message"]) == (400, True)


def test_a_forms_file_that_callers_may_not_give_is_refused(server: Server, upstream: Upstream) -> None:
    closed = server.create_flow(reading(upstream.url, files(txtFile="")))
    body, headers = form({"question": "/say ok"}, [("a.txt", b"x", "text/plain")])
    reply = server.send("POST", f"/api/v1/prediction/{closed}", body, headers)
    assert (reply.status, "'a.txt'" in reply.json["message"]) == (400, True)


def test_pictures_of_earlier_turns_are_shown_where_the_caller_turns_them_on(server: Server, upstream: Upstream) -> None:
    rules = json.dumps(allowing(("OpenAI", "allowImageUploads")))
    flow = server.create_flow(conversation(upstream.url), apiConfig=rules)
    override = {"allowImageUploads": True}
    assert server.ask(flow, "/say a", chatId="c", uploads=[PICTURE], overrideConfig=override).status == 200
    server.ask(flow, "/say b", chatId="c", overrideConfig=override)
    assert isinstance(sent(upstream)[0], list)
    server.ask(flow, "/say c", chatId="c")
    assert sent(upstream)[0] == "/say a"


def searching(server: Server, upstream: Upstream) -> str:
    """A flow whose callers may bring text files."""
    return server.create_flow(
        reading(upstream.url, files(txtFile="")), apiConfig=json.dumps(allowing(("Files", "txtFile")))
    )


def test_a_document_for_the_chat_is_upserted_for_it_alone(server: Server, upstream: Upstream) -> None:
    flow = searching(server, upstream)
    text = base64.b64encode(b"The Wren is small.").decode()
    wren = {"type": "file:rag", "name": "wren.txt", "mime": "text/plain", "data": f"data:text/plain;base64,{text}"}
    assert server.ask(flow, "/say ok", chatId="c", uploads=[wren]).status == 200
    assert stored(server, flow) == ["The Wren is small."]
    assert history(server, flow)[0]["fileUploads"][0]["type"] == "stored-file:rag"
    same = form({"chatId": "c"}, [("wren.txt", b"The Wren is small.", "text/plain")])
    assert counts(upsert(server, flow, *same)) == (0, 0, 1, 0), "the widget's own way leads to the same place"
    assert server.ask(flow, "?", chatId="d").status == 422, "another chat has nothing to search"
    assert sources(server, flow, "wren", "c") == ["The Wren is small."]
    visitors = server.send("POST", f"/api/v1/vector/upsert/{flow}", *same)
    assert counts(visitors) == (0, 0, 1, 0), "the chat widget has no key"
    everybody = form(files=[("owl.txt", b"The Owl and the wren.", "text/plain")])
    assert counts(upsert(server, flow, *everybody)) == (1, 0, 0, 0)
    assert sources(server, flow, "wren", "d") == ["The Owl and the wren."]
    assert sources(server, flow, "wren", "c") == ["The Owl and the wren.", "The Wren is small."]


@pytest.mark.parametrize(
    ("change", "status", "wanted"),
    [
        ({"data": "data:image/png;base64,!!"}, 400, "base64 is damaged at $.uploads[0]"),
        ({"data": "data:image/png"}, 400, "must be a data URI"),
        ({"name": ".."}, 400, "not the name of a file"),
        ({"name": "a.pdf"}, 400, "make them agree"),
        ({"mime": "image/gif"}, 400, "make them agree"),
        ({"data": f"data:text/html;base64,{PIXEL}"}, 400, "make them agree"),
        ({"data": "data:image/png;base64," + "A" * 2**21}, 413, "HEADRACE_MAX_IMAGE_MB"),
        (
            {"type": "file:rag", "name": "a.txt", "mime": "text/plain", "data": "data:text/plain;base64,AAAA"},
            400,
            "takes no files",
        ),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_before_the_run(
    small: Server, upstream: Upstream, change: dict[str, str], status: int, wanted: str
) -> None:
    flow = seeing(small, upstream)
    for streaming in (False, True):
        reply = small.ask(flow, "?", streaming=streaming, uploads=[{**PICTURE, **change}])
        assert reply.status == status, reply.text
        assert wanted in reply.json["message"]
    assert history(small, flow) == []


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that takes pictures of up to 1 MiB."""
    folder: Path = tmp_path_factory.mktemp("small") / "data"
    with serving(folder, HEADRACE_MAX_IMAGE_MB="1", HEADRACE_MAX_FILE_MB="1") as server:
        yield server


def test_a_form_asks_like_json(server: Server, upstream: Upstream, chat: str) -> None:
    fields = {"question": "/say two words", "chatId": "c", "history": '[{"role": "userMessage", "content": "x"}]'}
    body, headers = form(fields)
    reply = server.send("POST", f"/api/v1/prediction/{chat}", body, headers)
    assert (reply.json["text"], reply.json["chatId"]) == ("two words", "c")
    assert sent(upstream) == ["x", "/say two words"]
    body, headers = form({"question": "/say Hi", "streaming": "true"})
    assert server.send("POST", f"/api/v1/prediction/{chat}", body, headers).kinds[-1] == "end"
    body, headers = form({"question": "?", "history": "{"})
    assert server.send("POST", f"/api/v1/prediction/{chat}", body, headers).status == 400


def test_the_fields_of_a_form_override_inputs(server: Server, upstream: Upstream) -> None:
    api = json.dumps(allowing(("Conversation Chain", "systemMessagePrompt")))
    flow = server.create_flow(conversation(upstream.url), apiConfig=api)
    body, headers = form({"question": "?", "systemMessagePrompt": "Sing."})
    server.send("POST", f"/api/v1/prediction/{flow}", body, headers)
    assert upstream.requests[-1].body["messages"][0]["content"] == "Sing."


def attach(server: Server, flow: str, *given: tuple[str, bytes, str], chat: str = "", **fields: str) -> Reply:
    body, headers = form(fields, given)
    return server.send("POST", f"/api/v1/attachments/{flow}/{chat or uuid4()}", body, headers)


def test_without_a_key_files_go_only_to_the_callers_own_chat(server: Server, small: Server, upstream: Upstream) -> None:
    flow, closed = searching(server, upstream), server.create_flow(conversation(upstream.url))
    wren = [("wren.txt", b"The Wren is small.", "text/plain")]
    own = form({"chatId": "c", "stopNodeId": "x", "Files": "y"}, wren)
    assert counts(server.send("POST", f"/api/v1/vector/upsert/{flow}", *own)) == (1, 0, 0, 0)
    for target, sent in ((flow, form(files=wren)), (closed, own)):
        reply = server.send("POST", f"/api/v1/vector/upsert/{target}", *sent)
        assert (reply.status, reply.json["code"]) == (401, "unauthorized")
    large = form({"chatId": "c"}, [("a.txt", b"x" * (2**20 + 1), "text/plain")])
    assert small.send("POST", f"/api/v1/vector/upsert/{searching(small, upstream)}", *large).status == 413
    body, headers = own
    wrong = server.send("POST", f"/api/v1/vector/upsert/{flow}", body, {**headers, "Authorization": "Bearer wrong"})
    assert wrong.status == 401


def attaching(server: Server, upstream: Upstream, types: str = "text/plain,text/csv,application/json") -> str:
    config = {"fullFileUpload": {"status": True, "allowedUploadFileTypes": types}}
    return server.create_flow(conversation(upstream.url), chatbotConfig=json.dumps(config))


def test_attachments_are_read_for_the_caller(server: Server, upstream: Upstream) -> None:
    flow = attaching(server, upstream)
    reply = attach(server, flow, ("a.txt", b"Hello", "text/plain"), ("b.csv", b"x\n1\n2\n", "text/csv"))
    assert reply.json == [
        {"name": "a.txt", "mimeType": "text/plain", "size": 5, "content": "Hello"},
        {"name": "b.csv", "mimeType": "text/csv", "size": 6, "content": "x: 1\nx: 2"},
    ]
    assert attach(server, flow, ("a.txt", b"\0\xff", "text/plain"), base64="true").json[0]["content"] == "AP8="


def test_attachments_are_refused_with_the_reason(small: Server, upstream: Upstream, chat: str) -> None:
    flow = attaching(small, upstream)
    text = ("a.txt", b"x", "text/plain")
    closed = attach(small, small.create_flow(conversation(upstream.url)), text)
    cases = [
        (closed, 400, "not enabled"),
        (attach(small, flow, ("a.exe", b"x", "application/octet-stream")), 400, "the flow takes text/plain"),
        (attach(small, flow, ("a.pdf", b"x", "text/plain")), 400, "make them agree"),
        (attach(small, flow, text, chat="no-uuid"), 400, "use a UUID"),
        (attach(small, flow, ("a.txt", b"x" * (2**20 + 1), "text/plain")), 413, "HEADRACE_MAX_FILE_MB"),
        (attach(small, flow, ("a.txt", b"\xff", "text/plain")), 422, "'a.txt' could not be read"),
        (small.send("POST", f"/api/v1/attachments/{flow}/{uuid4()}", {}), 400, "multipart form"),
    ]
    for reply, status, wanted in cases:
        assert (reply.status, wanted in reply.json["message"]) == (status, True), reply.text


def test_the_widget_is_told_what_may_be_uploaded(small: Server, upstream: Upstream) -> None:
    def told(flow: str) -> Any:
        return small.send("GET", f"/api/v1/chatflows-uploads/{flow}").json

    assert told(seeing(small, upstream))["imgUploadSizeAndTypes"][0]["maxUploadSize"] == 1
    (rule,) = told(searching(small, upstream))["fileUploadSizeAndTypes"]
    assert rule["maxUploadSize"] == 1
    assert {".txt", ".md"} <= set(rule["fileTypes"])
    pages = allowing(("pdfFile", "pdfFile"))
    pdf = small.create_flow(
        reading(upstream.url, node("pdfFile", "Document Loaders", pdfFile="")), apiConfig=json.dumps(pages)
    )
    assert told(pdf) == {
        "isSpeechToTextEnabled": False,
        "isImageUploadAllowed": False,
        "isRAGFileUploadAllowed": True,
        "imgUploadSizeAndTypes": [],
        "fileUploadSizeAndTypes": [{"fileTypes": [".pdf"], "maxUploadSize": 1}],
    }
    closed = small.create_flow(reading(upstream.url, node("textFile", "Document Loaders", txtFile="")))
    assert told(closed)["isRAGFileUploadAllowed"] is False


def test_what_only_a_chat_finds_goes_with_its_messages(server: Server, upstream: Upstream) -> None:
    flow = searching(server, upstream)
    for chat in ("c", "d", "d/c"):
        body = form({"chatId": chat}, [("a.txt", f"The Wren of {chat}.".encode(), "text/plain")])
        assert counts(upsert(server, flow, *body)) == (1, 0, 0, 0)
    path = f"/api/v1/chatmessage/{flow}"
    assert server.send("DELETE", f"{path}?chatId=c", admin=True).status == 200
    assert stored(server, flow) == ["The Wren of d.", "The Wren of d/c."]
    assert counts(upsert(server, flow, *form(files=[("a.txt", b"The Owl.", "text/plain")]))) == (1, 0, 0, 0)
    assert server.send("DELETE", path, admin=True).status == 200
    assert stored(server, flow) == ["The Owl."]


LARGE = bytes(range(256)) * 2**16


def test_streams_go_on_while_a_large_file_is_decoded_and_coded() -> None:
    graph, rules = reading("http://127.0.0.1:9", files(txtFile="")), allowing(("Files", "txtFile"))
    flow = Flow(FlowRow("f", "f", json.dumps(graph), apiConfig=json.dumps(rules)), built_in())
    upload = FileUpload("file:rag", "large.txt", "text/plain", to_base64(LARGE, "data:text/plain;base64,"))

    async def turns_during(work: Coroutine[Any, Any, Any]) -> int:
        task, turns = asyncio.create_task(work), 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await task
        return turns

    async def scenario() -> None:
        assert await turns_during(checked(flow, PredictionRequest(uploads=[upload]), Settings())) > 20
        assert await turns_during(asyncio.to_thread(lambda: FormFile("a.txt", "text/plain", LARGE).uri)) > 20

    within(scenario())


@pytest.mark.parametrize("size", [0, 1, 2, 3, 786_431, 786_432, 786_433, 1_572_864])
def test_base64_in_pieces_is_base64(size: int) -> None:
    content = LARGE[:size]
    written = to_base64(content, "data:a/b;base64,")
    assert written == "data:a/b;base64," + base64.b64encode(content).decode()
    assert data_of(written) == ("a/b", content)


@pytest.mark.parametrize("damaged", ["a", "YQ=", "YQ==YQ==", "Y Q==", "Y\nQ==", "ä" * 4, "YQ==="])
def test_damaged_base64_is_refused(damaged: str) -> None:
    with pytest.raises(InvalidRequest, match="damaged"):
        data_of(f"data:a/b;base64,{damaged}")
