"""What users write, as the type checkers see it: `mypy --strict` and pyright must have nothing to say about it."""

from pathlib import Path
from typing import assert_type

from headrace import (
    AsyncHeadrace,
    AsyncStream,
    Chunk,
    ContinueFor,
    Event,
    FileUpload,
    Headrace,
    HeadraceError,
    HistoryMessage,
    IFileUpload,
    IMessage,
    Prediction,
    PredictionData,
    RunInfo,
    Stream,
    aprint_stream,
    print_stream,
)
from headrace.errors import ConnectionFailed, RateLimited
from headrace.events import Metadata, SourceDocuments, Token, Unknown, fold


def documented() -> None:
    client = Headrace(base_url="http://localhost:3000", api_key="key")
    completion = client.create_prediction(
        PredictionData(
            chatflowId="<flow-id>",
            question="Tell me a joke!",
            overrideConfig={"temperature": 0.5},
            chatId="chat",
            streaming=True,
            history=[IMessage(message="Hi", type="userMessage", role="userMessage", content="Hi")],
            uploads=[IFileUpload(data="https://example.org/a.png", type="url", name="a.png", mime="image/png")],
        )
    )
    for chunk in completion:
        print(chunk)
        if isinstance(chunk, Chunk):
            assert_type(chunk.event, str)
        else:
            print(chunk["text"])


def told(event: Event) -> str:
    match event:
        case Token(data=text):
            return text
        case SourceDocuments(data=documents):
            return documents[0].pageContent
        case Metadata(data=about):
            return about.chatId or ""
        case Unknown():
            return event.event
        case _:
            return ""


def typed(client: Headrace, path: Path) -> tuple[Prediction, RunInfo, list[RunInfo]]:
    with client.stream(
        "flow",
        "Hi",
        chat_id="chat",
        session_id=None,
        override_config={"maxIterations": 3},
        history=[HistoryMessage.user("Hi"), HistoryMessage.assistant("Hello")],
        uploads=[FileUpload.from_path(path), FileUpload.from_bytes(b"text", "a.txt", mime="text/plain")],
        on_disconnect=ContinueFor(30),
        idempotency_key="once",
    ) as stream:
        assert_type(stream, Stream)
        assert_type(stream.run_id, str | None)
        for event in stream:
            told(event)
        for text in stream.text():
            assert_type(text, str)
        assert_type(stream.cancel(), RunInfo)
    answer = print_stream(client.resume("run", after=3))
    assert_type(answer, Prediction)
    return client.predict("flow", "Hi", on_disconnect="cancel"), client.start("flow", "Hi"), client.runs("flow", "chat")


async def asynchronous() -> None:
    async with AsyncHeadrace(timeout=5, read_timeout=None, attempts=3) as client:
        async with client.stream("flow", "Hi") as stream:
            assert_type(stream, AsyncStream)
            assert_type(fold([event async for event in stream]), Prediction)
        assert_type(await client.predict("flow", "Hi"), Prediction)
        assert_type(await client.run("run"), RunInfo)
        assert_type(await aprint_stream(client.resume("run")), Prediction)
        async for chunk in client.create_prediction(PredictionData("flow", "Hi", streaming=True)):
            print(chunk)


def refused(client: Headrace) -> tuple[str, int, bool, float | None]:
    try:
        client.predict("flow", "Hi")
    except (RateLimited, ConnectionFailed) as error:
        assert_type(error.retry_after, float | None)
    except HeadraceError as error:
        return error.code, error.status, error.retryable, error.retry_after
    return "", 0, False, None
