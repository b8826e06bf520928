"""The program of a sandbox's child process: a JavaScript engine behind two pipes. It imports nothing of Headrace.

Frames are four bytes of length, one letter of kind, JSON. In: `s` script, `r` reply to a fetch, `z` reply about a time
zone. Out: `d` done, `x` the script threw, `l` a limit was met, `f` fetch, `z` question about a time zone.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SIGKILL = 9
_STACK = 512 * 1024
_OUT_OF_MEMORY = 3
"""The exit status that says so."""
_AROUND_THE_ENGINE = 160 * 1024 * 1024  # bytes of address space for the interpreter and for texts on their way

# Numbers of the system calls that computing, reading and writing pipes need; all others answer EPERM.
# read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn mremap madvise
# poll/ppoll select/pselect6 gettimeofday getrusage futex clock_gettime clock_nanosleep exit exit_group getrandom
# sched_yield restart_syscall setitimer
_ALLOWED = {
    "x86_64": (
        0xC000003E,
        "0 1 3 5 8 9 10 11 12 13 14 15 25 28 7 271 23 270 96 98 202 228 230 60 231 318 24 219 38",
        302,
    ),
    "aarch64": (
        0xC00000B7,
        "63 64 57 80 62 222 226 215 214 134 135 139 216 233 73 72 169 165 98 113 115 93 94 278 124 128 103",
        261,
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter(machine: str) -> bytes:
    """A seccomp program: only the calls of the table, and prlimit64 on oneself."""
    arch, allowed, prlimit = _ALLOWED[machine]
    load, equal, give = 0x20, 0x15, 0x06
    refuse, allow = (give, 0, 0, 0x00050001), (give, 0, 0, 0x7FFF0000)
    program = [(load, 0, 0, 4), (equal, 1, 0, arch), refuse, (load, 0, 0, 0)]
    for number in allowed.split():
        program += [(equal, 0, 1, int(number)), allow]
    program += [(equal, 1, 0, prlimit), refuse, (load, 0, 0, 16), (equal, 1, 0, 0), refuse, allow]
    return b"".join(struct.pack("HBBI", *line) for line in program)


def _lock_down(memory: int) -> None:
    """Gives up everything but computing and the two pipes, as far as the platform knows how."""
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 3,
        "RLIMIT_AS": memory + _AROUND_THE_ENGINE,
    }
    for name, most in limits.items():
        if hasattr(resource, name) and (name != "RLIMIT_AS" or sys.platform == "linux"):
            resource.setrlimit(getattr(resource, name), (most, most))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.uname().machine in _ALLOWED:
        code = _filter(os.uname().machine)
        program = _Program(len(code) // 8, code)
        libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0)


def die_with(parent: int) -> None:
    """Lets the process end as soon as the one that started it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


class Pipes:
    """Frames in and out. What comes while an answer is awaited is kept."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def send(self, frame: bytes) -> None:
        """Sends a frame; waits while nobody reads."""
        data = memoryview(struct.pack(">I", len(frame)) + frame)
        while data:
            data = data[os.write(1, data) :]

    def receive(self, timeout: float | None = None) -> bytes | None:
        """The next frame; None when none begins in time. Ends the process when the parent has gone."""
        if self._kept:
            return self._kept.pop(0)
        if timeout is not None and not select.select([0], [], [], timeout)[0]:
            return None
        return self._read()

    def answer(self, kind: bytes) -> bytes:
        """The next frame of a kind."""
        while True:
            frame = self._read()
            if frame[:1] == kind:
                return frame
            self._kept.append(frame)

    def forget(self) -> None:
        """Drops what was kept."""
        self._kept.clear()

    def _read(self) -> bytes:
        (size,) = struct.unpack(">I", self._exactly(4))
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            part = os.read(0, min(size, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class _Engine:
    """One JavaScript context with the bridge in it, for one script."""

    def __init__(self, quickjs: Any, source: str, limits: dict[str, int], pipes: Pipes) -> None:
        self._limits, self._pipes = limits, pipes
        self._context: Any = quickjs.Context()
        self._context.set_memory_limit(limits["memory"])
        self._context.set_max_stack_size(_STACK)
        self._context.add_callable("__host", self._host)
        self._bridge: Any = self._context.eval(source)

    def close(self) -> None:
        """Frees the context: it holds `_host`, so this object, which holds the context."""
        self._bridge = self._context = None

    def _host(self, name: str, text: str) -> str:
        """Answers the bridge's immediate requests. Never raises: the engine would lose its own state."""
        if name == "limits":
            return json.dumps(self._limits)
        if name == "random":
            return os.urandom(int(text)).hex()
        if name == "hashes":
            return json.dumps(list(hashing.HASHES))
        if name in hashing.OPERATIONS:
            return hashing.answer(name, text)
        self._pipes.send(b"z" + text.encode("utf-8", "replace"))
        return str(json.loads(self._pipes.answer(b"z")[1:]))

    def run(self, script: bytes) -> bytes:
        """The frame that the script ends with."""
        self._bridge("start", script.decode())
        while True:
            while self._context.execute_pending_job():
                pass
            frame = self._bridge("step", "")
            if frame[0] == "w":
                self._wait(float(frame[1:]) / 1000 if frame[1:] else None)
            elif frame[0] == "f":
                self._pipes.send(frame.encode())
            elif frame[0] in "dxl":
                return frame.encode()
            elif frame[0] != "j":
                os._exit(1)  # a script has bent the bridge: this process is not used again

    def _wait(self, seconds: float | None) -> None:
        frame = self._pipes.receive(seconds)
        if frame is not None:
            self._bridge("deliver", frame[1:].decode())


def _outcome(engine: _Engine, script: bytes) -> bytes:
    try:
        return engine.run(script)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except Exception as error:  # the engine gave up: it is not used again
        if "out of memory" in str(error):
            os._exit(_OUT_OF_MEMORY)
        message = str(error).split("\n", 1)[0] or type(error).__name__
        return b"x" + json.dumps({"message": message, "line": None, "console": []}).encode()


def _allow_cpu(seconds: float) -> None:
    """Ends the process once it has computed for so long from now on; 0 takes that back."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def main(library: str, parent: str, text: str) -> None:
    """Serves scripts until the pipe ends. `library` is the engine's file, `text` the limits as JSON."""
    die_with(int(parent))
    limits = json.loads(text)
    loader = importlib.machinery.ExtensionFileLoader("_quickjs", library)
    spec = importlib.util.spec_from_file_location("_quickjs", library, loader=loader)
    assert spec
    quickjs = importlib.util.module_from_spec(spec)
    loader.exec_module(quickjs)
    parts = [path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "js").glob("*.js"))]
    source = "(() => {\n" + "\n".join(parts) + "\nreturn bridge;\n})()"
    os.nice(5)  # the server's own work comes first
    hashing.warm()
    time.localtime()  # reads the machine's time zone while files can still be read
    _lock_down(limits["memory"])
    pipes = Pipes()
    while True:
        engine = _Engine(quickjs, source, limits, pipes)
        script = pipes.answer(b"s")
        pipes.forget()  # answers to fetches that the script before did not wait for
        _allow_cpu(limits["cpu"])
        outcome = _outcome(engine, script[1:])
        _allow_cpu(0)
        pipes.send(outcome)
        engine.close()


def _beside(name: str) -> Any:
    """A module of this folder, which is not on the path of this process."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hashing = _beside("hashing")

if __name__ == "__main__":
    main(*sys.argv[1:])
