"""A way to a Milvus server, through pymilvus (the extra `milvus`), and what its errors mean."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headrace.errors import (
    FlowError,
    ProviderError,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnauthorized,
    ProviderUnavailable,
)
from headrace.installation import remedy
from headrace.providers.error_mapping import complaint

if TYPE_CHECKING:
    from pymilvus import AsyncMilvusClient

_CONNECT: Final = 10.0  # seconds
_NO_DOTENV: Final = "PYTHON_DOTENV_DISABLED"
# Milvus's own numbers: https://github.com/milvus-io/milvus/blob/master/pkg/util/merr/errors.go
_BY_NUMBER: Final[Mapping[int, type[ProviderError]]] = {
    2: ProviderUnavailable,
    8: ProviderRateLimited,
    100: ProviderNotFound,
    200: ProviderNotFound,
    700: ProviderNotFound,
    800: ProviderNotFound,
    1400: ProviderUnauthorized,
    1401: ProviderUnauthorized,
}
_BY_STATUS: Final[Mapping[str, type[ProviderError]]] = {
    "UNAUTHENTICATED": ProviderUnauthorized,
    "PERMISSION_DENIED": ProviderUnauthorized,
    "RESOURCE_EXHAUSTED": ProviderRateLimited,
    "DEADLINE_EXCEEDED": ProviderTimeout,
    "UNAVAILABLE": ProviderUnavailable,
}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A server and who asks it. What belongs to TLS are names of files, "" for none."""

    url: str
    user: str = ""
    password: str = ""
    secure: bool = False
    server_name: str = ""
    authority: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The client's options. It names an authority differently when the caller has no certificate."""
        told: dict[str, Any] = {"token": f"{self.user}:{self.password}" if self.user else self.password}
        if self.secure:
            told |= {"secure": True, "server_name": self.server_name}
            told["ca_pem_path" if self.certificate else "server_pem_path"] = self.authority
            told |= {"client_pem_path": self.certificate, "client_key_path": self.key}
        return told


@asynccontextmanager
async def connected(place: Place) -> AsyncGenerator[AsyncMilvusClient]:
    """A connection of its own, since nothing tells a flow's nodes when to close one. Raises ProviderError."""
    grpc, pymilvus = await asyncio.to_thread(_loaded)
    try:
        # A connection that is not dedicated is kept for ever, for all who ask this server with this password.
        client = pymilvus.AsyncMilvusClient(place.url, timeout=_CONNECT, dedicated=True, **place.options)
        try:
            yield client
        finally:
            await client.close()
    except (pymilvus.MilvusException, grpc.RpcError) as error:
        raise _failure(error, error if isinstance(error, grpc.RpcError) else error.__cause__, place) from None


def _loaded() -> tuple[Any, Any]:
    """The packages, imported in a thread the first time: that takes a second."""
    try:
        with _no_dotenv():
            import grpc
            import pymilvus
    except ImportError:
        raise FlowError(f"the Milvus node needs pymilvus: {remedy('milvus')}") from None
    for name in ("pymilvus", "pymilvus.milvus_client"):  # its log repeats errors, with their tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return grpc, pymilvus


@contextmanager
def _no_dotenv() -> Generator[None]:
    """Importing pymilvus puts what a `.env` file says into the environment; not while this lasts."""
    before = os.environ.get(_NO_DOTENV)
    os.environ[_NO_DOTENV] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_DOTENV]
        else:
            os.environ[_NO_DOTENV] = before


def _failure(error: Any, cause: Any, place: Place) -> ProviderError:
    """Translates an error: by gRPC's status if the call failed there, else by Milvus's own code."""
    status = getattr(cause, "details", None)
    said = complaint(str(status() if status else error.message).encode(), place.password).message
    if status:
        kind = _BY_STATUS.get(cause.code().name, ProviderRefused)
    else:
        kind = ProviderTimeout if "Retry timeout" in said else _BY_NUMBER.get(error.code, ProviderRefused)
    return kind(f"{'cannot reach Milvus' if kind is ProviderUnavailable else 'Milvus answered'}: {said}")
