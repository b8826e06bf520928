"""The server inside applications of other frameworks: asked, streamed, resumed, cancelled, stopped."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from litestar import Litestar, asgi
from servers import KEY, conversation
from starlette.applications import Starlette
from starlette.routing import Mount
from upstream import Upstream
from waiting import eventually

import headrace
from headrace import flow
from headrace.errors import InvalidRequest
from headrace.gen import ROOT

# Litestar 2.25 wants bodies and queries declared as Litestar 3 will; the server's own process hides that.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")
Made = Callable[[Any], Any]


@flow
async def greet(question: str) -> Any:
    yield "Hello "
    yield question


def in_fastapi(inner: Any) -> Any:
    app = FastAPI(lifespan=inner.lifespan)
    app.mount("/llm", inner)
    return app


def in_starlette(inner: Any) -> Any:
    return Starlette(routes=[Mount("/llm", inner)])  # without its lifespan: it begins with the first request


def in_litestar(inner: Any) -> Any:
    return Litestar([asgi("/llm", is_mount=True, copy_scope=True)(_called(inner))], lifespan=[inner.lifespan])


def _called(inner: Any) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return handler


@contextmanager
def serving(app: Any) -> Generator[str]:
    """The application on uvicorn, in a thread; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="auto"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            eventually(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("made", "prefix"),
    [(in_fastapi, "/llm"), (in_starlette, "/llm"), (in_litestar, "/llm"), (lambda inner: inner, "")],
    ids=["FastAPI", "Starlette", "Litestar", "alone"],
)
def test_flows_are_asked_and_resumed_under_a_path(tmp_path: Path, made: Made, prefix: str) -> None:
    inner = headrace.asgi(greet, data_dir=str(tmp_path), admin_key=KEY)
    with serving(made(inner)) as url, httpx2.Client(base_url=url + prefix) as http:
        path = f"/api/v1/prediction/{greet.id}"
        assert http.post(path, json={"question": "Ada"}).json()["text"] == "Hello Ada"
        whole = http.post(path, json={"question": "Ada", "streaming": True})
        assert [json.loads(data)["event"] for data in re.findall(r"(?m)^data:(.*)", whole.text)] == [
            *("token", "token", "metadata", "end")
        ]
        run = whole.headers["x-run-id"]
        rest = http.get(f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": f"{run}:1"})
        assert whole.content.endswith(rest.content)
        assert http.get("/api/v1/nothing").status_code == 404


def test_leaving_closes_the_models_socket_and_stopping_ends_runs(tmp_path: Path, upstream: Upstream) -> None:
    inner = headrace.asgi(data_dir=str(tmp_path), shutdown_grace=0)

    async def stored() -> str:
        from headrace.schema import FlowRow
        from headrace.storage.storage import Storage

        storage = Storage(tmp_path)
        row = await storage.add_flow(FlowRow("", "model", json.dumps(conversation(upstream.url))))
        storage.close()
        return row.id

    path = f"/llm/api/v1/prediction/{asyncio.run(stored())}"
    question = {"question": "/count 5000 | /pace 5", "streaming": True}
    with serving(in_fastapi(inner)) as url, httpx2.Client(base_url=url) as http:
        with http.stream("POST", path, json={**question, "onDisconnect": "cancel"}) as left:
            next(left.iter_bytes())
        upstream.wait_until(lambda seen: seen[-1].closed_by_peer_at_token is not None)
        run = http.post(path, json={**question, "background": True}).json()["id"]
        upstream.wait_until(lambda seen: len(seen) == 2)
    again = headrace.asgi(data_dir=str(tmp_path))
    with serving(in_fastapi(again)) as url:
        assert httpx2.get(f"{url}/llm/api/v1/runs/{run}").json()["code"] == "interrupted"


def test_settings_that_cannot_be_read_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="port"):
        headrace.asgi(data_dir=str(tmp_path), port="many")


def test_the_example_of_the_docs_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"(?ms)^```python app\n(.*?)^```$", (ROOT / "docs" / "embedding.md").read_text())[0]
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    names: dict[str, Any] = {"__name__": "docs"}
    exec(code, names)
    with serving(names["app"]) as url:
        path = f"/llm/api/v1/prediction/{names['greet'].id}"
        assert httpx2.post(url + path, json={"question": "Ada"}).json()["text"] == "Hello Ada"
        assert httpx2.get(url).json() == {"hello": "world"}
