"""Chains that ask a web API: the model writes the request from the API's documentation, and tells what came back.

Addresses go through the guard; where the model writes them, the flow's headers, which may hold a key, go only to hosts
that the documentation names.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec

from headrace.engine.agent import Agent
from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.json_extraction import extract_object
from headrace.engine.model_events import answer_events, answer_text, text_events
from headrace.engine.node import Context, Step, Template
from headrace.engine.ports import ChatModel, FetchRequest, Moderation
from headrace.errors import FetchRefused, ProviderMalformed
from headrace.events import Event
from headrace.nodes.chains.conversation import refusal
from headrace.nodes.prompts import filled
from headrace.nodes.tools.openapi import OpenAPIToolkit

_GET: Final = """\
This is the documentation of a web API:

{api_docs}

Write the whole address of the one GET request that gives what is needed to answer the question, with no parameters \
that are not needed. Answer with the address and nothing else.

The question: {question}"""
_POST: Final = """\
This is the documentation of a web API:

{api_docs}

Write the one POST request that does what is asked, as a JSON object with `url`, the whole address, and `data`, an \
object with the body's fields and nothing that is not needed. Answer with the object and nothing else.

What is asked: {question}"""
_SAY: Final = (
    "A web API was asked with {asked} and answered:\n\n{api_response}\n\n"
    "Answer the question from that, and say so when it gives no answer.\n\nThe question: {question}"
)
_USE: Final = "Use the functions of the web API to answer, and say so when they give no answer."
_HOST: Final = re.compile(r"https?://([^\s/\"'`<>\\)\]}|?#]+)", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"https?://[^\s\"'`<>]+", re.IGNORECASE)
_LONGEST: Final = 50_000  # characters of an answer that the model is given to read


class _Asked(msgspec.Struct, frozen=True):
    """The request that a model wrote, and its words for it."""

    url: str
    text: str
    data: Any = None


class _ApiChain(Step, frozen=True, kw_only=True):
    """The shared part of both chains."""

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    apiDocs: str = ""
    headers: Additional[dict[str, Any]] = {}

    async def _answer(self, ctx: Context, asked: _Asked, prompt: str) -> AsyncGenerator[Sequence[Event]]:
        """The answer in words to what the API gave."""
        response = await self._fetched(ctx, asked)
        values = {
            "api_docs": self.apiDocs,
            "question": ctx.question,
            "api_url": asked.text,
            "api_url_body": asked.text,
            "asked": asked.text,
            "api_response": response,
        }
        return answer_events(self.model, ChatRequest([ModelMessage("user", filled(prompt or _SAY, values))]), ctx)

    async def _fetched(self, ctx: Context, asked: _Asked) -> str:
        hosts = {host.rpartition("@")[2].rstrip(".,;:").lower() for host in _HOST.findall(self.apiDocs)}
        host = _host(asked.url)
        if hosts and host not in hosts:
            raise FetchRefused(f"the model asked {host!r} for something, which the API's documentation does not name")
        headers = [(name, str(value)) for name, value in self.headers.items()] if hosts else []
        method, body = "GET", b""
        if asked.data is not None:
            method, body = "POST", msgspec.json.encode(asked.data)
            headers.append(("Content-Type", "application/json"))
        reply = await ctx.outside.fetch(FetchRequest(method, asked.url, headers, body))
        text = reply.body.decode(errors="replace")
        status = "" if reply.status < 400 else f"HTTP status {reply.status}\n"
        return status + (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n[cut here: {len(text)} characters]")

    async def _written(self, ctx: Context, prompt: str) -> str:
        values = {"api_docs": self.apiDocs, "question": ctx.question}
        return await answer_text(self.model, ChatRequest([ModelMessage("user", filled(prompt, values))]), ctx)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        raise ProviderMalformed("the model wrote no address that can be asked") from None


class GetApiChain(_ApiChain, frozen=True, kw_only=True, tag="getApiChain"):
    """Answers from a web API that is asked with GET."""

    info = NodeInfo(label="GET API Chain", type="GETApiChain")

    urlPrompt: Additional[Template] = _GET
    """The prompt for the address, with `{api_docs}` and `{question}`."""
    ansPrompt: Additional[Template] = ""
    """The prompt for the answer, with `{api_docs}`, `{question}`, `{api_url}` and `{api_response}`."""

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer in words. Raises FetchRefused and FetchFailed."""
        said = await self._written(ctx, self.urlPrompt)
        if (found := _ADDRESS.search(said)) is None:
            raise ProviderMalformed("the model wrote no address that can be asked")
        return await self._answer(ctx, _Asked(found[0], found[0]), self.ansPrompt)


class PostApiChain(_ApiChain, frozen=True, kw_only=True, tag="postApiChain"):
    """Does something by a web API that is asked with POST, and tells what came back."""

    info = NodeInfo(label="POST API Chain", type="POSTApiChain")

    urlPrompt: Additional[Template] = _POST
    """The prompt for the request, with `{api_docs}` and `{question}`."""
    ansPrompt: Additional[Template] = ""
    """The prompt for the answer, with `{api_docs}`, `{question}`, `{api_url_body}` and `{api_response}`."""

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer in words. Raises FetchRefused and FetchFailed."""
        request = _object(await self._written(ctx, self.urlPrompt))
        if request is None or not isinstance(request.get("url"), str):
            raise ProviderMalformed("the model wrote no JSON object with `url` and `data`")
        text = msgspec.json.encode(request).decode()
        return await self._answer(ctx, _Asked(request["url"], text, request.get("data") or {}), self.ansPrompt)


def _object(said: str) -> Mapping[str, Any] | None:
    """The JSON object in what a model says."""
    try:
        return extract_object(said)
    except ValueError:
        return None


class OpenApiChain(Step, frozen=True, kw_only=True, tag="openApiChain"):
    """Answers with the operations of an OpenAPI document, as an agent that has them for tools."""

    info = NodeInfo(streams=False, label="OpenAPI Chain", version=2, type="OpenAPIChain")

    model: ChatModel
    yamlLink: str = ""
    yamlFile: Annotated[str, Input(type="file", fileType=".yaml")] = ""
    headers: Additional[dict[str, Any]] = {}
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer. Raises FlowError for a document that cannot be used."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        toolkit = OpenAPIToolkit(
            inputType="link" if self.yamlLink else "file",
            openApiLink=self.yamlLink,
            openApiFile=self.yamlFile,
            headers=self.headers,
        )
        agent = Agent(ctx, self.model, await toolkit.build(ctx))
        return agent.run([ModelMessage("system", _USE), ModelMessage("user", ctx.question)])


NODES = (GetApiChain, PostApiChain, OpenApiChain)
