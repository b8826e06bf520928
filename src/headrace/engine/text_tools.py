"""Lets a model that cannot call tools use them all the same: a protocol in its text stands in for the calls.

To the agent loop it is a model that calls tools. What it wrote goes back to it word for word, as its call's signature.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, TextDelta, ToolCallDelta, ToolSpec
from headrace.engine.ports import ChatModel, Images
from headrace.errors import ProviderMalformed

_CORRECTIONS: Final = 2  # times that a model is told that its answer cannot be read
_AGAIN: Final = "That could not be read: {error}. Write your answer again, exactly in the form that was described."


class Action(msgspec.Struct, frozen=True):
    """An action that the model asks for: a tool, its input as a JSON value, and the model's text."""

    tool: str
    input: Any
    said: str


class TakenStep(msgspec.Struct, frozen=True):
    """A finished step: the model's text that asked for a tool, and the tool's result."""

    said: str
    observation: str


class Transcript(msgspec.Struct, frozen=True):
    """A conversation in its parts: the first message is the system's, the question is the user's last one."""

    system: str
    history: Sequence[ModelMessage]
    question: ModelMessage
    steps: Sequence[TakenStep]


class Reader(Protocol):
    """Reads one answer of the model as it arrives."""

    over: bool
    """The model's turn is over, and it goes on: nothing more of it is wanted."""

    def feed(self, text: str) -> str:
        """Takes the next text and returns the part of the final answer that is certain by now."""
        ...

    def finish(self) -> Action | str:
        """The tool to use, or the rest of the final answer. Raises ValueError that says what the text lacks."""
        ...


class TextProtocol(Protocol):
    """Offers tools to a model in words, and recognises the model's calls in its text."""

    stop: Sequence[str]
    """Words that end a turn, behind which a model would only make things up."""

    def render(self, transcript: Transcript, tools: Sequence[ToolSpec]) -> list[ModelMessage]:
        """The messages for the model."""
        ...

    def reader(self) -> Reader:
        """A reader for its next answer."""
        ...


class TextToolModel:
    """Implements `headrace.engine.ports.ChatModel` with a model and a protocol; final answers are streamed."""

    images: Images

    def __init__(self, model: ChatModel, protocol: TextProtocol) -> None:
        self.images = model.images
        self._model, self._protocol = model, protocol

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel. Raises ProviderMalformed when the model keeps to no form, however often it is told."""
        transcript = transcript_of(request.messages)
        messages, wrong = self._protocol.render(transcript, request.tools), ""
        for _ in range(_CORRECTIONS + 1):
            reader, said = self._protocol.reader(), list[str]()
            async with aclosing(self._model.stream(ChatRequest(messages, stop=self._protocol.stop))) as batches:
                async for deltas in batches:
                    if told := _visible_deltas(deltas, reader, said):
                        yield told
                    if reader.over:
                        break
            try:
                ending = reader.finish()
            except ValueError as error:
                wrong = str(error)
                again = ModelMessage("user", _AGAIN.format(error=wrong))
                messages = [*messages, ModelMessage("assistant", "".join(said)), again]
                continue
            yield _ended(ending, len(transcript.steps))
            return
        raise ProviderMalformed(
            f"the model does not keep to the form that its agent needs: {wrong}; use a model that follows "
            "instructions better, or a tool agent with a model that can call tools"
        )


def _visible_deltas(deltas: Sequence[Delta], reader: Reader, said: list[str]) -> list[Delta]:
    """The part of a batch for the agent loop: text of the final answer, and everything but text."""
    told: list[Delta] = []
    for delta in deltas:
        if isinstance(delta, TextDelta):
            said.append(delta.text)
            if piece := reader.feed(delta.text):
                told.append(TextDelta(piece))
        elif not isinstance(delta, ToolCallDelta | FinishDelta):
            told.append(delta)
    return told


def _ended(ending: Action | str, number: int) -> list[Delta]:
    if isinstance(ending, str):
        return [TextDelta(ending), FinishDelta("stop")]
    arguments = msgspec.json.encode(ending.input).decode()
    return [ToolCallDelta(0, f"step-{number}", ending.tool, arguments, ending.said), FinishDelta("tool_calls")]


def transcript_of(messages: Sequence[ModelMessage]) -> Transcript:
    """The parts of an agent's conversation."""
    last = max(n for n, message in enumerate(messages) if message.role == "user")
    steps = [TakenStep(each.answers.signature, each.text) for each in messages[last + 1 :] if each.answers]
    return Transcript(messages[0].text, messages[1:last], messages[last], steps)
