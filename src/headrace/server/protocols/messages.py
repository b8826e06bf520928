"""Messages of a chat, as other protocols send them, read as a question to a flow."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

import msgspec

from headrace.errors import InvalidRequest
from headrace.schema import FileUpload, HistoryMessage, PredictionRequest

_DATA_URI: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[^,;]+)*;base64,(.*)", re.DOTALL)
_INSTRUCTIONS: Final = ("systemMessagePrompt", "systemMessage")  # inputs of chains, of agents


class Content(msgspec.Struct):
    """The text and the files of one message."""

    text: str = ""
    files: list[FileUpload] = []


def question(
    messages: Sequence[Any],
    place: str,
    *,
    chat: str | None,
    instructions: str = "",
    settings: Mapping[str, Any] | None = None,
) -> PredictionRequest:
    """The question that a caller's messages ask a flow.

    The last of the messages, which stand at `place` of the body, must be the user's: it is the question. Earlier turns
    of user and model are the history; where there are any, the flow's own memory of the chat is not read as well.
    Instructions and settings, by the names of inputs, override the flow's where its author allows that. Raises
    InvalidRequest.
    """
    told = [instructions] if instructions else []
    history: list[HistoryMessage] = []
    asked: Content | None = None
    for number, message in enumerate(messages):
        where = f"{place}[{number}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"expected an object with `role` and `content` at {where}")
        asked = None
        match message.get("role"):
            case "system" | "developer":
                told.append(_content(message, where).text)
            case "assistant":
                history.append(HistoryMessage.assistant(_content(message, where).text))
            case "user":
                asked = _content(message, where)
                history.append(HistoryMessage.user(asked.text))
            case "tool" | "function":
                raise InvalidRequest(f"a flow uses its own tools: leave out the tool's answer at {where}")
            case role:
                raise InvalidRequest(f"{role!r} at {where}.role is no role: use system, user or assistant")
    if asked is None:
        raise InvalidRequest(f"the last message at {place} must be the user's: it is the question")
    overrides = dict(settings or {})
    if told:
        overrides |= dict.fromkeys(_INSTRUCTIONS, "\n\n".join(told))
    earlier = history[:-1]
    if earlier:
        overrides["sessionId"] = str(uuid4())
    return PredictionRequest(
        question=asked.text,
        chatId=chat,
        overrideConfig=overrides or None,
        history=earlier or None,
        uploads=asked.files or None,
    )


def _content(message: Mapping[str, Any], where: str) -> Content:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return Content(content or "")
    if not isinstance(content, list):
        raise InvalidRequest(f"expected a text or a list of parts at {where}.content")
    found = Content()
    texts: list[str] = []
    for number, part in enumerate(content):
        place = f"{where}.content[{number}]"
        if not isinstance(part, dict):
            raise InvalidRequest(f"expected an object with `type` at {place}")
        match part.get("type"):
            case "text" | "input_text" | "output_text":
                texts.append(_text(part, "text", f"{place}.text"))
            case "refusal":
                texts.append(_text(part, "refusal", f"{place}.refusal"))
            case "image_url" | "input_image":
                found.files.append(_picture(part, len(found.files) + 1, place))
            case "input_audio":
                found.files.append(_sound(part, place))
            case "file" | "input_file":
                found.files.append(_file(part, place))
            case kind:
                raise InvalidRequest(f"{kind!r} at {place}.type is no part that a flow takes")
    found.text = "".join(texts)
    return found


def _text(part: Mapping[str, Any], name: str, place: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        raise InvalidRequest(f"expected a text at {place}")
    return text


def _picture(part: Mapping[str, Any], number: int, place: str) -> FileUpload:
    value = part.get("image_url")
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        raise InvalidRequest(f"expected the address of a picture, or a data URI, at {place}.image_url")
    if found := _DATA_URI.fullmatch(url):
        return FileUpload("file", f"picture-{number}.{found[1].partition('/')[2]}", found[1], url)
    if not url.startswith(("https://", "http://")):
        raise InvalidRequest(f"expected an address with http or https, or a data URI, at {place}.image_url")
    return FileUpload("url", f"picture-{number}", "image/*", url)


def _sound(part: Mapping[str, Any], place: str) -> FileUpload:
    value = part.get("input_audio")
    if not isinstance(value, dict) or not isinstance(value.get("data"), str):
        raise InvalidRequest(f"expected `data` in base64 at {place}.input_audio")
    form = str(value.get("format") or "wav")
    mime = "audio/mpeg" if form == "mp3" else f"audio/{form}"
    return FileUpload("audio", f"audio.{form}", mime, f"data:{mime};base64,{value['data']}")


def _file(part: Mapping[str, Any], place: str) -> FileUpload:
    value = part.get("file")
    fields: Mapping[str, Any] = value if isinstance(value, dict) else part
    name, data = fields.get("filename"), fields.get("file_data")
    if not isinstance(data, str) or not (found := _DATA_URI.fullmatch(data)):
        raise InvalidRequest(f"expected the file itself as a data URI at {place}.file_data")
    try:
        content = b64decode(found[2], validate=True)
    except NotBase64:
        raise InvalidRequest(f"the data at {place}.file_data is not base64") from None
    return FileUpload.from_bytes(content, name if isinstance(name, str) and name else "file", mime=found[1])
