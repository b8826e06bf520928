"""The run of a flow in Python on a server: its models, document stores and other flows are the server's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast, get_type_hints

import msgspec

from headrace.engine.agent import Agent
from headrace.engine.catalog import Catalog
from headrace.engine.chat import ChatRequest, ModelMessage, OutputSchema, ToolSpec
from headrace.engine.inputs import current, fields_of, parsed, read
from headrace.engine.model_events import answer_events, answer_text
from headrace.engine.node import Context, FlowQuestion
from headrace.engine.ports import ChatModel, ToolResult
from headrace.engine.ports import Retriever as RetrieverPort
from headrace.engine.references import text_of
from headrace.errors import FlowError, HeadraceError, ProviderMalformed
from headrace.events import Document, Event, Prediction, Start, Token
from headrace.python_flow import Run
from headrace.schema import HistoryMessage

_T = TypeVar("_T")
_PROVIDERS: Final[Mapping[str, str]] = {
    "anthropic": "chatAnthropic",
    "arithmetic": "chatArithmetic",
    "azure": "azureChatOpenAI",
    "bedrock": "awsChatBedrock",
    "cerebras": "chatCerebras",
    "cohere": "chatCohere",
    "deepseek": "chatDeepseek",
    "extractive": "chatExtractive",
    "fireworks": "chatFireworks",
    "google": "chatGoogleGenerativeAI",
    "groq": "groqChat",
    "mistral": "chatMistralAI",
    "ollama": "chatOllama",
    "openai": "chatOpenAI",
    "openrouter": "chatOpenRouter",
    "perplexity": "chatPerplexity",
    "together": "chatTogetherAI",
    "vertex": "chatGoogleVertexAI",
    "xai": "chatXAI",
}
"""Names of providers in `provider:model`, and the nodes that they stand for. Names of nodes work as well."""


class ServerRun(Run):
    """A run whose services are the server's."""

    def __init__(self, ctx: Context, catalog: Catalog) -> None:
        super().__init__(
            ctx.question,
            form=ctx.form,
            files=ctx.uploads,
            variables=ctx.variables,
            chat_id=ctx.chat,
            session_id=ctx.session,
        )
        self._ctx, self._catalog = ctx, catalog

    async def history(self) -> Sequence[HistoryMessage]:
        """Turns that came with the request, or else the stored ones of the session."""
        if self._ctx.prior:
            sent = self._ctx.prior
            return [
                HistoryMessage("apiMessage" if turn.role == "assistant" else "userMessage", turn.text) for turn in sent
            ]
        return [HistoryMessage(turn.role, turn.content) for turn in await self._ctx.history()]

    async def secret(self, credential: str) -> Mapping[str, str]:
        """The fields of a credential of the server, by its id. Raises NotFound."""
        return await self._ctx.secrets(credential)

    def model(self, name: str, **settings: Any) -> ServerModel:
        """A chat model, named `provider:model`. Raises FlowError for a provider that is not known."""
        provider, _, model = name.partition(":")
        node = _PROVIDERS.get(provider, provider)
        if node not in self._catalog or not model:
            known = ", ".join(sorted(_PROVIDERS))
            raise FlowError(f"there is no model {name!r}: write `provider:model` with one of {known}")
        return ServerModel(self._ctx, self._catalog, node, {"modelName": model, "streaming": True, **settings})

    def retriever(self, store: str) -> StoreRetriever:
        """A document store of the server, by its id."""
        return StoreRetriever(self._ctx, self._catalog, store)

    def flow(self, flow: str) -> ServerFlow:
        """Another flow of the server, by its id."""
        return ServerFlow(self._ctx, flow)


def _messages(question: str | Sequence[HistoryMessage], system: str) -> list[ModelMessage]:
    turns = [HistoryMessage.user(question)] if isinstance(question, str) else question
    told = [ModelMessage("system", system)] if system else []
    return told + [
        ModelMessage("assistant" if turn.role == "apiMessage" else "user", turn.content or "") for turn in turns
    ]


class ServerModel:
    """Implements `headrace.python_flow.Model` with a node of the catalogue."""

    def __init__(self, ctx: Context, catalog: Catalog, node: str, inputs: Mapping[str, Any]) -> None:
        self._ctx, self._kind, self._inputs = ctx, catalog[node], inputs
        self._place = f"the model {node}"

    async def stream(self, question: str | Sequence[HistoryMessage], *, system: str = "") -> AsyncGenerator[str]:
        """The answer's text as it comes. Raises ProviderError."""
        async with aclosing(self.events(question, system=system)) as events:
            async for event in events:
                if isinstance(event, Token):
                    yield event.data

    async def ask(self, question: str | Sequence[HistoryMessage], *, system: str = "") -> str:
        """The whole answer. Raises ProviderError."""
        return await answer_text(await self._model(), ChatRequest(_messages(question, system)), self._ctx)

    async def structured(self, question: str | Sequence[HistoryMessage], kind: type[_T], *, system: str = "") -> _T:
        """The answer as a value of a type. Raises ProviderError, ProviderMalformed for what does not fit."""
        described = msgspec.json.schema(kind)
        schema = OutputSchema(getattr(kind, "__name__", "answer"), _whole(described))
        request = ChatRequest(_messages(question, system), schema=schema)
        text = await answer_text(await self._model(), request, self._ctx)
        try:
            return msgspec.json.decode(text, type=kind, strict=False)
        except msgspec.MsgspecError as error:
            raise ProviderMalformed(f"the model's answer does not fit {schema.name}: {error}") from None

    async def events(
        self, question: str | Sequence[HistoryMessage], *, tools: Sequence[Callable[..., Any]] = (), system: str = ""
    ) -> AsyncGenerator[Event]:
        """The answer as events, with these functions as tools."""
        model, messages = await self._model(), _messages(question, system)
        if tools:
            answer = Agent(self._ctx, model, [FunctionTool(tool) for tool in tools]).run(messages)
        else:
            answer = answer_events(model, ChatRequest(messages), self._ctx)
        async with aclosing(answer) as batches:
            async for events in batches:
                for event in events:
                    if not isinstance(event, Start):
                        yield event

    async def _model(self) -> ChatModel:
        inputs = current(self._kind, self._inputs)
        fields = fields_of(self._kind)
        if unknown := [name for name in inputs if name not in fields and name not in ("credential", "streaming")]:
            raise FlowError(f"{self._place} has no setting {unknown[0]!r}: it has {', '.join(fields)}")
        values = {name: parsed(inputs[name], field) for name, field in fields.items() if name in inputs}
        values["credential"] = await self._ctx.credential(str(inputs.get("credential") or ""))
        return cast("ChatModel", await read(self._kind, values, self._place).build(self._ctx))


class FunctionTool:
    """Implements `headrace.engine.ports.Tool` with a function."""

    return_direct = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
        self._hints = {name: hints.get(name, Any) for name in parameters}
        properties = {name: _whole(msgspec.json.schema(hint)) for name, hint in self._hints.items()}
        required = [name for name, one in parameters.items() if one.default is one.empty]
        schema = {"type": "object", "properties": properties, "required": required}
        self.spec = ToolSpec(function.__name__, inspect.getdoc(function) or function.__name__, schema)

    async def call(self, arguments: Mapping[str, Any]) -> ToolResult:
        """The function's result as text. Raises FlowError for arguments that do not fit and for what it raises."""
        name = self.spec.name
        try:
            given = {
                key: msgspec.convert(arguments[key], hint, strict=False)
                for key, hint in self._hints.items()
                if key in arguments
            }
        except msgspec.ValidationError as error:
            raise FlowError(f"the arguments of {name!r} do not fit: {error}") from None
        try:
            if inspect.iscoroutinefunction(self._function):
                result = await self._function(**given)
            else:
                result = await asyncio.to_thread(self._function, **given)
        except HeadraceError:
            raise
        except Exception as error:
            raise FlowError(f"the tool {name!r} failed with {type(error).__name__}: {error}") from error
        return ToolResult(text_of(result))


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of msgspec's with its definitions in place of the references to them."""
    definitions: Mapping[str, Any] = schema.get("$defs", {})

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            if name := str(value.get("$ref", "")).removeprefix("#/$defs/"):
                return placed(definitions[name])
            return {key: placed(item) for key, item in value.items() if key != "$defs"}
        return [placed(item) for item in value] if isinstance(value, list) else value

    return placed(schema)


class StoreRetriever:
    """Implements `headrace.python_flow.Retriever` with a document store."""

    def __init__(self, ctx: Context, catalog: Catalog, store: str) -> None:
        self._ctx, self._kind, self._store = ctx, catalog["documentStoreVS"], store

    async def find(self, query: str) -> list[Document]:
        """The passages that fit best, best first. Raises FlowError for a store that is not there."""
        node = read(self._kind, {"selectedStore": self._store, "output": "retriever"}, f"the store {self._store!r}")
        retriever = cast("RetrieverPort", await node.build(self._ctx))
        return await retriever.find(query)


class ServerFlow:
    """Implements `headrace.python_flow.OtherFlow`."""

    def __init__(self, ctx: Context, flow: str) -> None:
        self._ctx, self._flow = ctx, flow

    async def ask(self, question: str) -> Prediction:
        """Its answer, in a chat of this run's session. Raises what that flow raises."""
        return await self._ctx.ask_flow(FlowQuestion(self._flow, question))
