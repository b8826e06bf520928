"""OpenAI's protocol, as its many relatives speak it."""

# ruff: noqa: E501

import json
from typing import Any

from odd import Odd, data, failed

DONE = "[DONE]"
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def says(content: Any = "Hi", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content, **more}}]}


def whole(*chunks: Any) -> bytes:
    return data(*chunks, STOP, DONE)


def counted(usage: Any) -> bytes:
    return data(says(), STOP, {"choices": [], "usage": usage}, DONE)


def calls(*several: Any) -> bytes:
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": each}}]} for each in several]
    return data(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}, DONE)


def call(arguments: Any, name: str | None = "add", **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"type": "function", "function": function, **more}


def called(name: str, stream: bytes, *right: tuple[str, str, str]) -> Odd:
    return Odd(name, stream, "", calls=right, finish="tool_calls")


def ends(reason: Any, **more: Any) -> bytes:
    return data(says(), {"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]}, DONE)


A, B = '{"a":1}', '{"b":2}'
RAW = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
PLAIN = whole(says())
ROWS = [
    # types
    Odd("fractions in the usage", counted({"prompt_tokens": 14.9, "completion_tokens": 2.0}), usage=(14, 2, 16)),
    Odd("numbers as text", counted({"prompt_tokens": "3", "completion_tokens": "4"}), usage=(3, 4, 7)),
    Odd("negative counts", counted({"prompt_tokens": -1, "completion_tokens": 4, "total_tokens": -1}), usage=(0, 4, 4)),
    Odd("details as a list", counted({"prompt_tokens": 1, "prompt_tokens_details": []}), usage=(1, 0, 1)),
    Odd("a count in another's words", counted({"input_tokens": 2, "output_tokens": 3}), usage=(2, 3, 5)),
    Odd("usage as a text", counted("none")),
    Odd("usage with every chunk", data(
        {**says("H"), "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        {**says("i"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, STOP, DONE), usage=(1, 2, 3)),
    Odd("a count of nothing after the real one", data(
        says(), {**STOP, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, {"choices": [], "usage": {}}, DONE),
        usage=(1, 2, 3)),
    Odd("usage in the choice", data(says(), {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}}]}, DONE), usage=(1, 2, 3)),
    Odd("usage beside, as Groq has it", data(
        says(), STOP, {"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}}, DONE), usage=(1, 2, 3)),
    Odd("citations as numbers", whole({**says(), "citations": [1, None]})),
    Odd("calls {}", whole(says(tool_calls={}))),
    Odd("calls []", whole(says(tool_calls=[]))),
    Odd("reasoning []", whole(says(reasoning=[]))),
    Odd("refusal false", whole(says(refusal=False))),
    Odd("content in parts", whole(says([{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]))),
    Odd("content of texts", whole(says(["H", "i"]))),
    Odd("content as an object", whole(says({"type": "text", "text": "Hi"}))),
    Odd("content as a number", whole(says(5)), "5"),
    Odd("content false", whole(says(False), says())),
    Odd("a delta that is a text", whole({"choices": [{"delta": "Hi"}]})),
    Odd("a delta that is a list", whole({"choices": [{"delta": [{"content": "Hi"}]}]})),
    Odd("choices as an object", whole({"choices": {"index": 0, "delta": {"content": "Hi"}}})),
    Odd("choices numbered", whole({"choices": {"0": {"delta": {"content": "Hi"}}}})),
    Odd("index as text", whole({"choices": [{"index": "0", "delta": {"content": "Hi"}}]})),
    Odd("null chunks and numbers", whole(None, says(), 1)),
    Odd("a chunk in a text", whole(json.dumps(json.dumps(says())))),
    Odd("chunks in a list", whole([says("H"), says("i")])),
    # no errors
    *(Odd(f"error {error!r}", whole({**says(), "error": error})) for error in ("", None, {}, [], False, {"message": ""})),
    Odd("words like an error", whole(says('{"error": {"message": "Overloaded", "code": 503}}')),
        '{"error": {"message": "Overloaded", "code": 503}}'),
    Odd("an empty turn", whole({"choices": []}), ""),
    Odd("no choice but the end", data(STOP, DONE), ""),
    # errors
    failed("an error first", data({"error": {"message": "over", "code": 503}})),
    failed("an error as a text", data(says(), {"error": "the model crashed"}), text="Hi"),
    failed("an error in a list", data([{"error": {"message": "slow", "code": 429}}]), "provider_rate_limited"),
    failed("an error in an error", data({"error": {"error": {"message": "x", "type": "rate_limit_error"}}}),
           "provider_rate_limited"),
    failed("an error as JSON in its message", data({"error": {"message": json.dumps({"error": {"code": 401}})}}),
           "provider_unauthorized"),
    failed("errors", data({"errors": [{"message": "no", "code": 404}]}), "provider_not_found"),
    failed("detail", data({"detail": "Internal Server Error"})),
    failed("detail in a list", data({"detail": [{"loc": ["body"], "msg": "bad", "type": "value_error"}]})),
    failed("message and code", data({"message": "slow down", "code": 429}), "provider_rate_limited"),
    failed("object error", data({"object": "error", "message": "too bad", "code": 400}), "provider_refused"),
    failed("MiniMax's", data({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}})),
    failed("success false", data({"success": False, "msg": "no"})),
    failed("an event named error", b"event: error\ndata: it broke\n\n"),
    failed("an event named error with JSON", b'event: error\ndata: {"code": 429, "x": "y"}\n\n', "provider_rate_limited"),
    failed("JSON instead of a stream", b'{"error": {"message": "over", "code": 503}}'),
    failed("the same over several lines", json.dumps({"error": {"message": "x", "code": 429}}, indent=2).encode(),
           "provider_rate_limited"),
    failed("an error in the choice", ends("error", error={"code": 429, "message": "slow"}), "provider_rate_limited",
           "Hi"),
    failed("an error beside, as Groq has it", data(says(), {"x_groq": {"error": "over"}}), text="Hi"),
    failed("quoting another error", data({"error": {"type": "overloaded_error", "message": "prompt is too long"}})),
    # ends
    *(failed(f"ends as {reason!r}", ends(reason), text="Hi") for reason in (
        "error", "ERROR", "failed", "network_error", "insufficient_system_resource", "malformed_function_call",
        "abort", "cancelled", "timeout", "server_error")),
    *(failed(f"ends as {reason!r}", ends(reason), "provider_filtered", "Hi") for reason in (
        "content_filter", "content-filter", "SAFETY", "sensitive", "refusal", "PROHIBITED_CONTENT")),
    failed("window full", ends("model_context_window_exceeded"), "provider_context_too_long", "Hi"),
    *(Odd(f"ends as {reason!r}", ends(reason)) for reason in ("STOP", "eos", "end_turn", "stop_sequence", "COMPLETE")),
    *(Odd(f"ends as {reason!r}", ends(reason), finish="length") for reason in ("max_tokens", "MAX_TOKENS", "model_length")),
    Odd("no end is named in each chunk", data({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "null"}]}, STOP)),
    Odd("two ends", data(says(), STOP, STOP, DONE)),
    Odd("[DONE] missing", data(says(), STOP)),
    Odd("no end but [DONE]", data(says(), DONE), finish=None),
    Odd("junk after [DONE]", PLAIN + b"data: {broken\n\n<html>"),
    Odd("[DONE] in quotes", data(says(), STOP, '"[DONE]"')),
    failed("nothing at all", b"", "provider_cut"),
    failed("cut", data(says()) + b'data: {"choices": [{"del', "provider_cut", "Hi"),
    failed("no JSON", data("<html>"), "provider_malformed"),
    # frames
    Odd("CR", PLAIN.replace(b"\n", b"\r")),
    Odd("CRLF", PLAIN.replace(b"\n", b"\r\n")),
    Odd("a byte order mark", b"\xef\xbb\xbf" + PLAIN),
    Odd("byte order marks everywhere", PLAIN.replace(b"data: ", b"\xef\xbb\xbfdata: \xef\xbb\xbf")),
    Odd("one line end", PLAIN.replace(b"\n\n", b"\n")),
    Odd("comments and fields", PLAIN.replace(b"data:", b": ping\n\nid: 1\nevent: x\nretry: 3\ndata:")),
    Odd("data over several lines", json.dumps(says(), indent=1).replace("\n", "\ndata: ").join(
        ("data: ", "\n\n")).encode() + data(STOP, DONE)),
    Odd("the same with CRLF", (json.dumps(says(), indent=1).replace("\n", "\r\ndata: ").join(
        ("data: ", "\r\n\r\n")).encode() + data(STOP, DONE))),
    Odd("frames in frames", PLAIN.replace(b"data: ", b"data: data: ")),
    Odd("no space", PLAIN.replace(b"data: ", b"data:")),
    Odd("spaces before", PLAIN.replace(b"data: ", b"  data: ")),
    Odd("lines of JSON", b"".join(json.dumps(each).encode() + b"\n" for each in (says("H"), says("i"), STOP))),
    Odd("an answer at once", json.dumps({"choices": [MESSAGE], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
        .encode(), usage=(1, 2, 3)),
    Odd("an answer at once over several lines", json.dumps({"choices": [MESSAGE]}, indent=2).encode()),
    Odd("NaN", b'data: {"choices":[{"delta":{"content":"Hi"},"logprobs":NaN}]}\n\n' + data(STOP)),
    # halves of characters
    Odd("halves in two chunks", RAW % b"\\ud83d" + RAW % b"\\ude00!" + data(STOP), "\U0001f600!"),
    Odd("halves in one chunk", RAW % b"a\\ud83d\\ude00" + data(STOP), "a\U0001f600"),
    Odd("a half alone", RAW % b"a\\ud83d" + RAW % b"!" + data(STOP), "a\ufffd!"),
    Odd("a low half alone", RAW % b"\\ude00!" + data(STOP), "\ufffd!"),
    Odd("a half at the end", RAW % b"a\\ud83d" + data(DONE), "a\ufffd", finish=None),
    Odd("bytes in two chunks", RAW % b"\xf0\x9f" + RAW % b"\x98\x80!" + data(STOP), "\U0001f600!"),
    Odd("a byte alone", RAW % b"a\xff" + data(STOP), "a\ufffd"),
    Odd("a control character", RAW % b"a\x01b" + data(STOP), "a\x01b"),
    # several choices
    Odd("two choices in one chunk", whole({"choices": [
        {"index": 0, "delta": {"content": "Hi"}}, {"index": 1, "delta": {"content": "Yo"}}]})),
    Odd("two choices in turn", whole(says("H"), {"choices": [{"index": 1, "delta": {"content": "Yo"}}]}, says("i"))),
    # calls
    called("one index, two ids", calls([call(A, index=0, id="a")], [call(B, index=0, id="b")]),
           ("a", "add", A), ("b", "add", B)),
    called("the same in one chunk", calls([call(A, index=0, id="a"), call(B, index=0, id="b")]),
           ("a", "add", A), ("b", "add", B)),
    called("no index, no ids", calls([call(A)], [call(B)]), ("call-0", "add", A), ("call-1", "add", B)),
    called("one index, empty ids", calls([call(A, index=0, id="")], [call(B, index=0, id="")]),
           ("call-0", "add", A), ("call-1", "add", B)),
    called("one id for two", calls([call(A, index=0, id="a")], [call(B, index=1, id="a")]),
           ("a", "add", A), ("a-1", "add", B)),
    called("the id with each fragment", calls([call('{"a"', index=0, id="a")], [call(":1}", None, index=0, id="a")]),
           ("a", "add", A)),
    called("the id in the first only", calls([call('{"a"', index=0, id="a")], [call(":1}", None, index=0)]),
           ("a", "add", A)),
    called("the name with each fragment", calls([call('{"a"', index=0, id="a")], [call(":1}", index=0, id="a")]),
           ("a", "add", A)),
    called("the name with each fragment, no ids", calls([call('{"a"', index=0)], [call(":1}", index=0)]),
           ("call-0", "add", A)),
    called("a new id with each fragment", calls([call('{"a"', index=0, id="a")], [call(":1}", None, index=0, id="b")]),
           ("a", "add", A)),
    called("fragments mixed", calls(
        [call('{"a"', index=0, id="a")], [call('{"b"', index=1, id="b")], [call(":1}", None, index=0)],
        [call(":2}", None, index=1)]), ("a", "add", A), ("b", "add", B)),
    called("the second first", calls([call(B, index=1, id="b")], [call(A, index=0, id="a")]),
           ("a", "add", A), ("b", "add", B)),
    called("said again at the end", calls([call('{"a"', index=0, id="a")], [call(":1}", None, index=0)],
                                          [call(A, index=0, id="a")]), ("a", "add", A)),
    called("arguments as an object", calls([call({"a": 1}, index=0, id="a")]), ("a", "add", A)),
    called("arguments null", calls([call(None, index=0, id="a")]), ("a", "add", "")),
    called("no arguments at all", calls([{"index": 0, "id": "a", "function": {"name": "add"}}]), ("a", "add", "")),
    called("a call as an object", calls(call(A, index=0, id="a")), ("a", "add", A)),
    called("numbers of calls as text", calls([call(A, index="0", id="a")], [call(B, index="1", id="b")]),
           ("a", "add", A), ("b", "add", B)),
    called("id as a number", calls([call(A, index=0, id=7)]), ("7", "add", A)),
    called("name beside the index", calls([{"index": 0, "id": "a", "name": "add", "arguments": A}]), ("a", "add", A)),
    called("null function", calls([{"index": 0, "id": "a", "function": None}], [call(A, index=0)]), ("a", "add", A)),
    Odd("the old field", data({"choices": [{"delta": {"function_call": {"name": "add", "arguments": '{"a"'}}}]},
        {"choices": [{"delta": {"function_call": {"arguments": ":1}"}}, "finish_reason": "function_call"}]}), "",
        calls=(("call-0", "add", A),), finish="tool_calls"),
    Odd("thoughts in another field", whole(says(None, reasoning="Hm"), says()), thinking="Hm"),
    Odd("thoughts as a list", whole(says(None, reasoning_content=["H", "m"]), says()), thinking="Hm"),
]  # fmt: skip
