"""Says which processes are alive. On a data folder, each holds a lock on a file of its own until it ends; the processes
on one PostgreSQL have rows (`storage/process_rows.py`)."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy import Connection

from headrace.errors import StorageError


class Presence(Protocol):
    """This process among those that share a database."""

    id: str
    """Never used again by another one."""
    retired: bool
    """True once others have taken this process for one that has ended: its runs are theirs, and it must give them up
    before it enters again."""

    @property
    def alone(self) -> bool:
        """True when certainly no other process is there."""
        ...

    def seen(self, c: Connection) -> bool:
        """True while the others take this process for alive; in a transaction, until its end."""
        ...

    def gone(self, owner: str) -> bool:
        """True for a process that has ended, as far as this one knows. Reads no table."""
        ...

    def departed(self, c: Connection, owners: Sequence[str]) -> list[str]:
        """Those of these processes, and of all that are known, that seem to have ended."""
        ...

    def retire(self, c: Connection, owner: str) -> bool:
        """Says in a transaction that writes whether a process has ended. If so, it is not `seen` any more."""
        ...

    async def beat(self) -> None:
        """Gives a sign of life. Raises StorageError."""
        ...

    def enter(self, c: Connection) -> None:
        """Lets a process that was retired be seen again, once `retired` is taken back too."""
        ...

    def close(self) -> None:
        """Says that this process has ended. Blocking. Raises StorageError."""
        ...


class FilePresence:
    """Implements Presence on a data folder. The lock goes with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Blocking. Raises StorageError."""
        self.id, self.retired = secrets.token_hex(8), False
        self._folder = folder / "processes"
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            draft = self._folder / f".{self.id}"  # locked before others look at it
            self._file = draft.open("w")
            _lock(self._file)
            draft.rename(self._folder / self.id)
        except OSError as error:
            raise StorageError(f"the data folder {str(folder)!r} cannot be used: {error.strerror}") from None

    @property
    def alone(self) -> bool:
        """See Presence."""
        names = [path.name for path in self._folder.iterdir() if not path.name.startswith(".")]
        return all(self.gone(name) for name in names if name != self.id)

    def seen(self, c: Connection) -> bool:
        """See Presence."""
        return (self._folder / self.id).exists()

    def gone(self, owner: str) -> bool:
        """See Presence. Removes the process's file."""
        if owner == self.id:
            return False
        path = self._folder / owner
        try:
            with path.open("r+") as file:
                if not _lock(file):
                    return False
        except FileNotFoundError:
            return True
        except OSError:  # it cannot be told
            return False
        path.unlink(missing_ok=True)
        return True

    def departed(self, c: Connection, owners: Sequence[str]) -> list[str]:
        """See Presence."""
        return [owner for owner in owners if self.gone(owner)]

    def retire(self, c: Connection, owner: str) -> bool:
        """See Presence."""
        return self.gone(owner)

    async def beat(self) -> None:
        """Nothing is to be done: the lock is the sign."""

    def enter(self, c: Connection) -> None:
        """Nothing is to be done: no process that holds its lock is ever retired."""

    def close(self) -> None:
        """Leaves the folder."""
        (self._folder / self.id).unlink(missing_ok=True)
        self._file.close()


def _lock(file: IO[str]) -> bool:
    """Takes the lock if it is free. Without such locks (Windows) every other process counts as gone."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def in_use(folder: Path) -> bool:
    """True when a living process is on the data folder. Changes nothing there, and can be asked from outside."""
    try:
        paths = [path for path in (folder / "processes").iterdir() if not path.name.startswith(".")]
    except OSError:  # nobody has ever been there
        return False
    return any(_held(path) for path in paths)


def _held(path: Path) -> bool:
    try:
        with path.open("r+") as file:
            return not _lock(file)
    except FileNotFoundError:
        return False
    except OSError:  # somebody else's file: it cannot be told
        return True
