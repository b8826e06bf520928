"""What each model protocol costs: CPU per token from the provider's bytes to deltas, all of an answer at once.

    python benchmarks/adapters.py [--tokens 2000] [--rounds 30]

The bytes come from memory in reads of 64 KiB, as a socket gives them in a burst; what is counted is CPU time. Only the
ratios mean something: none should be over three times the OpenAI protocol's.
"""

import argparse
import asyncio
import json
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import aclosing
from statistics import median
from typing import Any

from headrace.engine.ports import Body, HttpCall, Tries
from headrace.providers import anthropic, bedrock, cohere, completions, google, ollama, openai
from headrace.providers.http import CallTries, ProviderLimits
from headrace.providers.stream_parser import Answer, ResponseParser

READ = 64 * 1024  # bytes
CALL = HttpCall("http://nowhere.invalid", {})


class Held:
    """A way out that leads nowhere: every call gets the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.left = [data[at : at + READ] for at in range(0, len(data), READ)]

    def tries(self, call: HttpCall) -> Tries:
        return CallTries(ProviderLimits(), call.timeout)

    async def send(self, call: HttpCall, tries: Tries | None = None) -> Body:
        return self

    async def read(self) -> bytes:
        return self.left.pop(0) if self.left else b""

    async def push(self, take: Callable[[bytes], bool]) -> None:
        while take(data := await self.read()) and data:
            pass

    def close(self) -> None:
        pass


def events(values: Sequence[dict[str, Any]], *, named: bool = False) -> bytes:
    frames = [f"data: {json.dumps(value)}\n\n" for value in values]
    heads = [f"event: {value['type']}\n" if named else "" for value in values]
    return "".join(head + frame for head, frame in zip(heads, frames, strict=True)).encode()


def openai_stream(words: Sequence[str]) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks = [{**head, "choices": [{"index": 0, "delta": {"content": w}, "finish_reason": None}]} for w in words]
    return events([*chunks, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}])


def anthropic_stream(words: Sequence[str]) -> bytes:
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words
    ]
    ending = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    return events([*deltas, ending, {"type": "message_stop"}], named=True)


def google_stream(words: Sequence[str]) -> bytes:
    count = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}

    def chunk(word: str, **more: Any) -> dict[str, Any]:
        content = {"parts": [{"text": word}], "role": "model"}
        return {"candidates": [{"content": content, **more}], "usageMetadata": count, "modelVersion": "m"}

    return events([*map(chunk, words), chunk("", finishReason="STOP")])


def ollama_stream(words: Sequence[str]) -> bytes:
    head = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    lines = [{**head, "message": {"role": "assistant", "content": word}, "done": False} for word in words]
    return "".join(json.dumps(line) + "\n" for line in [*lines, {**head, "done": True, "done_reason": "stop"}]).encode()


def cohere_stream(words: Sequence[str]) -> bytes:
    deltas = [
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}} for word in words
    ]
    return events([*deltas, {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}], named=True)


def completion_stream(words: Sequence[str]) -> bytes:
    return events([{"choices": [{"text": word}]} for word in words] + [{"choices": [{"finish_reason": "stop"}]}])


def generation_stream(words: Sequence[str]) -> bytes:
    tokens = [{"index": 1, "token": {"id": 1, "text": word, "special": False}} for word in words]
    return events([*tokens, {"index": 2, "token": {"id": 2, "text": "", "special": True}, "generated_text": "x"}])


def bedrock_stream(words: Sequence[str]) -> bytes:
    deltas = [_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in words]
    return b"".join([*deltas, _frame("messageStop", {"stopReason": "end_turn"})])


def _frame(kind: str, value: Any) -> bytes:
    names = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(text).to_bytes(2, "big") + text.encode()
        for name, text in names.items()
    )
    payload = json.dumps(value).encode()
    front = (len(head) + len(payload) + 16).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    whole = front + zlib.crc32(front).to_bytes(4, "big") + head + payload
    return whole + zlib.crc32(whole).to_bytes(4, "big")


PROTOCOLS: dict[str, tuple[Callable[[Sequence[str]], bytes], Callable[[], ResponseParser]]] = {
    "OpenAI": (openai_stream, openai.ChunkParser),
    "Anthropic": (anthropic_stream, anthropic.EventParser),
    "Gemini": (google_stream, google.ChunkParser),
    "Ollama": (ollama_stream, ollama.ChunkParser),
    "Cohere": (cohere_stream, cohere.EventParser),
    "Converse (Bedrock)": (bedrock_stream, bedrock.FrameParser),
    "OpenAI completions": (completion_stream, completions.CompletionParser),
    "text generation": (generation_stream, completions.GenerationParser),
}


async def once(data: bytes, parser: Callable[[], ResponseParser]) -> float:
    """CPU seconds of one answer."""
    start = time.process_time()
    async with aclosing(Answer(Held(data), CALL, parser)) as batches:
        async for _ in batches:
            pass
    return time.process_time() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokens", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=30)
    given = options.parse_args()
    words = [f" word{number}" for number in range(given.tokens)]
    streams = {name: (stream(words), parser) for name, (stream, parser) in PROTOCOLS.items()}
    taken: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(given.rounds):  # in turns, so that a slow moment is everybody's
        for name, (data, parser) in streams.items():
            taken[name].append(asyncio.run(once(data, parser)) / given.tokens * 1e6)
    base = median(taken["OpenAI"])
    sys.stdout.write("| protocol | CPU µs per token | times OpenAI's |\n| --- | --- | --- |\n")
    for name, times in taken.items():
        sys.stdout.write(f"| {name} | {median(times):.2f} | {median(times) / base:.1f} |\n")


if __name__ == "__main__":
    main()
