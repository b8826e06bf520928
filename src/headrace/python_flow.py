"""Flows written in Python: the decorator, and the run that such a flow is given."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from contextvars import copy_context
from functools import cached_property, partial
from typing import Any, Final, Protocol, TypeVar, get_type_hints, overload
from uuid import UUID, uuid5

import msgspec

from headrace.errors import HeadraceError, InvalidRequest
from headrace.events import (
    TERMINAL,
    Base,
    Document,
    Event,
    Fold,
    Metadata,
    Prediction,
    RunMetadata,
    Token,
    Unknown,
)
from headrace.schema import FileUpload, HistoryMessage

_T = TypeVar("_T")
_NAMESPACE: Final = UUID("7c1f6a52-4a43-5d0b-9a5e-6a2f0d3b9f10")
_MOST_THREADS: Final = 64  # flows of blocking code that run at once in a process
_MOST_WAITING: Final = 256  # events of one flow that nobody has taken yet
_threads: list[ThreadPoolExecutor] = []


class Model(Protocol):
    """A chat model."""

    def stream(self, question: str | Sequence[HistoryMessage], *, system: str = "") -> AsyncGenerator[str]:
        """The answer's text as it comes. Raises ProviderError."""
        ...

    async def ask(self, question: str | Sequence[HistoryMessage], *, system: str = "") -> str:
        """The whole answer. Raises ProviderError."""
        ...

    async def structured(self, question: str | Sequence[HistoryMessage], kind: type[_T], *, system: str = "") -> _T:
        """The answer as a value of a type: a dataclass, a msgspec struct, a list … Raises ProviderError."""
        ...

    def events(
        self, question: str | Sequence[HistoryMessage], *, tools: Sequence[Callable[..., Any]] = (), system: str = ""
    ) -> AsyncGenerator[Event]:
        """The answer as events, with these functions as tools. A tool's docstring and types describe it."""
        ...


class Retriever(Protocol):
    """A document store to look into."""

    async def find(self, query: str) -> list[Document]:
        """The passages that fit best, best first."""
        ...


class OtherFlow(Protocol):
    """Another flow of the server."""

    async def ask(self, question: str) -> Prediction:
        """Its answer, inside this run: it ends with it. Raises what that flow raises."""
        ...


class Run:
    """One run of a flow. In tests make one with the data that the flow reads, and override the methods it calls."""

    def __init__(
        self,
        question: str = "",
        *,
        form: Mapping[str, Any] | None = None,
        history: Sequence[HistoryMessage] = (),
        files: Sequence[FileUpload] = (),
        variables: Mapping[str, str] | None = None,
        chat_id: str = "",
        session_id: str = "",
    ) -> None:
        self.question = question
        self.form: Mapping[str, Any] = form or {}
        self.files = files
        self.variables: Mapping[str, str] = variables or {}
        self.chat_id, self.session_id = chat_id, session_id
        self._history = history
        self._outlet: Outlet | None = None

    async def history(self) -> Sequence[HistoryMessage]:
        """Earlier turns of the session, oldest first."""
        return self._history

    async def secret(self, credential: str) -> Mapping[str, str]:
        """The fields of a credential of the server, by its id. Raises NotFound."""
        raise self._alone("secret")

    def model(self, name: str, **settings: Any) -> Model:
        """A chat model, named `provider:model`. Settings are the inputs of the provider's node. Raises FlowError."""
        raise self._alone("model")

    def retriever(self, store: str) -> Retriever:
        """A document store of the server, by its id."""
        raise self._alone("retriever")

    def flow(self, flow: str) -> OtherFlow:
        """Another flow of the server, by its id."""
        raise self._alone("flow")

    def emit(self, item: object) -> None:
        """Says something from code that the flow calls, as if the flow yielded it."""
        if self._outlet:
            self._outlet.put(item)

    def _alone(self, name: str) -> HeadraceError:
        return InvalidRequest(f"run.{name} needs a server: give the test a Run that overrides it")


def events_of(item: object) -> list[Event]:
    """The events that something which a flow yields or returns stands for. Raises TypeError.

    A text is a token, an event is itself, a dict or another record is the answer as a value, None is nothing.
    """
    if isinstance(item, str):
        return [Token(item)] if item else []
    if item is None:
        return []
    if isinstance(item, Base | Unknown):
        if isinstance(item, TERMINAL):
            raise TypeError(f"a flow cannot yield {type(item).__name__}: raise an error, or return")
        return [item]  # type: ignore[list-item]  # Base's kinds are the known events
    if isinstance(item, dict | list | msgspec.Struct):
        return [Metadata(RunMetadata(json=msgspec.to_builtins(item)))]
    raise TypeError(f"a flow cannot yield {type(item).__name__}: yield texts, events or a dict")


class Outlet:
    """Passes a flow's events to their reader, on one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Event] = []
        self._wake: asyncio.Future[None] | None = None
        self._slots = threading.Semaphore(_MOST_WAITING)
        self.closed = False

    def put(self, item: object) -> None:
        """Adds what the flow says. Called on the loop. Raises TypeError."""
        self._waiting += events_of(item)
        if self._wake and not self._wake.done():
            self._wake.set_result(None)

    @property
    def full(self) -> bool:
        """True when the flow should let its reader read first."""
        return len(self._waiting) >= _MOST_WAITING

    def put_from_thread(self, item: object) -> None:
        """The same from another thread, which waits while its reader is far behind."""
        events_of(item)  # a wrong one is the thread's own mistake
        while not self._slots.acquire(timeout=0.1):
            if self.closed:
                return
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.put, item)

    async def taken(self, producer: asyncio.Task[None]) -> list[Event]:
        """The new events; none once the producer has ended and all is taken. Raises what the producer raised."""
        while not self._waiting:
            if producer.done():
                producer.result()
                return []
            self._wake = self._loop.create_future()
            await asyncio.wait([self._wake, producer], return_when=asyncio.FIRST_COMPLETED)
        found, self._waiting = self._waiting, []
        self._slots.release(len(found))
        return found


class PythonFlow:
    """A function as a flow: called once for each run.

    It is an async generator, a generator, or a function that returns its answer, async or not. Its first parameter is
    the question; one that is annotated with `Run`, or called `run`, is the run; all others are the flow's form.
    Functions that are not async run in a thread.
    """

    def __init__(self, function: Callable[..., Any], *, id: str | None = None, name: str | None = None) -> None:  # noqa: A002
        self.function = function
        self.name = name or function.__name__.replace("_", " ").strip().capitalize()
        self.id = id or str(uuid5(_NAMESPACE, self.name))
        self.description = inspect.getdoc(function) or ""
        self.__wrapped__ = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function itself."""
        return self.function(*args, **kwargs)

    @cached_property
    def _parameters(self) -> tuple[str | None, str | None, dict[str, inspect.Parameter], Mapping[str, Any]]:
        """The names of the question and of the run, the form's parameters, and the types of all."""
        hints = get_type_hints(self.function, include_extras=True)
        question = run = None
        form: dict[str, inspect.Parameter] = {}
        for name, parameter in inspect.signature(self.function).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            hint = hints.get(name)
            if name == "run" or (isinstance(hint, type) and issubclass(hint, Run)):
                run = name
            elif question is None and not form:
                question = name
            else:
                form[name] = parameter
        return question, run, form, hints

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the form; without properties for a flow that has none."""
        _, _, form, hints = self._parameters
        properties = {name: msgspec.json.schema(hints.get(name, Any)) for name in form}
        required = [name for name, parameter in form.items() if parameter.default is parameter.empty]
        return {"type": "object", "properties": properties, "required": required}

    def arguments(self, run: Run) -> dict[str, Any]:
        """The arguments of one call. Raises InvalidRequest for a form that does not fit, and names the field."""
        question, wants_run, form, hints = self._parameters
        found: dict[str, Any] = {}
        if question:
            found[question] = run.question
        if wants_run:
            found[wants_run] = run
        for name, parameter in form.items():
            if name in run.form:
                try:
                    found[name] = msgspec.convert(run.form[name], hints.get(name, Any), strict=False)
                except msgspec.ValidationError as error:
                    raise InvalidRequest(f"the form's field {name!r} does not fit: {error}") from None
            elif parameter.default is parameter.empty:
                raise InvalidRequest(f"the form lacks the field {name!r}")
        return found

    async def run(self, run: Run) -> AsyncGenerator[Sequence[Event]]:
        """The events of one run, in batches. Closing it cancels the function. Raises what the function raises."""
        arguments = self.arguments(run)
        outlet = run._outlet = Outlet()  # pyright: ignore[reportPrivateUsage]
        producer = asyncio.create_task(self._produce(arguments, outlet))
        try:
            while batch := await outlet.taken(producer):
                yield batch
        finally:
            outlet.closed = True
            producer.cancel()
            await asyncio.gather(producer, return_exceptions=True)

    async def _produce(self, arguments: Mapping[str, Any], outlet: Outlet) -> None:
        function = self.function
        if inspect.isasyncgenfunction(function):
            async with aclosing(function(**arguments)) as items:
                async for item in items:
                    outlet.put(item)
                    if outlet.full:
                        await asyncio.sleep(0)
        elif inspect.iscoroutinefunction(function):
            outlet.put(await function(**arguments))
        else:
            context = copy_context()
            work = asyncio.get_running_loop().run_in_executor
            await work(_executor(), lambda: context.run(_in_thread, function, arguments, outlet))

    async def stream(self, question: str = "", *, run: Run | None = None, **form: Any) -> AsyncGenerator[Event]:
        """The events of one run without a server, for tests."""
        run = run or Run(question, form=form)
        async with aclosing(self.run(run)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    def ask(self, question: str = "", *, run: Run | None = None, **form: Any) -> Prediction:
        """The answer of one run without a server, for tests. Not inside a running loop."""

        async def answer() -> Prediction:
            fold = Fold()
            async with aclosing(self.stream(question, run=run, **form)) as events:
                async for event in events:
                    fold.add([event])
            return fold.prediction

        return asyncio.run(answer())


def _executor() -> ThreadPoolExecutor:
    if not _threads:
        _threads.append(ThreadPoolExecutor(_MOST_THREADS, "python-flow"))
    return _threads[0]


def _in_thread(function: Callable[..., Any], arguments: Mapping[str, Any], outlet: Outlet) -> None:
    result = function(**arguments)
    if not isinstance(result, Iterator):
        outlet.put_from_thread(result)
        return
    for item in result:
        if outlet.closed:
            if inspect.isgenerator(result):
                result.close()
            return
        outlet.put_from_thread(item)


@overload
def flow(function: Callable[..., Any], /) -> PythonFlow: ...
@overload
def flow(*, id: str | None = None, name: str | None = None) -> Callable[[Callable[..., Any]], PythonFlow]: ...
def flow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    id: str | None = None,  # noqa: A002
    name: str | None = None,
) -> Any:
    """Makes a function a flow. Its id follows from its name unless it is given, so links to it last."""
    return PythonFlow(function) if function is not None else partial(PythonFlow, id=id, name=name)


__all__ = ["Model", "OtherFlow", "PythonFlow", "Retriever", "Run", "flow"]
