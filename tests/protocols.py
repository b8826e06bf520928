"""Every protocol of a provider: its adapter, and the transcripts in tests/protocols with what they must give.

A transcript is what a provider sends, byte for byte; those of Bedrock are lines of JSON, framed by `framed`. Beside it
lies the same name with `.json`: the deltas in the shape of `shown`, and the error that ends the answer, if one does.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace.engine.chat import (
    CitationDelta,
    Delta,
    FactsDelta,
    FinishDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageDelta,
)
from headrace.engine.ports import ChatModel
from headrace.providers import anthropic, bedrock, cohere, completions, google, ollama, openai, replicate
from headrace.providers.endpoint import Endpoint
from headrace.providers.stream_parser import ResponseParser

FOLDER = Path(__file__).parent / "protocols"
SECRET = "sk-secret"


class Protocol(NamedTuple):
    """How a model of a protocol is made, and the parser of its answers."""

    model: Callable[[Endpoint], ChatModel]
    parser: Callable[[str], ResponseParser]


def completion(parser: Callable[[str], Any]) -> Callable[[Endpoint], ChatModel]:
    def body_of(prompt: str, stop: Sequence[str]) -> dict[str, Any]:
        return {"prompt": prompt, **({"stop": stop} if stop else {})}

    return lambda endpoint: completions.CompletionChat(endpoint, body_of, parser)


PROTOCOLS: dict[str, Protocol] = {
    "openai": Protocol(lambda to: openai.OpenAIChat(to, {"model": "m"}, openai.Quirks()), openai.ChunkParser),
    "anthropic": Protocol(lambda to: anthropic.AnthropicChat(to, {"model": "m"}), anthropic.EventParser),
    "google": Protocol(lambda to: google.GoogleChat(to, {}), google.ChunkParser),
    "ollama": Protocol(lambda to: ollama.OllamaChat(to, {"model": "m"}), ollama.ChunkParser),
    "cohere": Protocol(lambda to: cohere.CohereChat(to, {"model": "m"}), cohere.EventParser),
    "bedrock": Protocol(
        lambda to: bedrock.BedrockChat(to, "us-east-1", bedrock.AwsKey("AKIA", SECRET), {}), bedrock.FrameParser
    ),
    "completions": Protocol(completion(completions.CompletionParser), completions.CompletionParser),
    "generation": Protocol(completion(completions.GenerationParser), completions.GenerationParser),
    "replicate": Protocol(lambda to: replicate.ReplicateChat(to, "", {}), replicate.OutputParser),
}
TRANSCRIPTS = sorted(
    f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*") if path.suffix in (".sse", ".ndjson", ".frames")
)


def transcript(name: str) -> bytes:
    """The bytes of an answer."""
    data = (FOLDER / name).read_bytes()
    return b"".join(map(framed, data.splitlines())) if name.endswith(".frames") else data


def expected(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).with_suffix(".json").read_text(encoding="utf-8"))


def framed(line: bytes) -> bytes:
    """A frame of AWS's event stream: lengths, headers, payload, and a checksum of the front and of all."""
    event = json.loads(line)
    kind = event["event"]
    failed = kind.startswith("!")
    headers = {
        ":exception-type" if failed else ":event-type": kind.removeprefix("!"),
        ":content-type": "application/json",
        ":message-type": "exception" if failed else "event",
    }
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for name, value in headers.items()
    )
    payload = json.dumps(event["data"], ensure_ascii=False).encode()
    front = (len(head) + len(payload) + 16).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    whole = front + zlib.crc32(front).to_bytes(4, "big") + head + payload
    return whole + zlib.crc32(whole).to_bytes(4, "big")


def shown(delta: Delta) -> dict[str, Any]:
    """A delta as the files of expected ones have it."""
    match delta:
        case TextDelta():
            return {"text": delta.text}
        case ThinkingDelta():
            more = {"signature": delta.signature, "redacted": delta.redacted}
            return {"thinking": delta.text} | {name: value for name, value in more.items() if value}
        case ToolCallDelta():
            parts = {"id": delta.id, "name": delta.name, "arguments": delta.arguments, "signature": delta.signature}
            return {"call": delta.index} | {name: value for name, value in parts.items() if value}
        case CitationDelta():
            return {"cited": msgspec.to_builtins(delta.document)}
        case UsageDelta():
            return {"usage": msgspec.to_builtins(delta.usage)}
        case FinishDelta():
            return {"finish": delta.reason}
        case FactsDelta():
            return {"facts": delta.facts}


def all_shown(deltas: Sequence[Delta]) -> list[dict[str, Any]]:
    return [shown(delta) for delta in deltas]
