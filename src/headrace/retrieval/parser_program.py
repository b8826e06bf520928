"""The program of a child process that parses files and pages: jobs in, results out, as `readers` sends and reads them.

A process of its own, since nothing else bounds the memory of a parser, or ends one that computes for hours. A frame in
is a pickled job of the parent, which is trusted. Frames out: `i` a JSON list of results, `d` done, `f` it cannot be
read, with the reason, `o` it cannot be opened, `x` the parser failed.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.sandbox.program import Pipes

OUT_OF_MEMORY = 3
"""The exit status that says so."""
_FRAME = 1 << 20  # bytes of results that are sent together


class Job:
    """Work as it is sent: a function without arguments that gives results, and seconds of computing that it has."""

    def __init__(self, work: Callable[[], Iterator[Any]], cpu: float) -> None:
        self.work, self.cpu = work, cpu


def _results(work: Callable[[], Iterator[Any]]) -> Iterator[bytes]:
    """The frames of a job, each with as many results as fit."""
    import msgspec

    held: list[bytes] = []
    size = 0
    for result in work():
        held.append(msgspec.json.encode(result))
        size += len(held[-1])
        if size >= _FRAME:
            yield b"i[" + b",".join(held) + b"]"
            held, size = [], 0
    if held:
        yield b"i[" + b",".join(held) + b"]"


def _serve(pipes: Pipes, job: Job) -> None:
    from headrace.errors import FlowError

    signal.setitimer(signal.ITIMER_PROF, job.cpu)  # whose signal ends the process
    try:
        for frame in _results(job.work):
            pipes.send(frame)
        last = b"d"
    except FlowError as error:
        last = b"f" + str(error).encode("utf-8", "replace")
    except OSError as error:
        last = b"o" + (error.strerror or str(error)).encode("utf-8", "replace")
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:  # whatever a parser stumbles over ends its job, and is told to whoever sent it
        last = b"x" + f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace")
    signal.setitimer(signal.ITIMER_PROF, 0)
    pipes.send(last)


def main(parent: str, memory: str, path: str) -> None:
    """Serves jobs until the pipe ends. `memory` is bytes of address space, `path` the parent's import path as JSON."""
    sys.path[:] = json.loads(path)
    from headrace.sandbox.program import Pipes, die_with

    die_with(int(parent))
    os.nice(5)  # the server's own work comes first
    for name, most in (("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0), ("RLIMIT_AS", int(memory))):
        if name != "RLIMIT_AS" or sys.platform == "linux":
            resource.setrlimit(getattr(resource, name), (most, most))
    pipes = Pipes()
    while frame := pipes.receive():
        _serve(pipes, pickle.loads(frame))  # noqa: S301  # the parent's own


if __name__ == "__main__":
    main(*sys.argv[1:])
