"""The other protocols."""

# ruff: noqa: E501

import json
from typing import Any

from odd import Odd, data, failed, lines

A, B = '{"a":1}', '{"b":2}'


def starts(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def block(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def ends(reason: Any = "end_turn", **more: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, **more}


STOP = {"type": "message_stop"}
HI = block(0, type="text_delta", text="Hi")
ZERO = (0, 0, 0)
LIMITED = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}
ANTHROPIC = [
    Odd(
        "fractions",
        data({"type": "message_start", "message": {"usage": {"input_tokens": 12.6}}}, HI, ends(), STOP),
        usage=(12, 0, 12),
    ),
    Odd(
        "usage null",
        data({"type": "message_start", "message": {"usage": None}}, HI, ends(usage=None), STOP),
        usage=ZERO,
    ),
    Odd("a message that is a text", data({"type": "message_start", "message": "m"}, HI, ends(), STOP), usage=ZERO),
    Odd("index as text", data({**HI, "index": "0"}, ends(), STOP), usage=ZERO),
    Odd(
        "types only in the event's name",
        b"event: content_block_delta\n"
        + data({"delta": {"text": "Hi"}})
        + b"event: message_delta\n"
        + data({"delta": {"stop_reason": "end_turn"}}),
        usage=ZERO,
    ),
    Odd("an end twice", data(HI, ends(), ends(), STOP), usage=ZERO),
    Odd("no stop", data(HI, ends()), usage=ZERO),
    Odd("[DONE]", data(HI, ends(), "[DONE]"), usage=ZERO),
    Odd("CR", data(HI, ends(), STOP).replace(b"\n", b"\r"), usage=ZERO),
    Odd("halves", data(block(0, text="\ud83d"), block(0, text="\ude00"), ends(), STOP), "\U0001f600", usage=ZERO),
    Odd(
        "at once",
        json.dumps(
            {
                "type": "message",
                "content": [{"type": "text", "text": "Hi"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 1, "output_tokens": 2},
            }
        ).encode(),
        usage=(1, 2, 3),
    ),
    Odd(
        "two calls with one index",
        data(
            starts(0, type="tool_use", id="a", name="add", input={}),
            block(0, partial_json=A),
            starts(0, type="tool_use", id="b", name="add", input={}),
            block(0, partial_json=B),
            ends("tool_use"),
            STOP,
        ),
        "",
        calls=(
            ("a", "add", A),
            ("b", "add", B),
        ),
        finish="tool_calls",
        usage=ZERO,
    ),
    Odd(
        "the input with the start",
        data(
            starts(0, type="tool_use", id="a", name="add", input={"a": 1}),
            {"type": "content_block_stop", "index": 0},
            ends("tool_use"),
            STOP,
        ),
        "",
        calls=(("a", "add", A),),
        finish="tool_calls",
        usage=ZERO,
    ),
    Odd(
        "no id",
        data(starts(0, type="tool_use", name="add", input={"a": 1}), ends("tool_use")),
        "",
        calls=(("call-0", "add", A),),
        finish="tool_calls",
        usage=ZERO,
    ),
    failed("limited", data(LIMITED), "provider_rate_limited"),
    failed("limited inside", data(HI, LIMITED), "provider_rate_limited", "Hi"),
    failed("an error without its kind", data({"error": {"message": "x"}})),
    failed("an error as a text", data({"type": "error", "error": "Overloaded"})),
    failed("JSON instead of a stream", json.dumps(LIMITED).encode(), "provider_rate_limited"),
    failed("refused", data(HI, ends("refusal"), STOP), "provider_filtered", "Hi"),
    failed("window full", data(ends("model_context_window_exceeded"), STOP), "provider_context_too_long"),
    failed("failed", data(HI, ends("error"), STOP), text="Hi"),
]


def part(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [*parts]}, **more}]}


END = part(finishReason="STOP")
TEXT = {"text": "Hi"}


def partly(*parts: dict[str, Any], **function: Any) -> dict[str, Any]:
    """A part of a call whose arguments come value by value."""
    return part({"functionCall": {**function, **({"partialArgs": list(parts)} if parts else {})}})


BEGUN = partly(name="add", id="a", willContinue=True)


GOOGLE = [
    Odd("arguments in pieces of a text", data(BEGUN, partly({"jsonPath": "$.a", "stringValue": "x", "willContinue":
        True}, willContinue=True), partly({"jsonPath": "$.a", "stringValue": "y"}, willContinue=True), partly(), END),
        "", calls=(("a", "add", '{"a":"xy"}'),), finish="tool_calls"),
    Odd("arguments value by value", data(BEGUN, partly({"jsonPath": "$.a", "numberValue": 2}, willContinue=True),
        partly({"jsonPath": "$['b'].c[1]", "boolValue": True}, {"jsonPath": "$.d", "nullValue": None}), END),
        "", calls=(("a", "add", '{"a":2,"b":{"c":[null,true]},"d":null}'),), finish="tool_calls"),
    Odd("arguments at odd places", data(BEGUN, partly({"jsonPath": "$"}, {"stringValue": "x"}, {"jsonPath": 5},
        {"jsonPath": "$[0]", "stringValue": "x"}, {"jsonPath": "$.a[99999999]", "stringValue": "x"}), END),
        "", calls=(("a", "add", '{"a":[]}'),), finish="tool_calls"),
    Odd("partial arguments that nothing ends", data(partly({"jsonPath": "$.a", "numberValue": 1}, name="add", id="a",
        willContinue=True), END), "", calls=(("a", "add", '{"a":1}'),), finish="tool_calls"),
    Odd("a call after partial arguments", data(partly({"jsonPath": "$.a", "numberValue": 1}, name="add", id="a",
        willContinue=True), part({"functionCall": {"name": "add", "id": "b", "args": {}}}), END), "",
        calls=(("a", "add", '{"a":1}'), ("b", "add", "{}")), finish="tool_calls"),
    Odd("parts null", data({"candidates": [{"content": {"parts": None}}]}, part(TEXT), END)),
    Odd("candidates null", data({"candidates": None}, part(TEXT), END)),
    Odd("no reason yet", data(part(TEXT, finishReason=None), END)),
    Odd("content null", data({"candidates": [{"content": None}]}, part(TEXT), END)),
    Odd("content a text", data({"candidates": [{"content": "Hi"}]}, END)),
    Odd("parts as an object", data({"candidates": [{"content": {"parts": TEXT}}]}, END)),
    Odd("parts of texts", data({"candidates": [{"content": {"parts": ["H", "i"]}}]}, END)),
    Odd("counts as text", data(part(TEXT), {**END, "usageMetadata": {"promptTokenCount": "1",
        "candidatesTokenCount": 2.0}}), usage=(1, 2, 3)),
    Odd("negative counts", data(part(TEXT), {**END, "usageMetadata": {"promptTokenCount": -1,
        "candidatesTokenCount": 2}}), usage=(0, 2, 2)),
    Odd("thought as text", data(part({"text": "Hm", "thought": "true"}), part(TEXT), END), thinking="Hm"),
    Odd("[DONE]", data(part(TEXT), END, "[DONE]")),
    Odd("a list instead of a stream", json.dumps([part(TEXT), END], indent=1).encode()),
    Odd("two candidates", data({"candidates": [{"index": 0, "content": {"parts": [TEXT]}},
        {"index": 1, "content": {"parts": [{"text": "Yo"}]}}]}, END)),
    Odd("other, with a text", data(part(TEXT, finishReason="OTHER")), finish="other"),
    Odd("no block", data({"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}, part(TEXT), END)),
    Odd("calls without ids", data(part({"functionCall": {"name": "add", "args": {"a": 1}}},
        {"functionCall": {"name": "add", "args": {"b": 2}}}), END), "",
        calls=(("call-0", "add", A), ("call-1", "add", B),), finish="tool_calls"),
    Odd("one id for two", data(part({"functionCall": {"id": "x", "name": "add", "args": {"a": 1}}},
        {"functionCall": {"id": "x", "name": "add", "args": {"b": 2}}}), END), "",
        calls=(("x", "add", A), ("x-1", "add", B),), finish="tool_calls"),
    Odd("args as text, and null", data(part({"functionCall": {"name": "add", "args": A}},
        {"functionCall": {"name": "now", "args": None}}), END), "",
        calls=(("call-0", "add", A), ("call-1", "now", "{}"),), finish="tool_calls"),
    *(failed(f"ends as {reason}", data(part(finishReason=reason))) for reason in (
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "LANGUAGE", "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE", "NO_IMAGE", "MISSING_THOUGHT_SIGNATURE")),
    *(failed(f"ends as {reason}", data(part(TEXT), part(finishReason=reason)), "provider_filtered", "Hi")
      for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "SPII", "IMAGE_SAFETY")),
    failed("an error first", data({"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}})),
    failed("an error in a list", json.dumps([{"error": {"code": 429, "message": "x"}}]).encode(),
           "provider_rate_limited"),
    failed("an error inside", data(part(TEXT), {"error": {"code": 429, "message": "x"}}), "provider_rate_limited", "Hi"),
    failed("cut", data(part(TEXT)), "provider_cut", "Hi"),
]  # fmt: skip


def said(content: Any = "Hi", **more: Any) -> dict[str, Any]:
    return {"message": {"content": content, **more}, "done": False}


OVER = {"message": {"content": ""}, "done": True, "done_reason": "stop"}
OLLAMA = [
    Odd("nulls", lines({**said(), "done_reason": None}, {**OVER, "prompt_eval_count": None}), usage=ZERO),
    Odd("counts as text", lines(said(), {**OVER, "prompt_eval_count": "3", "eval_count": 1.5}), usage=(3, 1, 4)),
    Odd("done as text", lines({**said(), "done": "false"}, {**OVER, "done": "true"}), usage=ZERO),
    Odd("content in parts", lines(said([{"type": "text", "text": "Hi"}]), OVER), usage=ZERO),
    Odd("frames", data(said(), OVER), usage=ZERO),
    Odd("CR", lines(said(), OVER).replace(b"\n", b"\r"), usage=ZERO),
    Odd("a byte order mark", b"\xef\xbb\xbf" + lines(said(), OVER), usage=ZERO),
    Odd("halves", lines(said("\ud83d"), said("\ude00"), OVER), "\U0001f600", usage=ZERO),
    Odd("error null", lines({**said(), "error": None}, OVER), usage=ZERO),
    Odd(
        "arguments as text",
        lines(said("", tool_calls=[{"function": {"name": "add", "arguments": A}}]), OVER),
        "",
        calls=(("call-0", "add", A),),
        finish="tool_calls",
        usage=ZERO,
    ),
    Odd(
        "a call as an object",
        lines(said("", tool_calls={"function": {"name": "add", "arguments": {"a": 1}}}), OVER),
        "",
        calls=(("call-0", "add", A),),
        finish="tool_calls",
        usage=ZERO,
    ),
    failed("an error", lines({"error": "the model crashed"})),
    failed(
        "an error inside", lines(said(), {"error": {"message": "slow", "code": 429}}), "provider_rate_limited", "Hi"
    ),
    failed("an error over several lines", json.dumps({"error": "x"}, indent=1).encode()),
    failed("detail", lines({"detail": "no"})),
    failed("failed", lines(said(), {**OVER, "done_reason": "error"}), text="Hi"),
    failed("cut", lines(said()), "provider_cut", "Hi"),
]


def cohere(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": content, **more}}}


def last(reason: Any = "COMPLETE", **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **more}}


def tool(index: int, number: str, arguments: Any) -> dict[str, Any]:
    call = {"id": number, "function": {"name": "add", "arguments": arguments}}
    return {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}}


COHERE = [
    Odd("content as a text", data(cohere("Hi"), last())),
    Odd("content in parts", data(cohere([{"type": "text", "text": "Hi"}]), last())),
    Odd("content null", data(cohere(None), cohere({"text": "Hi"}), last())),
    Odd("plan null", data(cohere({"text": "Hi"}, tool_plan=None), last())),
    Odd(
        "counts as text",
        data(cohere(TEXT), last(usage={"tokens": {"input_tokens": "1", "output_tokens": 2.0}})),
        usage=(1, 2, 3),
    ),
    Odd(
        "negative counts",
        data(cohere(TEXT), last(usage={"tokens": {"input_tokens": -1, "output_tokens": 2}})),
        usage=(0, 2, 2),
    ),
    Odd("[DONE] before the end", data(cohere(TEXT), "[DONE]", last())),
    Odd(
        "at once",
        json.dumps({"message": {"content": [{"type": "text", "text": "Hi"}]}, "finish_reason": "COMPLETE"}).encode(),
    ),
    Odd(
        "one index for two",
        data(tool(0, "a", A), tool(0, "b", B), last("TOOL_CALL")),
        "",
        calls=(
            ("a", "add", A),
            ("b", "add", B),
        ),
        finish="tool_calls",
    ),
    Odd(
        "arguments as an object",
        data(tool(0, "a", {"a": 1}), last("TOOL_CALL")),
        "",
        calls=(("a", "add", A),),
        finish="tool_calls",
    ),
    failed(
        "an error with an object",
        data(cohere(TEXT), last("ERROR", error={"message": "x", "code": 429})),
        "provider_rate_limited",
        "Hi",
    ),
    failed("a message", data({"message": "slow", "status": 429}), "provider_rate_limited"),
    failed("too long", data(last("ERROR_LIMIT")), "provider_context_too_long"),
    failed("toxic", data(cohere(TEXT), last("ERROR_TOXIC")), "provider_filtered", "Hi"),
    *(failed(f"ends as {reason}", data(last(reason))) for reason in ("ERROR", "TIMEOUT", "USER_CANCEL", "error")),
]


def frame(event: str, value: Any) -> bytes:
    return json.dumps({"event": event, "data": value}).encode() + b"\n"


DELTA, MET = frame("contentBlockDelta", {"delta": {"text": "Hi"}}), frame("messageStop", {"stopReason": "end_turn"})


def use(number: str, arguments: Any) -> bytes:
    return frame("contentBlockStart", {"start": {"toolUse": {"toolUseId": number, "name": "add"}}}) + frame(
        "contentBlockDelta", {"delta": {"toolUse": {"input": arguments}}}
    )


BEDROCK = [  # lines that the test frames
    Odd("index null", frame("contentBlockDelta", {"contentBlockIndex": None, "delta": {"text": "Hi"}}) + MET),
    Odd("counts as text", DELTA + MET + frame("metadata", {"usage": {"inputTokens": "1", "outputTokens": 2.0}}),
        usage=(1, 2, 3)),
    Odd("negative counts", DELTA + MET + frame("metadata", {"usage": {"inputTokens": -1, "outputTokens": 2}}),
        usage=(0, 2, 2)),
    Odd("one index for two", use("a", A) + use("b", B) + frame("messageStop", {"stopReason": "tool_use"}), "",
        calls=(("a", "add", A), ("b", "add", B),), finish="tool_calls"),
    Odd("input as an object", use("a", {"a": 1}) + frame("messageStop", {"stopReason": "tool_use"}), "",
        calls=(("a", "add", A),), finish="tool_calls"),
    *(failed(f"ends as {reason}", DELTA + frame("messageStop", {"stopReason": reason}), text="Hi")
      for reason in ("malformed_tool_use", "malformed_model_output", "error")),
    failed("window full", frame("messageStop", {"stopReason": "model_context_window_exceeded"}),
           "provider_context_too_long"),
    failed("guarded", DELTA + frame("messageStop", {"stopReason": "guardrail_intervened"}), "provider_filtered", "Hi"),
    failed("an event that is an error", frame("x", {"message": "slow", "code": 429}), "provider_rate_limited"),
    failed("cut", DELTA, "provider_cut", "Hi"),
]  # fmt: skip


def text(value: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": value, **more}]}


COMPLETIONS = [
    Odd(
        "usage with every chunk",
        data(
            {**text("H"), "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            {**text("i", finish_reason="stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ),
        usage=(1, 2, 3),
    ),
    Odd("text null", data(text(None), text("Hi", finish_reason="stop"), "[DONE]")),
    Odd("choices null", data({"choices": None}, text("Hi", finish_reason="stop"))),
    Odd("two choices", data(text("H", index=0), text("Yo", index=1), text("i", index=0, finish_reason="stop"))),
    Odd(
        "counts as text",
        data(text("Hi", finish_reason="stop"), {"choices": [], "usage": {"prompt_tokens": "2"}}),
        usage=(2, 0, 2),
    ),
    Odd("two ends", data(text("Hi", finish_reason="stop"), text("", finish_reason="stop"), "[DONE]")),
    failed("failed", data(text("Hi"), text("", finish_reason="error")), text="Hi"),
    failed("an error as a text", data(text("Hi"), {"error": "x"}), text="Hi"),
    failed("detail", data({"detail": "x"})),
]
GENERATION = [
    Odd("details null", data({"token": {"text": "Hi"}, "details": None}, {"generated_text": "Hi", "details": None})),
    Odd(
        "counts as text",
        data(
            {"token": {"text": "Hi"}},
            {
                "generated_text": "Hi",
                "details": {"finish_reason": "eos_token", "generated_tokens": "2", "input_length": 1.0},
            },
        ),
        usage=(1, 2, 3),
    ),
    Odd("at once", json.dumps([{"generated_text": "Hi"}]).encode()),
    failed("an error", data({"error": "overloaded", "error_type": "overloaded"})),
    failed("an event named error", b"event:error\n" + data({"error": "x", "http_status_code": 500})),
    failed("JSON instead of a stream", b'{"error": "Model is loading", "estimated_time": 20.0}'),
]
REPLICATE = [
    Odd("an end without data", b"event: output\ndata: Hi\n\nevent: done\n\nevent: done\ndata: {}\n\n"),
    Odd("an end with null", b'event: output\ndata: Hi\n\nevent: done\ndata: {"reason": null}\n\n'),
    Odd("CR", b"event: output\rdata: Hi\r\revent: done\rdata: {}\r\r"),
    failed("an error as a text", b"event: output\ndata: Hi\n\nevent: error\ndata: CUDA\n\n", text="Hi"),
    failed("an error in an error", b'event: error\ndata: {"error": {"message": "x", "status": 429}}\n\n',
           "provider_rate_limited"),
    failed("failed", b'event: done\ndata: {"reason": "error"}\n\n'),
    failed("canceled", b'event: done\ndata: {"reason": "canceled"}\n\n'),
    failed("JSON instead of a stream", b'{"detail": "gone", "status": 404}', "provider_not_found"),
    failed("cut", b"event: output\ndata: Hi\n\n", "provider_cut", "Hi"),
]  # fmt: skip
