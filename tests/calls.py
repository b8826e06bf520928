"""What a model's adapter would send: the call itself, which goes nowhere, so that addresses may be anybody's."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.node import Context, FlowQuestion, Node
from headrace.engine.ports import Body, ChatModel, Http, HttpCall, Outside, Tries
from headrace.errors import NotFound, ProviderUnavailable
from headrace.events import Prediction
from headrace.providers.http import CallTries, ProviderLimits
from headrace.schema import CustomTool

HI = ChatRequest([ModelMessage("user", "Hi")])


class Notebook:
    """Notes of a session, in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def get(self, name: str) -> str | None:
        return self.texts.get(name)

    async def put(self, name: str, text: str) -> None:
        self.texts[name] = text


class Recorder:
    """The way out to providers, closed: it keeps what was to be sent."""

    def __init__(self) -> None:
        self.calls: list[HttpCall] = []

    def tries(self, call: HttpCall) -> Tries:
        return CallTries(ProviderLimits(attempts=1), call.timeout)

    async def send(self, call: HttpCall, tries: Tries | None = None) -> Body:
        self.calls.append(call)
        raise ProviderUnavailable("nothing is sent from here")


def only(http: Http, library: object = None) -> Outside:
    """Model providers and a library, and nothing else outside."""

    async def nothing(*_: Any) -> Any:
        raise AssertionError("this test reaches nothing else outside")

    return Outside(http, nothing, nothing, nothing, library)


def context(
    http: Any = None,
    environ: Mapping[str, str] | None = None,
    credentials: Mapping[str, Mapping[str, str]] | None = None,
    *,
    library: object = None,
    flow: str = "f",
) -> Context:
    async def history(*, tools: bool = False) -> list[Any]:
        return []

    async def secrets(key: str) -> Mapping[str, str]:
        return (credentials or {})[key]

    async def ask_flow(asked: FlowQuestion) -> Prediction:
        raise NotFound(f"there is no flow {asked.flow!r}")

    async def saved_tool(key: str) -> CustomTool:
        raise NotFound(f"there is no tool {key!r}")

    return Context(
        run="r", flow=flow, chat="c", session="s", message="m", question="q", history=history, notes=Notebook(),
        secrets=secrets, saved_tool=saved_tool, ask_flow=ask_flow,
        outside=only(http or Recorder(), library), environ=environ or {},
    )  # fmt: skip


def called(model: ChatModel, http: Recorder, request: ChatRequest = HI) -> HttpCall:
    """The call that the model makes for a request."""

    async def run() -> None:
        async with aclosing(model.stream(request)) as batches:
            async for _ in batches:
                pass

    try:
        asyncio.run(run())
    except ProviderUnavailable:
        return http.calls[-1]
    raise AssertionError("the model answered without a call")


def call_of(
    node: type[Node],
    inputs: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    credentials: Mapping[str, Mapping[str, str]] | None = None,
    request: ChatRequest = HI,
) -> HttpCall:
    """The call that a node's model makes for a request."""
    http = Recorder()
    model: Any = asyncio.run(msgspec.convert({**inputs}, node).build(context(http, environ, credentials)))
    return called(model, http, request)


def body_of(call: HttpCall) -> dict[str, Any]:
    return msgspec.json.decode(call.body)


def texts(messages: Sequence[ModelMessage]) -> list[str]:
    return [message.text for message in messages]
