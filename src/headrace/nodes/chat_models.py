"""Chat models. Each record builds the provider's adapter; the adapters are in `headrace.providers`."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from headrace.engine.node import Context, Node
from headrace.errors import FlowError
from headrace.providers.extractive import ExtractiveChat
from headrace.providers.openai import OpenAIChat

_OPENAI = "https://api.openai.com/v1"
# These models take no temperature and stop words, count reasoning into max_completion_tokens, and call the system
# role "developer": https://platform.openai.com/docs/guides/reasoning
_REASONING = re.compile(r"o\d|gpt-5(?!-chat)")


class ChatOpenAI(Node, frozen=True, kw_only=True, tag="chatOpenAI"):
    """OpenAI's chat models, and any server that speaks their protocol (`basepath`)."""

    credential: str = ""
    openAIApiKey: str = ""
    modelName: str = "gpt-4o-mini"
    temperature: float | None = 0.9
    streaming: bool = True
    allowImageUploads: bool = False
    reasoningEffort: str = ""
    maxTokens: int | None = None
    topP: float | None = None
    frequencyPenalty: float | None = None
    presencePenalty: float | None = None
    timeout: float | None = None
    """Milliseconds for the whole answer."""
    stopSequence: str = ""
    basepath: str = ""
    baseOptions: dict[str, Any] = {}
    """Headers to send with every request."""

    async def build(self, ctx: Context) -> OpenAIChat:
        """The model's adapter. Raises FlowError when OpenAI itself is asked for without a key."""
        default = ctx.environ.get("OPENAI_BASE_URL") or _OPENAI
        base = self.basepath or default
        key = await self._key(ctx, base == default)
        if not key and base == _OPENAI:
            raise FlowError(
                f"{self.modelName!r} needs a key: connect a credential to the OpenAI node, set OPENAI_API_KEY, or put "
                "the address of a server of your own into its base path"
            )
        return OpenAIChat(
            ctx.http,
            base,
            key=key,
            headers={name: str(value) for name, value in self.baseOptions.items()},
            options=self._options(),
            images="after the question" if self.allowImageUploads else "refused",
            system_role="developer" if self._reasons else "system",
            timeout=self.timeout / 1000 if self.timeout else None,
        )

    async def _key(self, ctx: Context, is_default: bool) -> str:
        if self.openAIApiKey:
            return self.openAIApiKey
        if self.credential:
            return (await ctx.secrets(self.credential)).get("openAIApiKey", "").strip()  # pasted with its line break
        # The server's own key goes where its operator said, or stays on the machine: an imported flow must not be
        # able to send it to an address of its own choice.
        return ctx.environ.get("OPENAI_API_KEY", "") if is_default or _is_loopback(self.basepath) else ""

    @property
    def _reasons(self) -> bool:
        return bool(_REASONING.match(self.modelName))

    def _options(self) -> dict[str, Any]:
        stop = [word.strip() for word in self.stopSequence.split(",") if word.strip()]
        options = {
            "model": self.modelName,
            "temperature": None if self._reasons else self.temperature,
            "max_completion_tokens" if self._reasons else "max_tokens": self.maxTokens,
            "top_p": self.topP,
            "frequency_penalty": self.frequencyPenalty,
            "presence_penalty": self.presencePenalty,
            "stop": None if self._reasons else stop or None,
            "reasoning_effort": (self._reasons and self.reasoningEffort) or None,
        }
        return {name: value for name, value in options.items() if value is not None}


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ChatExtractive(Node, frozen=True, kw_only=True, tag="chatExtractive"):
    """The built-in model: quotes its context, needs no key and no network."""

    sentences: int = 3

    async def build(self, ctx: Context) -> ExtractiveChat:
        """The model itself."""
        return ExtractiveChat(self.sentences)


NODES = (ChatOpenAI, ChatExtractive)
