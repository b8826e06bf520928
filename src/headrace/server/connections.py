"""Closes unused connections: silent ones, those whose reader takes nothing, and too many of one address.

The server below us has no such limits, and counts a connection that says nothing like any other. So once a second we
look at the sockets of this process that were accepted on the server's port, and ask the kernel how far each has got.
Where the kernel cannot be asked so (not Linux), only the limits of requests hold.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import struct
import sys
import termios
from collections import defaultdict
from collections.abc import Iterator
from time import monotonic
from typing import Final

from headrace.server.admission import Admission, Peer
from headrace.server.rate_limits import block_of
from headrace.settings import Settings

_logger = logging.getLogger("headrace.connections")
_FOLDER: Final = "/proc/self/fd"
_EVERY: Final = 1.0  # seconds between looks
_FULL, _EASED = 0.9, 0.75  # of all connections: above the one, idle ones are closed down to the other
_ACKNOWLEDGED: Final = struct.Struct("=120xQ")  # where `struct tcp_info` has the bytes that the other end has taken
_UNTAKEN: Final = 256 * 1024  # bytes that the kernel keeps for a reader; left alone, it keeps megabytes
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # linger: what was not taken is thrown away


class Connection:
    """An accepted connection."""

    def __init__(self, fd: int, inode: int, peer: Peer, now: float) -> None:
        self.fd, self.inode, self.peer = fd, inode, peer
        self.block = block_of(peer[0])
        self.idle_since: float = now
        """When it was accepted, or had its last request."""
        self.used = False
        """It has had a request."""
        self.taken = -1
        """Bytes that the other end has taken."""
        self.stuck_since: float | None = None
        """Since when the other end takes nothing of what waits for it."""

    def look(self, now: float) -> None:
        """Asks the kernel how far it has got. Raises OSError when it is closed."""
        waiting = struct.unpack("i", fcntl.ioctl(self.fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        if not waiting:
            self.stuck_since = None
            return
        (taken,) = _ACKNOWLEDGED.unpack(_option(self.fd, socket.TCP_INFO, _ACKNOWLEDGED.size))
        if self.stuck_since is None or taken != self.taken:
            self.taken, self.stuck_since = taken, now

    def close(self) -> None:
        """Ends the connection at once; the server below notices."""
        try:
            with socket.socket(fileno=os.dup(self.fd)) as own:
                if os.fstat(own.fileno()).st_ino == self.inode:  # the number may be another file's by now
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                    own.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already


def _option(fd: int, name: int, size: int) -> bytes:
    with socket.socket(fileno=os.dup(fd)) as own:
        return own.getsockopt(socket.IPPROTO_TCP, name, size)


class Connections:
    """The connections of this process to its server's port."""

    def __init__(self, settings: Settings, admission: Admission, most: int) -> None:
        self._settings, self._admission, self._most = settings, admission, most
        self._here: dict[int, Connection] = {}
        self._others: set[int] = set()
        """Inodes of sockets that are something else."""

    async def watch(self) -> None:
        """Looks every second. Ends when cancelled, or where there is nothing to look at."""
        while sys.platform == "linux":
            try:
                self._look(monotonic())
            except Exception:  # one odd socket must not end the watch
                _logger.exception("the connections could not be looked at")
            await asyncio.sleep(_EVERY)

    def _look(self, now: float) -> None:
        self._find(now)
        for connection in [c for c in self._here.values() if self._over(c, now)]:
            self._close(connection)
        idle = sorted((c for c in self._here.values() if not self._busy(c)), key=lambda c: c.idle_since)
        counts: defaultdict[str, int] = defaultdict(int)
        for connection in self._here.values():
            counts[connection.block] += 1
        full = len(self._here) > self._most * _FULL
        for connection in idle:  # those that have waited longest go first
            crowded = counts[connection.block] > self._settings.connections_per_address
            if (crowded and connection.peer[0] not in self._settings.trusted) or (
                full and len(self._here) > self._most * _EASED
            ):
                counts[connection.block] -= 1
                self._close(connection)

    def _find(self, now: float) -> None:
        """Learns of new connections, and forgets those that are gone."""
        sockets = dict(_sockets())
        self._others &= sockets.keys()
        self._here = {inode: found for inode, found in self._here.items() if sockets.get(inode) == found.fd}
        for inode, fd in sockets.items():
            if inode not in self._here and inode not in self._others:
                peer = _peer(fd, self._settings.port)
                if peer:
                    self._here[inode] = Connection(fd, inode, peer, now)
                else:
                    self._others.add(inode)
        seen, self._admission.seen = self._admission.seen, set()
        for connection in self._here.values():
            if connection.peer in seen or self._busy(connection):
                connection.used, connection.idle_since = True, now

    def _busy(self, connection: Connection) -> bool:
        return connection.peer in self._admission.busy

    def _over(self, connection: Connection, now: float) -> bool:
        """True when its time is over."""
        try:
            connection.look(now)
        except OSError:
            return True
        if connection.stuck_since is not None:
            return now - connection.stuck_since > self._settings.slow_reader_timeout
        settings = self._settings
        return now - connection.idle_since > (settings.idle_timeout if connection.used else settings.header_timeout)

    def _close(self, connection: Connection) -> None:
        connection.close()
        self._here.pop(connection.inode, None)


def _sockets() -> Iterator[tuple[int, int]]:
    """Inode and number of every open socket of this process."""
    for name in os.listdir(_FOLDER):
        try:
            found = os.fstat(int(name))
        except OSError:  # closed meanwhile
            continue
        if found.st_mode & 0o170000 == 0o140000:
            yield found.st_ino, int(name)


def _peer(fd: int, port: int) -> Peer | None:
    """The other end of a connection that was accepted on a port; None for any other socket.

    The socket that listens there gets its limits.
    """
    try:
        with socket.socket(fileno=os.dup(fd)) as own:
            if own.family not in (socket.AF_INET, socket.AF_INET6) or own.getsockname()[1] != port:
                return None
            if own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNTAKEN)  # accepted connections inherit it
                return None
            return own.getpeername()[:2]
    except OSError:
        return None
