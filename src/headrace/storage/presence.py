"""Says which processes on a data folder are alive: each holds a lock on a file of its own until it ends."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import IO

from headrace.errors import StorageError


class Presence:
    """This process. Its lock goes with it, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Blocking. Raises StorageError."""
        self.id = secrets.token_hex(8)
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
        """True when no other process is on the data folder."""
        names = [path.name for path in self._folder.iterdir() if not path.name.startswith(".")]
        return all(self.gone(name) for name in names if name != self.id)

    @property
    def seen(self) -> bool:
        """True while the others take this process for alive."""
        return (self._folder / self.id).exists()

    def gone(self, owner: str) -> bool:
        """True for a process that has ended. Removes its file."""
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
