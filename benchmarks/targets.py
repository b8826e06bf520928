"""What the benchmark measures, each as a process of its own on a free port, with a bounded start and a certain end."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import resources
from relay import nginx_config

HERE = Path(__file__).resolve().parent
ADMIN_KEY = "key-of-the-benchmark"
Value = TypeVar("Value")
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


class BenchmarkError(Exception):
    """A process did not come up, or did not do what the benchmark needs."""


@dataclass(frozen=True)
class Target:
    """One server to measure. `pid` is None if its CPU cannot be read; `obeys` is false if it ignores the question."""

    name: str
    url: str
    pid: int | None
    obeys: bool = True


@dataclass(frozen=True)
class Running:
    """A process and the file with what it writes."""

    pid: int
    log: Path


@contextlib.contextmanager
def process(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Generator[Running]:
    """Run a command; it and its children are gone afterwards."""
    with tempfile.NamedTemporaryFile("wb", dir=folder, suffix=".log", delete=False) as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | dict(environment or {})
        )
    try:
        yield Running(running.pid, Path(log.name))
    finally:
        stop(running)


def stop(running: subprocess.Popen[bytes]) -> None:
    started = resources.tree(running.pid)
    running.terminate()
    try:
        running.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.wait(STOP_TIMEOUT)


def wait_for(look: Callable[[], Value | None], running: Running, what: str) -> Value:
    """Look until there is something to see; what the process wrote goes into the error."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and resources.stat_fields(running.pid)[:1] not in ([], ["Z"]):
        if (found := look()) is not None:
            return found
        time.sleep(0.01)
    raise BenchmarkError(f"{what} did not come up; it wrote:\n{running.log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def announced_url(running: Running) -> str | None:
    _, said, rest = running.log.read_text().partition("listening on ")
    return rest.split()[0] if said and rest.endswith("\n") else None


def pong(port: int) -> bool | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/ping", timeout=2) as answer:
            return answer.read() == b"pong" or None
    except OSError:
        return None


def post(url: str, body: Mapping[str, Any], key: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=START_TIMEOUT) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise BenchmarkError(f"POST {urlsplit(url).path} answered {error.code}: {error.read()[:500]!r}") from error


@contextlib.contextmanager
def model_endpoint(folder: Path, port: int) -> Generator[str]:
    script = HERE.parent / "tests" / "upstream.py"
    with process([sys.executable, str(script), "--port", str(port)], folder) as running:
        yield wait_for(lambda: announced_url(running), running, "the model endpoint")


@contextlib.contextmanager
def relay(folder: Path, upstream: str) -> Generator[Target]:
    with process([sys.executable, str(HERE / "relay.py"), "--upstream", upstream], folder) as running:
        url = wait_for(lambda: announced_url(running), running, "the relay")
        yield Target("bare relay", f"{url}/api/v1/prediction/bench", running.pid)


@contextlib.contextmanager
def nginx(folder: Path, upstream: str, question: str) -> Generator[Target]:
    """nginx as the relay; `shutil.which("nginx")` tells whether there is one."""
    port, configuration = free_port(), folder / "nginx.conf"
    configuration.write_text(nginx_config(port, upstream, question, folder))
    with process([shutil.which("nginx") or "nginx", "-p", str(folder), "-c", str(configuration)], folder) as running:
        wait_for(lambda: pong(port), running, "nginx")
        yield Target("nginx", f"http://127.0.0.1:{port}/api/v1/prediction/bench", running.pid, obeys=False)


@contextlib.contextmanager
def headrace(folder: Path, upstream: str) -> Generator[tuple[Target, float]]:
    """The server on a fresh data folder, and the seconds from its start to its first complete answer."""
    port, data = free_port(), tempfile.mkdtemp(dir=folder)
    environment = {"HEADRACE_ADMIN_KEY": ADMIN_KEY, "OPENAI_API_KEY": "sk-bench"}
    command = [sys.executable, "-m", "headrace", "serve", "--port", str(port), "--data-dir", data]
    began = time.monotonic()
    with process(command, folder, environment) as running:
        wait_for(lambda: pong(port), running, "Headrace")
        base = f"http://127.0.0.1:{port}/api/v1"
        flow = {"name": "bench", "type": "CHATFLOW", "flowData": json.dumps(conversation(upstream))}
        url = f"{base}/prediction/{post(f'{base}/chatflows', flow, ADMIN_KEY)['id']}"
        answer = post(url, {"question": "/count 3", "chatId": "start"})
        seconds = time.monotonic() - began
        if answer.get("text") != "w1 w2 w3":
            raise BenchmarkError(f"Headrace answered {answer!r} instead of 'w1 w2 w3'")
        yield Target("Headrace", url, running.pid), seconds


def conversation(upstream: str) -> dict[str, Any]:
    """A Conversation Chain as Flowise exports it."""
    model = node(
        "chatOpenAI", "OpenAI", "Chat Models", 8.3,
        ["ChatOpenAI", "BaseChatOpenAI", "BaseChatModel", "BaseLanguageModel", "Runnable"],
        {"modelName": "bench", "temperature": 0.2, "streaming": True, "basepath": upstream},
    )  # fmt: skip
    memory = node(
        "bufferMemory", "Buffer Memory", "Memory", 2,
        ["BufferMemory", "BaseChatMemory", "BaseMemory"],
        {"sessionId": "", "memoryKey": "chat_history"},
    )  # fmt: skip
    chain = node(
        "conversationChain", "Conversation Chain", "Chains", 3,
        ["ConversationChain", "LLMChain", "BaseChain", "Runnable"],
        {
            "model": "{{chatOpenAI_0.data.instance}}",
            "memory": "{{bufferMemory_0.data.instance}}",
            "systemMessagePrompt": "You answer questions about rivers, weirs and mills, in short sentences.",
        },
    )  # fmt: skip
    edges = [edge(model, chain, "model", "BaseChatModel"), edge(memory, chain, "memory", "BaseMemory")]
    return {"nodes": [model, memory, chain], "edges": edges, "viewport": {"x": 0, "y": 0, "zoom": 1}}


def node(
    name: str, label: str, category: str, version: float, classes: list[str], inputs: dict[str, Any]
) -> dict[str, Any]:
    identity = f"{name}_0"
    data: dict[str, Any] = {
        "id": identity,
        "name": name,
        "label": label,
        "type": classes[0],
        "category": category,
        "version": version,
        "baseClasses": classes,
        "inputParams": [],
        "inputAnchors": [],
        "inputs": inputs,
        "outputAnchors": [],
        "outputs": {},
    }
    return {"id": identity, "type": "customNode", "position": {"x": 0, "y": 0}, "data": data}


def edge(source: dict[str, Any], target: dict[str, Any], anchor: str, kind: str) -> dict[str, Any]:
    start, end = source["data"], target["data"]
    out = f"{start['id']}-output-{start['name']}-{'|'.join(start['baseClasses'])}"
    into = f"{end['id']}-input-{anchor}-{kind}"
    ends = {"source": start["id"], "sourceHandle": out, "target": end["id"], "targetHandle": into}
    return {"id": f"{out}-{into}", "type": "buttonedge", **ends}
