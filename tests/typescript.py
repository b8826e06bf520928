"""The TypeScript library as the Python tests see it: built once, and driven in one Node process."""

import atexit
import json
import shutil
import subprocess
import threading
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clients import DRIVERS, SyncDriver
from scripted import BOUND, STARTING
from waiting import alone

from headrace import Chunk, HeadraceError, Prediction, PredictionData, RunInfo
from headrace.errors import by_code
from headrace.events import Event, decode
from headrace.schema import Feedback, FileUpload, FlowRow

SDK = Path(__file__).parents[1] / "sdk" / "typescript"
DRIVER = Path(__file__).parent / "node" / "driver.mjs"
CAMEL = {
    "chat_id": "chatId",
    "session_id": "sessionId",
    "override_config": "overrideConfig",
    "human_input": "humanInput",
    "on_disconnect": "onDisconnect",
    "idempotency_key": "idempotencyKey",
    "chat_config": "chatConfig",
}
GIVEN: dict[str, Any] = {
    "runs": list[RunInfo],
    "flows": list[FlowRow],
    "chatConfig": dict[str, Any],
    "attach": list[FileUpload],
    "rate": Feedback,
}
LIMITS = {"timeout": "timeout", "read_timeout": "idleTimeout", "answer_timeout": "answerTimeout", "backoff": "backoff"}


def run(*command: str, cwd: Path = SDK, seconds: float = 300) -> str:
    """What a command prints; a test that runs one that fails shows what it said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", timeout=seconds)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _installing(folder: Path) -> None:
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)


def _building() -> None:
    """Builds the library unless the build is younger than all that it is made of."""
    last = SDK / "dist" / "cjs" / "package.json"
    sources = [*SDK.glob("src/*"), *SDK.glob("*.json")]
    if not last.exists() or last.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        run("npm", "run", "build")


@cache
def _made(folder: Path) -> str | None:
    """Installs the packages of the folder, and builds the library if it is that; what went wrong, if anything did."""
    try:
        with alone(folder):
            _installing(folder)
            if folder == SDK:
                _building()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def installed(folder: Path, what: str) -> Path:
    """The folder with the packages that its lock file names, built if they are the library."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip(f"node and npm are not installed, so {what} is not tested")
    if wrong := _made(folder):
        pytest.fail(wrong)
    return folder


def built() -> Path:
    """The library's folder, its tools installed and the package built."""
    return installed(SDK, "the TypeScript library")


def compiled(program: Path) -> Path:
    """The program as JavaScript beside it, its types checked by the strictest rules."""
    tools, script = built() / "node_modules", program.with_suffix(".js")
    strict = ["--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"]
    names = ["--lib", "es2022,dom,dom.iterable", "--typeRoots", str(tools / "@types"), "--types", "node"]
    rules = [*strict, "--module", "nodenext", "--target", "es2022", *names]
    run(str(tools / ".bin" / "tsc"), "--noEmit", *rules, program.name, cwd=program.parent)
    run(str(tools / ".bin" / "esbuild"), program.name, f"--outfile={script.name}", cwd=program.parent)
    return script


class Node:
    """A process of Node, or of another runtime, that carries out jobs, one at a time."""

    def __init__(self, *runtime: str) -> None:
        module = built() / "dist" / "esm" / "index.js"
        command = [*(runtime or ["node"]), str(DRIVER), str(module)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        atexit.register(self.close)

    def does(self, job: dict[str, Any], seconds: float = STARTING + BOUND) -> Any:
        """What a job gives. Raises its error as the class that Python's client has for it."""
        assert self._process.stdin
        assert self._process.stdout
        watchdog = threading.Timer(seconds, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"the process ended, or did not do within {seconds} s: {job}"
        outcome = json.loads(line)
        if "error" in outcome:
            raise as_python(outcome["error"])
        return outcome["value"]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def as_python(error: dict[str, Any]) -> Exception:
    """The error that Python's client would have raised."""
    if "kind" not in error:
        return AssertionError(error["stack"])
    # TypeScript has no root to raise: what is no HTTP error, such as 301, is taken for an internal one.
    odd = error["kind"] == "internal" and error.get("status") != 500
    kind = HeadraceError if odd else by_code(error["kind"])
    raised = kind.__new__(kind)
    HeadraceError.__init__(raised, error["message"])
    raised.code, raised.retryable, raised.retry_after = error["code"], error["retryable"], error.get("retryAfter")
    raised.status = error.get("status") or 0
    if "attempts" in error:
        raised.add_note(f"attempts: {error['attempts']}; last event: {error.get('lastEventId')}")
    return raised


node = cache(Node)


def events(values: list[dict[str, Any]]) -> list[Event]:
    """Events as Python has them; what TypeScript calls unknown must be unknown here too, and the reverse."""
    return [event(value) for value in values]


def event(value: dict[str, Any]) -> Event:
    known = value if value["event"] != "unknown" else value["fields"]
    decoded = decode(msgspec.json.encode(known))
    assert (type(decoded).__name__ == "Unknown") == (value["event"] == "unknown"), value
    return decoded


class NodeDriver(SyncDriver):
    """Uses `HeadraceClient` in Node, or in another runtime."""

    runtime: tuple[str, ...] = ()

    def does(self, job: str, **rest: Any) -> Any:
        limits = {LIMITS.get(name, name): value for name, value in self.limits.items()}
        limits = {name: value if name == "attempts" else value * 1000 for name, value in limits.items()}
        setup = {"baseUrl": self.url, "apiKey": self.key, **limits}
        return node(*self.runtime).does({"job": job, "setup": setup, "question": self.question, **rest})

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        if name == "attach":
            flow, chat, files = args
            args = (flow, chat, [(file, list(content), kind) for file, content, kind in files])
        name = CAMEL.get(name, name)
        value = self.does("attach" if name == "attach" else "call", name=name, args=[*args, in_camel_case(options)])
        if name == "rate":
            value = {"content": None, **value}  # what is null is absent in TypeScript
        return msgspec.convert(value, GIVEN.get(name, RunInfo))

    def resumed(self, run: str, after: int = 0) -> list[Event]:
        return events(self.does("resumed", run=run, after=after))

    def cancelled(self, flow: str, count: int) -> tuple[RunInfo, list[Event], Prediction]:
        run, rest, answer = self.does("cancelled", flow=flow, count=count)
        return msgspec.convert(run, RunInfo), events(rest), msgspec.convert(answer, Prediction)

    def cancel_unbegun(self, flow: str) -> None:
        self.does("cancel_unbegun", flow=flow)

    def events(self, flow: str) -> list[Event]:
        return events(self.does("events", flow=flow))

    def read(self, flow: str) -> tuple[list[Event], HeadraceError | None]:
        found = self.does("read", flow=flow)
        error = as_python(found["error"]) if "error" in found else None
        assert error is None or isinstance(error, HeadraceError), error
        return events(found["events"]), error

    def text(self, flow: str) -> list[str]:
        return self.does("text", flow=flow)

    def final(self, flow: str, **options: Any) -> Prediction:
        return msgspec.convert(self.does("final", flow=flow, options=in_camel_case(options)), Prediction)

    def place(self, flow: str, count: int) -> list[tuple[str | None, str | None]]:
        return [(run, last) for run, last in self.does("place", flow=flow, count=count)]

    def first_then_final(self, flow: str) -> Prediction:
        return msgspec.convert(self.does("first_then_final", flow=flow), Prediction)

    def final_after_close(self, flow: str) -> Prediction:
        return msgspec.convert(self.does("final_after_close", flow=flow), Prediction)

    def leave(self, flow: str, **options: Any) -> None:
        self.does("leave", flow=flow, options=in_camel_case(options))

    def drop(self, flow: str, gone: threading.Event, **options: Any) -> bool:
        self.leave(flow, **options)
        return gone.wait(BOUND)

    def leave_chunks(self, flow: str, gone: threading.Event) -> bool:
        self.does("leave_chunks", flow=flow)
        return gone.wait(BOUND)

    def predict(self, flow: str, **options: Any) -> Prediction:
        return msgspec.convert(self.does("predict", flow=flow, options=in_camel_case(options)), Prediction)

    def chunks(self, data: PredictionData) -> list[Chunk | dict[str, Any]]:
        fields = {name: value for name, value in msgspec.to_builtins(data).items() if value is not None}
        if "history" in fields:
            fields["history"] = [{k: v for k, v in turn.items() if v is not None} for turn in fields["history"]]
        said = self.does("chunks", data=fields)
        return [Chunk(*chunk) for chunk in said["chunks"]] if "chunks" in said else [said["answer"]]

    def twice(self, flow: str) -> None:
        self.does("twice", flow=flow)

    def many(self, asked: list[tuple[str, str]]) -> list[list[Event]]:
        return [events(found) for found in self.does("many", asked=asked)]


def in_camel_case(options: dict[str, Any]) -> dict[str, Any]:
    given = {CAMEL.get(name, name): value for name, value in options.items()}
    return msgspec.to_builtins(given)


class DenoDriver(NodeDriver):
    runtime = ("deno", "run", "--allow-net", "--allow-read")


class BunDriver(NodeDriver):
    runtime = ("bun",)


def _installed(driver: type[NodeDriver]) -> Any:
    name = driver.runtime[0]
    missing = pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed (npm install -g {name})")
    return pytest.param(driver, id=name, marks=missing)


CLIENTS = [*DRIVERS, pytest.param(NodeDriver, id="node")]
EVERYWHERE = [*CLIENTS, _installed(DenoDriver), _installed(BunDriver)]
"""Other runtimes too: not where a test counts what came with the very end of a connection, which Bun drops."""
