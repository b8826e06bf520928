"""Moderation: questions that never reach the flow's model."""

from __future__ import annotations

from typing import Final

import msgspec

from headrace.engine.annotations import NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.model_events import answer_text
from headrace.engine.node import Context, Node
from headrace.engine.ports import ChatModel, HttpCall, Moderation
from headrace.nodes.accounts import account
from headrace.nodes.providers import OPENAI
from headrace.providers.json_answers import loose_answer
from headrace.providers.lenient_json import LenientDecoder

_ALIKE: Final = (
    "Below are two sentences. Do they mean the same? Answer with the one word Yes or No.\nOne: {text}\nOther: {denied}"
)


class DenyList:
    """Implements `headrace.engine.ports.Moderation` with sentences that are not allowed.

    With a model each of them is compared in meaning, in their order, until one is alike; without, in spelling.
    """

    def __init__(self, ctx: Context, denied: list[str], model: ChatModel | None, message: str) -> None:
        self._ctx, self._denied, self._model, self._message = ctx, denied, model, message

    async def refusal(self, text: str) -> str | None:
        """See Moderation."""
        for denied in self._denied:
            if await self._alike(text, denied):
                return self._message
        return None

    async def _alike(self, text: str, denied: str) -> bool:
        if self._model is None:
            return denied.casefold() in text.casefold()
        request = ChatRequest([ModelMessage("user", _ALIKE.format(text=text, denied=denied))])
        return "yes" in (await answer_text(self._model, request, self._ctx)).casefold()


class InputModerationSimple(Node, frozen=True, kw_only=True, tag="inputModerationSimple"):
    """Refuses questions that are on a list, one a line."""

    info = NodeInfo(label="Simple Prompt Moderation", version=2, type="Moderation")

    denyList: str
    model: ChatModel | None = None
    moderationErrorMessage: str = "Cannot Process! Input violates content moderation policies."

    async def build(self, ctx: Context) -> Moderation:
        """The list, ready to be asked."""
        denied = [line.strip() for line in self.denyList.split("\n") if line.strip()]
        return DenyList(ctx, denied, self.model, self.moderationErrorMessage)


class _Verdict(msgspec.Struct):
    flagged: bool | None = None


class _Verdicts(msgspec.Struct):
    results: list[_Verdict] = []

    @property
    def told(self) -> bool:
        """True when every verdict is complete: a question that could not be checked is not asked."""
        return bool(self.results) and all(verdict.flagged is not None for verdict in self.results)


_VERDICTS: Final = LenientDecoder(_Verdicts)


class OpenAIModeration:
    """Implements `headrace.engine.ports.Moderation` with OpenAI's moderation endpoint."""

    def __init__(self, ctx: Context, credential: str, message: str) -> None:
        self._ctx, self._credential, self._message = ctx, credential, message

    async def refusal(self, text: str) -> str | None:
        """See Moderation. Raises ProviderError: a question that could not be looked at is not asked."""
        where = await account(self._ctx, OPENAI, credential=self._credential)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {where.key}"}
        sent = msgspec.json.encode({"input": text})
        call = HttpCall(f"{where.base}/moderations", headers, sent, where.key, 30)
        verdicts = await loose_answer(self._ctx.http, call, _VERDICTS, lambda verdicts: verdicts.told)
        return self._message if any(verdict.flagged for verdict in verdicts.results) else None


class InputModerationOpenAI(Node, frozen=True, kw_only=True, tag="inputModerationOpenAI"):
    """Refuses questions that OpenAI's moderation flags."""

    info = NodeInfo(label="OpenAI Moderation", type="Moderation", credentials=("openAIApi",))

    credential: str = ""
    moderationErrorMessage: str = "Cannot Process! Input violates OpenAI's content moderation policies."

    async def build(self, ctx: Context) -> Moderation:
        """The endpoint, ready to be asked."""
        return OpenAIModeration(ctx, self.credential, self.moderationErrorMessage)


NODES = (InputModerationSimple, InputModerationOpenAI)
