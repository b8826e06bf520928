"""The script of the tests' model endpoint: what a user message asks for, and the bytes that answer it. No sockets here.

The last user message is the script. Its last line that holds a directive counts, from the first directive on, so that a
flow may wrap the question in a prompt. Directives are joined by " | ", as in `/say Hello world | /pace 20`:

    (none)               answers `You said: <text>`
    /say TEXT            answers TEXT; /json "TEXT" the same, with JSON's escapes; /empty answers nothing
    /count N             answers `w1 w2 ... wN`, N tokens
    /think TEXT          reasoning_content before the answer
    /tool NAME {json}    asks for a tool, its arguments in fragments; ` && NAME {json}` asks for more in the same turn,
                         a second /tool in the next turn; then /say, or `Tool said: <results>`
    /steps ["A", "B"]    for agents that use tools in text: A, after one observation B, and the last one from then on
    /finish REASON       the finish reason
    /wait MS  /pace MS   before the response's head; between tokens
    /hold N [N...]       after each of these numbers of tokens waits until the endpoint is told to go on
    /status CODE [SECS]  an error with this HTTP status and Retry-After; 0 closes the socket without an answer
    /fail K CODE         the same for the first K requests with this very text
    /stall N             after N tokens sends nothing more, until the peer closes
    /cut N               after N tokens resets the connection; /end N closes the body properly, without a finish
    /garbage N           after N tokens a frame that is not JSON, then goes on
    /errorchunk N        after N tokens an error object, then the end
    /burst  /splits      everything in one write; every byte in a write and an HTTP chunk of its own
    /nodone              no `[DONE]`

Deterministic: an answer depends on its request alone (and, for /fail, on how often it came).
"""

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

NAMES = (
    "say|json|steps|empty|count|think|tool|finish|wait|pace|hold|"
    "status|fail|stall|cut|end|garbage|errorchunk|burst|splits|nodone"
)
DIRECTIVE = re.compile(rf"(?<!\S)/(?:{NAMES})(?!\S)")
JOINT = re.compile(rf" \| (?=/(?:{NAMES})(?!\S))")
TOKEN = re.compile(r"\s?\S+|\s")
OBSERVATION = re.compile(r"(?m)^(?:TOOL RESPONSE|Observation):|<observation>.")
CREATED = 1735689600
LAST_CHUNK = b"0\r\n\r\n"

encode = msgspec.json.encode
Break: TypeAlias = Literal["stall", "cut", "end", "garbage", "errorchunk"]
Ending: TypeAlias = Literal["complete", "stall", "cut"]


class Part(msgspec.Struct):
    type: str = "text"
    text: str = ""


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    tool_calls: list[Any] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    messages: list[Message]
    model: str = ""
    stream: bool = False
    stream_options: StreamOptions | None = None


class Script(msgspec.Struct):
    answer: str | None = None
    steps: list[str] = []
    thought: str = ""
    turns: list[list[tuple[str, str]]] = []
    finish: str = ""
    wait: int = 0
    pace: int = 0
    holds: frozenset[int] = frozenset()
    status: int | None = None
    retry_after: str = ""
    failures: int = 0
    failure: int = 500
    break_kind: Break | None = None
    break_at: int = 0
    burst: bool = False
    splits: bool = False
    done: bool = True


@lru_cache(1024)
def parse(text: str) -> Script:
    """Read the script in a user message; the caller must not change what it gets."""
    script = Script()
    for line in reversed(text.split("\n")):
        if found := DIRECTIVE.search(line):
            for segment in JOINT.split(line[found.start() :]):
                name, _, rest = segment[1:].partition(" ")
                apply(script, name, rest)
            return script
    script.answer = f"You said: {text}"
    return script


def apply(script: Script, name: str, rest: str) -> None:
    match name:
        case "say":
            script.answer = rest
        case "json":
            script.answer = msgspec.json.decode(rest, type=str)
        case "steps":
            script.steps = msgspec.json.decode(rest, type=list[str])
        case "empty":
            script.answer = ""
        case "count":
            script.answer = " ".join(f"w{n}" for n in range(1, int(rest) + 1))
        case "think":
            script.thought = rest
        case "tool":
            calls = [call.strip().partition(" ") for call in rest.split(" && ")]
            script.turns.append([(tool, arguments.strip() or "{}") for tool, _, arguments in calls])
        case "finish":
            script.finish = rest
        case "wait":
            script.wait = int(rest)
        case "pace":
            script.pace = int(rest)
        case "hold":
            script.holds = frozenset(map(int, rest.split()))
        case "status":
            code, _, script.retry_after = rest.partition(" ")
            script.status = int(code)
        case "fail":
            failures, _, code = rest.partition(" ")
            script.failures, script.failure = int(failures), int(code)
        case "stall" | "cut" | "end" | "garbage" | "errorchunk":
            script.break_kind, script.break_at = name, int(rest or 0)
        case "burst":
            script.burst = True
        case "splits":
            script.splits = True
        case "nodone":
            script.done = False
        case _:
            raise ValueError(f"unknown directive {name!r}")


class Question(NamedTuple):
    """What an answer depends on; equal questions share one prepared answer."""

    text: str
    turn: int
    results: tuple[str, ...]
    model: str
    prompt_tokens: int
    usage: bool
    observed: int

    @property
    def calls(self) -> list[tuple[str, str]]:
        turns = parse(self.text).turns
        return turns[self.turn] if self.turn < len(turns) else []

    @property
    def answer(self) -> str:
        script = parse(self.text)
        answer = script.steps[min(self.observed, len(script.steps) - 1)] if script.steps else script.answer
        return f"Tool said: {' | '.join(self.results)}" if answer is None else answer

    @property
    def completion_id(self) -> str:
        return f"{zlib.crc32(repr(self[:4]).encode()):08x}"


def question_of(request: ChatRequest) -> Question:
    users = [n for n, message in enumerate(request.messages) if message.role == "user"]
    asked = [n for n in users if not OBSERVATION.match(request.messages[n].text)]  # the others tell what a tool gave
    last = max(asked or users, default=-1)
    after = request.messages[last + 1 :]
    return Question(
        text=request.messages[last].text if last >= 0 else "",
        turn=sum(1 for message in after if message.tool_calls),
        results=tuple(message.text for message in after if message.role == "tool"),
        model=request.model,
        prompt_tokens=sum(len(TOKEN.findall(message.text)) for message in request.messages),
        usage=request.stream_options is not None and request.stream_options.include_usage,
        observed=sum(len(OBSERVATION.findall(message.text)) for message in request.messages[max(last, 0) :]),
    )


def usage_of(question: Question, completion_tokens: int) -> dict[str, int]:
    total = question.prompt_tokens + completion_tokens
    return {"prompt_tokens": question.prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


def deltas(question: Question) -> Iterator[tuple[bytes, int]]:
    """Delta objects, each with the tokens it counts for: a piece of the answer and of a call's arguments is one."""
    for token in TOKEN.findall(parse(question.text).thought):
        yield b'{"reasoning_content":%b}' % encode(token), 0
    for index, (name, arguments) in enumerate(question.calls):
        call = {"index": index, "id": f"call_{question.completion_id}_{index}", "type": "function"}
        yield encode({"tool_calls": [call | {"function": {"name": name, "arguments": ""}}]}), 0
        for fragment in re.findall(r"(?s).{1,7}", arguments):
            yield encode({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}), 1
    if not question.calls:
        for token in TOKEN.findall(question.answer):
            yield b'{"content":%b}' % encode(token), 1


def error_body(message: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": "upstream_error", "param": None, "code": str(code)}}


def frames(question: Question) -> tuple[list[tuple[bytes, int]], Ending]:
    """SSE frames in order, each with the number of tokens sent once it is out, and how the response ends."""
    script = parse(question.text)
    head = b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":%b,' % (
        question.completion_id.encode(), CREATED, encode(question.model))  # fmt: skip
    choice = head + b'"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n'
    out = [(choice % (b'{"role":"assistant","content":""}', b"null"), 0)]
    sent, pending = 0, script.break_kind
    for delta, size in [*deltas(question), (b"", 0)]:
        if pending and (sent == script.break_at or not delta):
            match pending:
                case "garbage":
                    out.append((b'data: {"id":"chatcmpl-0","choices":[{"delta":{"content":\n\n', sent))
                case "errorchunk":
                    error = encode(error_body("The model has stopped working.", 500))
                    return [*out, (b"data: %b\n\n" % error, sent)], "complete"
                case "end":
                    return out, "complete"
                case _:
                    return out, pending
            pending = None
        if delta:
            sent += size
            out.append((choice % (delta, b"null"), sent))
    finish = script.finish or ("tool_calls" if question.calls else "stop")
    out.append((choice % (b"{}", encode(finish)), sent))
    if question.usage:
        out.append((head + b'"choices":[],"usage":%b}\n\n' % encode(usage_of(question, sent)), sent))
    return [*out, (b"data: [DONE]\n\n", sent)] if script.done else out, "complete"


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(256)
def writes(question: Question) -> tuple[list[tuple[bytes, int]], Ending]:
    """What goes to the socket, write by write: the first and the last token share theirs with what surrounds them."""
    script = parse(question.text)
    parts, ending = frames(question)
    if script.splits:
        out = [(http_chunk(bytes([byte])), sent) for frame, sent in parts for byte in frame]
    else:
        out: list[tuple[bytes, int]] = []
        for n, (frame, sent) in enumerate(parts):
            alone = n > 1 and b'"finish_reason":null' in frame and not script.burst
            before = b"" if alone or not out else out.pop()[0]
            out.append((before + http_chunk(frame), sent))
    if ending == "complete":
        out[-1] = (out[-1][0] + LAST_CHUNK, out[-1][1])
    return out, ending


def completion(question: Question) -> tuple[bytes, Ending]:
    """The body of an answer that is not streamed."""
    script = parse(question.text)
    match script.break_kind:
        case "stall" | "cut":
            return b"", script.break_kind
        case "end" | "garbage":
            return b'{"id":"chatcmpl-0","choices":[{"message":{"content":', "complete"
        case "errorchunk":
            return encode(error_body("The model has stopped working.", 500)), "complete"
        case None:
            pass
    message: dict[str, Any] = {"role": "assistant", "content": None if question.calls else question.answer}
    if script.thought:
        message["reasoning_content"] = script.thought
    if question.calls:
        identity = f"call_{question.completion_id}"
        message["tool_calls"] = [
            {"id": f"{identity}_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(question.calls)
        ]
    finish = script.finish or ("tool_calls" if question.calls else "stop")
    usage = usage_of(question, sum(size for _, size in deltas(question)))
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    head = {"id": f"chatcmpl-{question.completion_id}", "object": "chat.completion", "created": CREATED}
    return encode(head | {"model": question.model, "choices": [choice], "usage": usage}), "complete"
