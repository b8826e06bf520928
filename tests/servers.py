"""A real server as a process of its own, and the flows that tests put on it."""

import contextlib
import functools
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, Final

from waiting import eventually

from headrace.storage.database import Database
from headrace.storage.dialect import Place

KEY = "the-admin-key-of-the-tests"
ENVIRON: Final = {"HEADRACE_ADMIN_KEY": KEY, "OPENAI_API_KEY": "sk-tests", "HEADRACE_FIRST_EVENT_WAIT": "1"}


# Below the ports that systems give to whoever asks for any: one of those might be taken before its server listens.
# Tests in processes side by side begin far from each other.
_PORTS: Final = itertools.count(15_000 + os.getpid() % 34 * 500)


def free_port() -> int:
    """A port that nobody listens on, and that no other test is given."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def until_connected(port: int, seconds: float = 20) -> None:
    """Waits until something listens on the port."""

    def connected() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    eventually(connected, seconds)


class Reply:
    """A whole HTTP answer."""

    def __init__(self, status: int, headers: Message, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a stream in the default dialect."""
        return [json.loads(line[5:]) for line in self.text.split("\n") if line.startswith("data:")]

    @property
    def kinds(self) -> list[str]:
        """Kinds of a stream's events, runs of tokens as one."""
        kinds = [event["event"] for event in self.events]
        return [kind for n, kind in enumerate(kinds) if kind != "token" or n == 0 or kinds[n - 1] != "token"]


_ONE_AT_A_TIME: Final = threading.Lock()  # migrations are kept in the variables of a module


@functools.cache
def _empty_database() -> bytes:
    """All tables and nothing in them: to make them takes a server a third of its start. The command's tests do."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "headrace.sqlite"
        Database(file).close()
        return file.read_bytes()


def with_database(folder: Path) -> Path:
    """Makes a data folder with an empty database in it."""
    folder.mkdir(parents=True, mode=0o700)
    file = folder / "headrace.sqlite"
    file.touch(0o600)
    with _ONE_AT_A_TIME:
        file.write_bytes(_empty_database())
    return folder


class Server:
    """`headrace serve` on a free port with a data folder of its own; over HTTPS where `ca` is to be trusted."""

    def __init__(self, folder: Path, *flags: str, ca: str = "", **environ: str) -> None:
        self.folder, self.ca = folder, ca
        self.port = int(flags[flags.index("--port") + 1]) if "--port" in flags else free_port()
        self.url = f"https://localhost:{self.port}" if ca else f"http://127.0.0.1:{self.port}"
        self.place: Place = environ.get("HEADRACE_DATABASE_URL") or folder / "headrace.sqlite"
        command = [
            sys.executable,
            "-m",
            "headrace",
            "serve",
            "--port",
            str(self.port),
            "--data-dir",
            str(folder),
        ]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "OPENAI_"))}
        self.output = folder.with_name(f"{folder.name}.log")
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *flags],
                env={**clean, **ENVIRON, **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            eventually(self._answers, 60, every=0.02)  # looking takes time, which a start of a second needs itself
        except BaseException as error:
            error.add_note(self.output.read_text())
            self.stop(signal.SIGKILL)
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            return self.send("GET", "/api/v1/ping").text == "pong"
        return False

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, admin: bool = False
    ) -> Reply:
        """One request; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        every = {"Content-Type": "application/json", **({"Authorization": f"Bearer {KEY}"} if admin else {})}
        request = urllib.request.Request(self.url + path, data, {**every, **(headers or {})}, method=method)
        try:
            context = ssl.create_default_context(cafile=self.ca) if self.ca else None
            with urllib.request.urlopen(request, timeout=30, context=context) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def create_flow(self, flow: Mapping[str, Any], **columns: Any) -> str:
        """Stores a flow and returns its id."""
        record = {"name": "test", "flowData": json.dumps(flow), **columns}
        reply = self.send("POST", "/api/v1/chatflows", record, admin=True)
        assert reply.status == 200, reply.text
        return reply.json["id"]

    def ask(self, flow: str, question: Any = None, **fields: Any) -> Reply:
        """A prediction; give `streaming=True` for events."""
        asked = {} if question is None else {"question": question}
        return self.send("POST", f"/api/v1/prediction/{flow}", {**asked, **fields})

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends the process and returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def serving(folder: Path, *flags: str, ca: str = "", **environ: str) -> Generator[Server]:
    """A server for the time of the block. A folder that is not there yet is made with an empty database in it."""
    server = Server(folder if folder.exists() else with_database(folder), *flags, ca=ca, **environ)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


def node(name: str, category: str, number: int = 0, /, *, label: str = "", **inputs: Any) -> dict[str, Any]:
    """A node as the builder exports it, without what only its canvas needs."""
    key = f"{name}_{number}"
    outputs = {"output": inputs.pop("output")} if "output" in inputs else {}
    data = {"id": key, "name": name, "label": label or name, "category": category, "inputs": inputs, "outputs": outputs}
    return {"id": key, "type": "customNode", "position": {"x": 0, "y": 0}, "data": data}


def flow(*nodes: dict[str, Any]) -> dict[str, Any]:
    """A flow whose edges follow from its nodes' references."""
    edges: list[dict[str, str]] = []
    for target in nodes:
        text = json.dumps(target["data"]["inputs"])
        edges += [{"source": n["id"], "target": target["id"]} for n in nodes if f"{{{{{n['id']}.data" in text]
    return {"nodes": list(nodes), "edges": edges}


def chat_model(base: str, number: int = 0, **inputs: Any) -> dict[str, Any]:
    return node("chatOpenAI", "Chat Models", number, label="OpenAI", basepath=base, streaming=True, **inputs)


def conversation(
    base: str, *, model: Mapping[str, Any] | None = None, memory: str = "bufferMemory", **inputs: Any
) -> dict[str, Any]:
    """Model, memory and conversation chain."""
    chain: dict[str, Any] = {
        "model": "{{chatOpenAI_0.data.instance}}",
        "memory": "{{" + memory + "_0.data.instance}}",
        "systemMessagePrompt": "Be brief.",
        **inputs,
    }
    return flow(
        chat_model(base, **(model or {})),
        node(memory, "Memory", label="Memory", memoryKey="chat_history"),
        node("conversationChain", "Chains", label="Conversation Chain", **chain),
    )


def llm_chain(base: str, template: str, values: str = "") -> dict[str, Any]:
    """Model, prompt template and LLM chain."""
    prompt = node("promptTemplate", "Prompts", template=template, promptValues=values)
    prompt["data"]["inputParams"] = [{"name": "promptValues", "acceptVariable": True}]
    return flow(
        chat_model(base),
        prompt,
        node(
            "llmChain",
            "Chains",
            output="llmChain",
            model="{{chatOpenAI_0.data.instance}}",
            prompt="{{promptTemplate_0.data.instance}}",
        ),
    )
