"""Credentials, in Flowise's shapes without their secrets. What a kind does not have is refused."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post, put
from litestar.params import QueryParameter
from msgspec import UNSET, UnsetType

from headrace.engine.credentials import check_complete, check_fields, kinds_of
from headrace.errors import InvalidRequest, StorageError
from headrace.schema import CredentialRow
from headrace.server.auth import local, needs
from headrace.server.pagination import Deleted, Page, paged

HIDDEN = "_FLOWISE_BLANK_07167752-1a71-43b1-bf8f-4f32252165db"
"""Stands for a secret in answers; sent back, it leaves the secret as it is. Flowise's builder knows this word."""


Fields = dict[str, str | int | float | bool | None]
"""A credential's fields. Numbers and booleans are kept as texts, null is "not set"."""


class CredentialInput(msgspec.Struct):
    """A credential to store; `credentialName` is its type, for example "openAIApi"."""

    name: str
    credentialName: str
    plainDataObj: Fields = {}


class ShownCredential(CredentialRow, kw_only=True):
    """A credential, each of its secrets as one and the same word."""

    plainDataObj: dict[str, str]


class CredentialChange(msgspec.Struct):
    """Changes to a credential; its type stays, whatever is given."""

    name: str | UnsetType = UNSET
    credentialName: str | UnsetType = UNSET
    plainDataObj: Fields = {}


@get("/api/v1/credentials", guards=[needs("credentials:view")], summary="List credentials", tags=["administration"])
async def list_credentials(
    request: Request[Any, Any, Any],
    kinds: Annotated[
        list[str] | None, QueryParameter(name="credentialName", description="Only of these types.")
    ] = None,
    page: int = 0,
    limit: int = 0,
) -> list[CredentialRow] | Page[CredentialRow]:
    """All credentials without their secrets, or one page of them as `{data, total}`."""
    rows = await local(request).storage.credentials()
    return paged([row for row in rows if not kinds or row.credentialName in kinds], page, limit)


@post(
    "/api/v1/credentials",
    guards=[needs("credentials:create")],
    status_code=200,
    summary="Create a credential",
    tags=["administration"],
)
async def create_credential(request: Request[Any, Any, Any], data: CredentialInput) -> CredentialRow:
    """Seals and stores a credential. `GET /api/v1/components-credentials` lists the kinds and their fields."""
    here, fields = local(request), _texts(data.plainDataObj)
    kinds = kinds_of(here.catalog)
    if data.credentialName not in kinds:
        raise InvalidRequest(
            f"{data.credentialName!r} at $.credentialName is no kind of credential of this server: "
            "GET /api/v1/components-credentials lists those that there are"
        )
    kind = kinds[data.credentialName]
    check_fields(kind, fields)
    check_complete(kind, fields)
    return await here.storage.add_credential(data.name, kind.name, fields)


@get(
    "/api/v1/credentials/{credential_id:str}",
    guards=[needs("credentials:view")],
    summary="Read a credential",
    tags=["administration"],
)
async def read_credential(request: Request[Any, Any, Any], credential_id: str) -> ShownCredential:
    """The credential with its fields hidden."""
    store = local(request).storage
    row = await store.credential(credential_id)
    hidden = dict.fromkeys(await store.secrets(credential_id), HIDDEN)
    return ShownCredential(**msgspec.structs.asdict(row), plainDataObj=hidden)


@put(
    "/api/v1/credentials/{credential_id:str}",
    guards=[needs("credentials:update")],
    summary="Change a credential",
    tags=["administration"],
)
async def change_credential(
    request: Request[Any, Any, Any], credential_id: str, data: CredentialChange
) -> CredentialRow:
    """Merges the fields over the stored ones; hidden fields stay as they are, and so does a name that is not given."""
    here = local(request)
    store = here.storage
    row = await store.credential(credential_id)
    given = {name: value for name, value in _texts(data.plainDataObj).items() if value != HIDDEN}
    kind = kinds_of(here.catalog).get(row.credentialName)  # None for one that was imported
    try:
        kept = await store.secrets(credential_id)
    except StorageError:  # sealed under a key that is lost: it can only be entered anew
        if len(given) < len(data.plainDataObj):
            raise
        kept = {}
    if kind and given:
        check_fields(kind, given.keys() - kept.keys())
        check_complete(kind, {**kept, **given})
    return await store.change_credential(credential_id, data.name or row.name, {**kept, **given})


def _texts(fields: Fields) -> dict[str, str]:
    return {name: _text(value) for name, value in fields.items() if value is not None}


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()  # true, 5, 0.5


@delete(
    "/api/v1/credentials/{credential_id:str}",
    guards=[needs("credentials:delete")],
    status_code=200,
    summary="Delete a credential",
    tags=["administration"],
)
async def remove_credential(request: Request[Any, Any, Any], credential_id: str) -> Deleted:
    """Deletes a credential; flows that use it fail until they get another one."""
    await local(request).storage.delete_credential(credential_id)
    return Deleted()


ROUTES = (list_credentials, create_credential, read_credential, change_credential, remove_credential)
