"""Files and earlier turns that the Python client sends along, as they arrive at the model."""

import base64
from pathlib import Path

import pytest
from servers import Server, conversation
from upstream import Upstream

from headrace import FileUpload, Headrace, HistoryMessage

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_pictures_texts_and_earlier_turns_reach_the_model(server: Server, upstream: Upstream, tmp_path: Path) -> None:
    flow = server.create_flow(conversation(upstream.url, model={"allowImageUploads": True}))
    (tmp_path / "dot.png").write_bytes(PIXEL)
    with Headrace(server.url) as client:
        client.predict(
            flow,
            "What is this?",
            history=[HistoryMessage.user("I live in Oslo"), HistoryMessage.assistant("Noted.")],
            uploads=[FileUpload.from_path(tmp_path / "dot.png"), FileUpload.from_bytes("Grüße".encode(), "note.txt")],
        )
    _, user, assistant, *rest = upstream.requests[-1].body["messages"]
    assert (user["content"], assistant["content"]) == ("I live in Oslo", "Noted.")
    assert "<doc name='note.txt'>Grüße</doc>" in str(rest)
    assert base64.b64encode(PIXEL).decode() in str(rest)


@pytest.mark.parametrize(
    ("name", "data", "kind", "mime"),
    [
        ("dot.png", PIXEL, "file", "image/png"),
        ("song.mp3", b"ID3\xff", "audio", "audio/mpeg"),
        ("data.csv", b"a,b\n1,2\n", "file:full", "text/csv"),
        ("plan.pdf", b"%PDF-1.7\n\xff", "file:rag", "application/pdf"),
        ("binary.txt", b"a\0b", "file:rag", "text/plain"),
        ("no ending", b"text", "file:full", "application/octet-stream"),
    ],
)
def test_what_a_file_is_decides_how_it_is_sent(name: str, data: bytes, kind: str, mime: str) -> None:
    upload = FileUpload.from_bytes(data, name)
    assert (upload.type, upload.name, upload.mime) == (kind, name, mime)
    encoded = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    assert upload.data == (data.decode() if kind == "file:full" else encoded)


def test_type_and_mime_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("text")
    upload = FileUpload.from_path(str(path), mime="text/markdown", type="file:rag")
    assert upload == FileUpload("file:rag", "notes", "text/markdown", "data:text/markdown;base64,dGV4dA==")
    with pytest.raises(FileNotFoundError):
        FileUpload.from_path(tmp_path / "other")
