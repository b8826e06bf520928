"""Credentials, variables and API keys, in Flowise's shapes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, delete, get, post, put

from headrace.errors import InvalidRequest, StorageError
from headrace.schema import ApiKey, CredentialRow, Variable
from headrace.server.auth import check_above, check_gift, local, needs
from headrace.store.store import ADMIN

HIDDEN = "_FLOWISE_BLANK_07167752-1a71-43b1-bf8f-4f32252165db"
"""Stands for a secret in answers; sent back, it leaves the secret as it is. Flowise's builder knows this word."""


class CredentialInput(msgspec.Struct):
    """A credential to store; `credentialName` is its type, for example "openAIApi"."""

    name: str
    credentialName: str
    plainDataObj: dict[str, str] = {}


class VariableInput(msgspec.Struct):
    """A variable to store."""

    name: str
    value: str | None = None
    type: Literal["static", "runtime"] = "static"


class KeyInput(msgspec.Struct):
    """A key to make. Without permissions it may do everything."""

    keyName: str
    permissions: list[str] = msgspec.field(default_factory=lambda: [ADMIN])


@get("/api/v1/credentials", guards=[needs("credentials:view")], summary="List credentials", tags=["administration"])
async def list_credentials(request: Request[Any, Any, Any]) -> list[CredentialRow]:
    """All credentials without their secrets."""
    return await local(request).store.credentials()


@post(
    "/api/v1/credentials",
    guards=[needs("credentials:create")],
    status_code=200,
    summary="Create a credential",
    tags=["administration"],
)
async def create_credential(request: Request[Any, Any, Any], data: CredentialInput) -> CredentialRow:
    """Seals and stores a credential."""
    return await local(request).store.add_credential(data.name, data.credentialName, data.plainDataObj)


@get(
    "/api/v1/credentials/{credential_id:str}",
    guards=[needs("credentials:view")],
    summary="Read a credential",
    tags=["administration"],
)
async def read_credential(request: Request[Any, Any, Any], credential_id: str) -> dict[str, Any]:
    """The credential with its fields hidden."""
    store = local(request).store
    row = await store.credential(credential_id)
    hidden = dict.fromkeys(await store.secrets(credential_id), HIDDEN)
    return {**msgspec.structs.asdict(row), "plainDataObj": hidden}


@put(
    "/api/v1/credentials/{credential_id:str}",
    guards=[needs("credentials:update")],
    summary="Change a credential",
    tags=["administration"],
)
async def change_credential(
    request: Request[Any, Any, Any], credential_id: str, data: CredentialInput
) -> CredentialRow:
    """Merges the fields over the stored ones; hidden fields stay as they are."""
    store = local(request).store
    await store.credential(credential_id)
    given = {name: value for name, value in data.plainDataObj.items() if value != HIDDEN}
    try:
        kept = await store.secrets(credential_id)
    except StorageError:  # sealed under a key that is lost: it can only be entered anew
        if len(given) < len(data.plainDataObj):
            raise
        kept = {}
    return await store.change_credential(credential_id, data.name, {**kept, **given})


@delete(
    "/api/v1/credentials/{credential_id:str}",
    guards=[needs("credentials:delete")],
    status_code=200,
    summary="Delete a credential",
    tags=["administration"],
)
async def remove_credential(request: Request[Any, Any, Any], credential_id: str) -> dict[str, int]:
    """Deletes a credential; flows that use it fail until they get another one."""
    await local(request).store.delete_credential(credential_id)
    return {"affected": 1}


@get("/api/v1/variables", guards=[needs("variables:view")], summary="List variables", tags=["administration"])
async def list_variables(request: Request[Any, Any, Any]) -> list[Variable]:
    """All variables."""
    return await local(request).store.variables()


@post(
    "/api/v1/variables",
    guards=[needs("variables:create")],
    status_code=200,
    summary="Create a variable",
    tags=["administration"],
)
async def create_variable(request: Request[Any, Any, Any], data: VariableInput) -> Variable:
    """Stores a variable, which flows read as `{{$vars.name}}`."""
    return await local(request).store.add_variable(data.name, data.value, data.type)


@put(
    "/api/v1/variables/{variable_id:str}",
    guards=[needs("variables:update")],
    summary="Change a variable",
    tags=["administration"],
)
async def change_variable(request: Request[Any, Any, Any], variable_id: str, data: VariableInput) -> Variable:
    """Stores new values for a variable."""
    return await local(request).store.change_variable(variable_id, msgspec.structs.asdict(data))


@delete(
    "/api/v1/variables/{variable_id:str}",
    guards=[needs("variables:delete")],
    status_code=200,
    summary="Delete a variable",
    tags=["administration"],
)
async def remove_variable(request: Request[Any, Any, Any], variable_id: str) -> dict[str, int]:
    """Deletes a variable."""
    await local(request).store.delete_variable(variable_id)
    return {"affected": 1}


@get("/api/v1/apikey", guards=[needs("apikeys:view")], summary="List API keys", tags=["administration"])
async def list_keys(request: Request[Any, Any, Any]) -> list[ApiKey]:
    """All keys without the keys themselves: only their hashes are stored."""
    return await local(request).store.keys()


@post(
    "/api/v1/apikey",
    guards=[needs("apikeys:create")],
    status_code=200,
    summary="Create an API key",
    tags=["administration"],
)
async def create_key(request: Request[Any, Any, Any], data: KeyInput) -> ApiKey:
    """Makes a key. This answer is the only place where it is ever shown."""
    if not data.keyName.strip():
        raise InvalidRequest("a key needs a name at $.keyName")
    await check_gift(request, data.permissions)
    return await local(request).store.add_key(data.keyName, data.permissions)


@delete(
    "/api/v1/apikey/{key_id:str}",
    guards=[needs("apikeys:delete")],
    status_code=200,
    summary="Delete an API key",
    tags=["administration"],
)
async def remove_key(request: Request[Any, Any, Any], key_id: str) -> dict[str, int]:
    """Deletes a key that no flow is bound to, and that may not do more than the caller's."""
    await check_above(request, key_id)
    await local(request).store.delete_key(key_id)
    return {"affected": 1}


ROUTES = (
    list_credentials,
    create_credential,
    read_credential,
    change_credential,
    remove_credential,
    list_variables,
    create_variable,
    change_variable,
    remove_variable,
    list_keys,
    create_key,
    remove_key,
)
