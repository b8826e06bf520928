"""What the processes of `test_readers.py` do: functions of a module that they can import."""

import os
import signal
from collections.abc import Iterator

from headrace.errors import FlowError


def spun() -> Iterator[int]:
    while True:
        pass


def filled() -> Iterator[int]:
    yield len([bytearray(1 << 20) for _ in range(4096)])


def endless() -> Iterator[str]:
    while True:
        yield "a" * 1000


def broken() -> Iterator[int]:
    yield 1 // 0


def crashed() -> Iterator[int]:
    os.kill(os.getpid(), signal.SIGSEGV)
    yield 1


def refused() -> Iterator[int]:
    yield 1
    raise FlowError("it is no such file")


def lied() -> Iterator[str]:
    yield "no number"


def own_pid() -> Iterator[int]:
    yield os.getpid()
