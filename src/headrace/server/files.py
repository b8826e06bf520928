"""Files that come with questions: checked before the run begins, and upserted for their chat where that is wanted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec

from headrace.engine.catalog import Catalog
from headrace.engine.inputs import fields_of
from headrace.engine.ports import Upserted
from headrace.errors import BodyTooLarge, FlowError, InvalidRequest
from headrace.retrieval.parser_processes import ATTACHMENT, bounded
from headrace.runtime.flows import Flow
from headrace.runtime.local import Local
from headrace.runtime.uploads import data_of
from headrace.schema import FileUpload, PredictionRequest, UpsertRequest
from headrace.server.forms import Form, FormFile, check_mime, safe_name
from headrace.settings import Settings

_MIB = 1024 * 1024
_FILE_NAME = re.compile(r",filename:([^\"]+)")  # as a form's files have it
_MOST = 50  # files of one question


async def checked(flow: Flow, body: PredictionRequest, settings: Settings) -> list[FileUpload]:
    """The question's files with names that are safe. Raises InvalidRequest and BodyTooLarge, which name the file."""
    uploads = body.uploads or []
    for upload in uploads:
        _check_taken(flow, upload, body.overrideConfig)
    if len(uploads) > _MOST:
        raise InvalidRequest(f"{len(uploads)} files at $.uploads: send up to {_MOST} with a question")
    places = [f"$.uploads[{number}]" for number in range(len(uploads))]
    return [
        await asyncio.to_thread(_checked, upload, place, settings)
        for upload, place in zip(uploads, places, strict=True)
    ]


def _check_taken(flow: Flow, upload: FileUpload, overrides: Mapping[str, Any] | None) -> None:
    """Refuses a file that nothing in the flow looks at: it would only be stored. Raises InvalidRequest."""
    kind = upload.mime or (upload.data or "")[5:50].partition(";")[0]
    picture = kind.startswith("image/") or upload.type == "url"
    match upload.type:
        case "file" | "url":
            taken = picture and flow.takes_images_with(overrides)
        case "file:full":
            taken = flow.takes_texts
        case "file:rag":
            taken = bool(flow.file_inputs & {"file", FormFile(upload.name, "", b"").input})
        case _:  # "audio" among them, which nothing listens to yet
            taken = False
    if not taken:
        what = "pictures" if picture else f"files of the type {upload.type[:80]!r}"
        raise InvalidRequest(f"the flow takes no {what}, and {upload.name[:200]!r} is one: leave it out")


def check_form(flow: Flow, catalog: Catalog, overrides: Mapping[str, Any]) -> None:
    """Refuses a form's file that no loader takes from callers: it would be dropped. Raises InvalidRequest."""
    loaders = [node.data for node in flow.file.nodes if node.data.category == "Document Loaders"]
    names = {node.label: fields_of(catalog[node.name]) for node in loaders if node.name in catalog}
    rules = flow.api.overrideConfig
    taken = {name for label, fields in names.items() for name in fields if rules.allows(label, name)}
    for name in _FILE_NAME.findall(str(overrides.get("file", ""))):
        if not taken & {"file", FormFile(name, "", b"").input}:
            raise InvalidRequest(f"nothing in the flow takes the file {name!r}: leave it out")


def _checked(upload: FileUpload, place: str, settings: Settings) -> FileUpload:
    if upload.type not in ("file", "file:rag", "audio") or not (upload.data or "").startswith("data:"):
        return upload
    try:
        kind, content = data_of(upload.data or "")
        mime = upload.mime or kind
        name = safe_name(upload.name or "file")
        if upload.type != "audio":  # widgets call every recording .wav
            check_mime(name, mime)
            check_mime(name, kind)
    except InvalidRequest as error:
        raise InvalidRequest(f"{error} at {place}") from None
    check_size(name, mime, len(content), settings)
    return msgspec.structs.replace(upload, name=name, mime=mime)


def check_size(name: str, mime: str, size: int, settings: Settings) -> None:
    """Refuses a file that is too large. Raises BodyTooLarge."""
    most, setting = settings.max_file_mb, "HEADRACE_MAX_FILE_MB"
    if mime.startswith("image/"):
        most, setting = settings.max_image_mb, "HEADRACE_MAX_IMAGE_MB"
    if size > most * _MIB:
        raise BodyTooLarge(f"the file {name!r} has {size} bytes and this server takes {most} MiB ({setting})")


async def upsert_for_chat(here: Local, flow: Flow, body: PredictionRequest) -> None:
    """Upserts files of the type `file:rag` for the question's chat alone. Raises what an upsert raises."""
    sent = [upload for upload in body.uploads or () if upload.type == "file:rag" and upload.data]
    if not sent:
        return
    chat: str = body.chatId or (body.overrideConfig or {}).get("sessionId") or str(uuid4())
    body.chatId = chat
    files = await asyncio.to_thread(
        lambda: [FormFile(upload.name, upload.mime, data_of(upload.data or "")[1]) for upload in sent]
    )
    done = await upsert_files(here, flow, files, chat)
    if done.failures:
        raise FlowError(str(done.failures[0]))


async def upsert_files(here: Local, flow: Flow, files: list[FormFile], chat: str) -> Upserted:
    """Upserts a visitor's files for one chat alone, in the bounds of attachments. Raises what an upsert raises."""
    form = Form({}, files)
    values = await asyncio.to_thread(lambda: form.values)
    with bounded(ATTACHMENT):
        return await here.upserts.run(flow, UpsertRequest(overrideConfig=values, chatId=chat), form.inputs)
