"""The golden streams and the cases of tests/wire, which TypeScript's tests read too, and a JSON answer."""

import json
from pathlib import Path
from typing import Any

from headrace.sse import Decoder

WIRE = Path(__file__).parent / "wire"
ANSWER: dict[str, Any] = {
    "text": "Hello",
    "sourceDocuments": [{"pageContent": "a", "metadata": {"page": 1}}],
    "question": "Hi",
    "chatId": "c",
    "chatMessageId": "m",
    "isStreamValid": False,
}
CASES: list[dict[str, Any]] = json.loads((WIRE / "cases.json").read_text())
"""What a stream's pieces (a text stands for its UTF-8, a list for bytes) give."""
TOKEN, END = '{"event":"token","data":"Hi"}', '{"event":"end","data":"[DONE]"}'


def golden(name: str) -> bytes:
    return (WIRE / f"{name}.sse").read_bytes()


def payloads(stream: bytes) -> list[str]:
    return [event.data for event in Decoder().feed(stream)]


def pieces(case: dict[str, Any]) -> list[bytes]:
    return [piece.encode() if isinstance(piece, str) else bytes(piece) for piece in case["pieces"]]


def odd_pieces(data: bytes) -> list[bytes]:
    """Cut so that `data:`, line ends and characters fall apart."""
    return [data[at : at + 3] for at in range(0, len(data), 3)]


def frames(*texts: str) -> bytes:
    return b"".join(f"id:r:{seq}\nmessage:\ndata:{text}\n\n".encode() for seq, text in enumerate(texts, 1))
