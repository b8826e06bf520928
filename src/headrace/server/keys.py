"""API keys, in Flowise's shapes without the keys themselves: only their hashes are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from litestar import MediaType, Request, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET, UnsetType

from headrace.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from headrace.runtime.local import Local
from headrace.schema import ApiKey
from headrace.server.auth import check_above, check_gift, local, needs
from headrace.server.pagination import Deleted, Page, paged
from headrace.storage.storage import ADMIN


class KeyInput(msgspec.Struct):
    """A key to make. Without permissions it may do everything."""

    keyName: str
    permissions: list[str] = msgspec.field(default_factory=lambda: [ADMIN])


class KeyChange(msgspec.Struct):
    """Changes to a key; absent fields stay."""

    keyName: str | UnsetType = UNSET
    permissions: list[str] | UnsetType = UNSET


class BoundFlow(msgspec.Struct):
    """A flow that asks for the key."""

    flowName: str
    category: list[str]
    updatedDate: str


class ShownKey(msgspec.Struct, omit_defaults=True):
    """A key and the flows that are bound to it; `apiKey` is shown only when the key is made or rotated."""

    id: str
    keyName: str
    permissions: list[str]
    createdDate: str
    updatedDate: str
    chatFlows: Sequence[BoundFlow]
    lastUsedDate: str | None = None
    apiKey: str | None = None


async def _shown_keys(here: Local, keys: Sequence[ApiKey]) -> list[ShownKey]:
    bound: Mapping[str, list[BoundFlow]] = {key.id: [] for key in keys}
    for flow in await here.storage.flows():
        if flow.apikeyid in bound:
            categories = [part for part in (flow.category or "").split(";") if part]
            bound[flow.apikeyid].append(BoundFlow(flow.name, categories, flow.updatedDate))
    used = await here.key_uses.dates()
    return [
        ShownKey(
            key.id,
            key.keyName,
            key.permissions,
            key.createdDate,
            key.createdDate,
            bound[key.id],
            used.get(key.id),
            key.apiKey,
        )
        for key in keys
    ]


async def _found(here: Local, key_id: str) -> ApiKey:
    for key in await here.storage.keys():
        if key.id == key_id:
            return key
    raise NotFound(f"there is no API key {key_id!r}")


@get("/api/v1/apikey", guards=[needs("apikeys:view")], summary="List API keys", tags=["administration"])
async def list_keys(request: Request[Any, Any, Any], page: int = 0, limit: int = 0) -> list[ShownKey] | Page[ShownKey]:
    """All keys without the keys themselves, or one page of them as `{data, total}`."""
    here = local(request)
    return paged(await _shown_keys(here, await here.storage.keys()), page, limit)


@post(
    "/api/v1/apikey",
    guards=[needs("apikeys:create")],
    status_code=200,
    summary="Create an API key",
    tags=["administration"],
)
async def create_key(request: Request[Any, Any, Any], data: KeyInput) -> ShownKey:
    """Makes a key. This answer is the only place where it is ever shown."""
    if not data.keyName.strip():
        raise InvalidRequest("a key needs a name at $.keyName")
    await check_gift(request, data.permissions)
    here = local(request)
    return (await _shown_keys(here, [await here.storage.add_key(data.keyName, data.permissions)]))[0]


@put(
    "/api/v1/apikey/{key_id:str}",
    guards=[needs("apikeys:update")],
    summary="Change an API key",
    tags=["administration"],
)
async def change_key(request: Request[Any, Any, Any], key_id: str, data: KeyChange) -> ShownKey:
    """Renames a key or sets its permissions, old and new ones among those that the caller's key has; the key itself
    stays as it is."""
    here = local(request)
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    if not str(changes.get("keyName", "x")).strip():
        raise InvalidRequest("a key needs a name at $.keyName")
    await _found(here, key_id)
    await check_above(request, key_id)
    await check_gift(request, changes.get("permissions", ()))
    if changes:
        await here.storage.change_key(key_id, changes)
    return (await _shown_keys(here, [await _found(here, key_id)]))[0]


@post(
    "/api/v1/apikey/{key_id:str}/rotate",
    guards=[needs("apikeys:update")],
    status_code=200,
    summary="Give an API key another secret",
    tags=["administration"],
)
async def rotate_key(request: Request[Any, Any, Any], key_id: str) -> ShownKey:
    """Makes the key anew: same id, name, permissions and flows, another secret. The old one works no more, and this
    answer is the only place where the new one is ever shown."""
    here = local(request)
    await _found(here, key_id)
    await check_above(request, key_id)
    secret = await here.storage.rotate_key(key_id)
    return (await _shown_keys(here, [msgspec.structs.replace(await _found(here, key_id), apiKey=secret)]))[0]


@delete(
    "/api/v1/apikey/{key_id:str}",
    guards=[needs("apikeys:delete")],
    opt={"refuses": (409,)},
    status_code=200,
    summary="Delete an API key",
    tags=["administration"],
)
async def remove_key(request: Request[Any, Any, Any], key_id: str) -> Deleted:
    """Deletes a key that no flow is bound to, and that may not do more than the caller's. Raises Conflict for the last
    key with all permissions: nobody could make another one."""
    here = local(request)
    await check_above(request, key_id)
    if [key.id for key in await here.storage.keys() if ADMIN in key.permissions] == [key_id]:
        raise Conflict("this is the last key with all permissions: make another one first")
    await here.storage.delete_key(key_id)
    return Deleted()


@get(
    "/api/v1/verify/apikey/{api_key:str}",
    opt={"asks": "the key in its path", "refuses": (401,)},
    summary="Is this API key valid?",
    responses={200: ResponseSpec(Literal["OK"], generate_examples=False)},
    tags=["administration"],
)
async def verify_key(request: Request[Any, Any, Any], api_key: str) -> Response[Any]:
    """Says OK to a key of this server. Raises Unauthorized for any other."""
    here = local(request)
    await here.storage.refresh()
    if await here.storage.key(api_key) is None:
        raise Unauthorized("this is no API key of this server")
    return Response(b'"OK"', media_type=MediaType.JSON)  # a text is sent as it stands, and this is JSON


ROUTES = (list_keys, create_key, change_key, rotate_key, remove_key, verify_key)
