"""Milvus's engine for one process as a server of its own, which speaks the protocol of the whole."""

import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from served import SECRET, Ground
from servers import free_port, until_connected
from test_fetch import certificate

from headrace.engine.ports import Embeddings, VectorStore
from headrace.vectors.milvus import MilvusStore
from headrace.vectors.milvus_server import Place


class Milvus(msgspec.Struct, frozen=True):
    """`url` takes everybody and `secure` only who has `pem`; a password, where one is given, must be SECRET."""

    url: str
    secure: str
    pem: Path

    @property
    def ground(self) -> Ground:
        @asynccontextmanager
        async def opened(name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
            yield MilvusStore(Place(url=self.url), name, "", "", "", embeddings=model)

        return Ground(opened, lambda place: {"place": place})


@contextmanager
def milvus_server(folder: Path) -> Generator[Milvus]:
    ports, pem = (free_port(), free_port()), certificate(folder)
    command = [sys.executable, __file__, str(folder / "data"), str(pem), *map(str, ports)]
    with (folder / "milvus.log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until_connected(ports[1], 60)
        yield Milvus(f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}", pem)
    finally:
        started.terminate()
        started.wait(10)


def serve(folder: str, pem: bytes, plain: int, secure: int) -> None:
    import grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from milvus_lite.db import MilvusLite
    from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

    class Servicer(MilvusServicer):
        def AllocTimestamp(self, request: Any, context: Any) -> Any:  # noqa: N802 — a call of the protocol that the engine lacks
            return milvus_pb2.AllocTimestampResponse(timestamp=1)

        def Connect(self, request: Any, context: Any) -> Any:  # noqa: N802 — and what it does not look at
            said = dict(context.invocation_metadata()).get("authorization", "")
            if said not in ("", b64encode(f"root:{SECRET}".encode()).decode()):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, f"auth check failure for {said} and root:{SECRET}")
            return super().Connect(request, context)

    server = grpc.server(ThreadPoolExecutor(4))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(Servicer(MilvusLite(folder)), server)
    server.add_insecure_port(f"127.0.0.1:{plain}")
    asks = grpc.ssl_server_credentials([(pem, pem)], pem, require_client_auth=True)
    server.add_secure_port(f"127.0.0.1:{secure}", asks)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]).read_bytes(), *map(int, sys.argv[3:]))
