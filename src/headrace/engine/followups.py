"""Follow-up questions: what a visitor may want to ask next, from a model that the flow's author chose for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.engine.catalog import Catalog
from headrace.engine.chat import ChatRequest, ModelMessage, OutputSchema
from headrace.engine.inputs import fields_of, provides, read
from headrace.engine.json_extraction import extract_object
from headrace.engine.model_events import answer_text
from headrace.engine.node import Context
from headrace.engine.ports import ChatModel
from headrace.errors import FlowError

_NAMES: Final = {"ollama": "chatOllama"}
"""The configuration names providers as their nodes, but for these."""
_PROMPT = (
    "Below is a part of a conversation. Think of the three questions that the user will most likely ask next, "
    "each short and in the language of the conversation.\n\n{history}"
)


class _Questions(msgspec.Struct):
    questions: list[str]


_FORM = OutputSchema(
    "follow_up_questions",
    {
        "type": "object",
        "properties": {"questions": {"type": "array", "items": {"type": "string"}}},
        "required": ["questions"],
        "additionalProperties": False,
    },
)


async def follow_ups(config: Mapping[str, Any], catalog: Catalog, ctx: Context, answer: str) -> list[str]:
    """The questions, for a flow's `followUpPrompts`; none where these are off. Raises HeadraceError."""
    provider = config.get("selectedProvider")
    chosen = config.get(provider) if isinstance(provider, str) else None
    if not config.get("status") or not isinstance(provider, str) or not isinstance(chosen, dict):
        return []
    model = await _model(provider, chosen, catalog, ctx)
    history = f"User: {ctx.question}\nAssistant: {answer}"
    asked = str(chosen.get("prompt") or _PROMPT).replace("{history}", history)
    text = await answer_text(model, ChatRequest([ModelMessage("user", asked)], schema=_FORM), ctx)
    try:
        found = msgspec.convert(extract_object(text), _Questions).questions
    except (ValueError, msgspec.ValidationError) as error:
        raise FlowError(f"the model's follow-up questions cannot be read: {error}") from None
    return [question.strip() for question in found if question.strip()]


async def _model(provider: str, chosen: Mapping[str, Any], catalog: Catalog, ctx: Context) -> Any:
    name = _NAMES.get(provider, provider)
    if name in catalog:
        kind = catalog[name]
        values = {key: value for key, value in chosen.items() if key in fields_of(kind)}
        values["credential"] = await ctx.credential(str(chosen.get("credentialId") or ""))
        model = await read(kind, values, "the follow-up prompts").build(ctx)
        if provides(type(model), ChatModel):
            return model
    raise FlowError(f"the follow-up prompts name {provider!r}, which is no chat model of this server")
