"""The flows in Python of this process: read from files, folders and modules, and read again when these change.

Only whoever starts the server says where they are: nothing that comes over HTTP is ever imported. Each flow has a row
among the stored flows, so that it is listed, bound to a key and limited like any other, and its chats are kept.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from headrace.errors import FlowNotFound, InvalidRequest
from headrace.python_flow import PythonFlow
from headrace.schema import FlowRow
from headrace.storage.storage import Storage

PYTHON: Final = "PYTHON"
"""The type of flows that are written in Python."""
_GROUP: Final = "headrace.flows"
_LOOK_EVERY: Final = 0.5  # seconds
_logger = logging.getLogger("headrace.python")


class PythonFlows:
    """The flows by their ids. A file that cannot be read any more keeps the flows that it had."""

    def __init__(self, places: Sequence[str], flows: Sequence[PythonFlow] = ()) -> None:
        """`places` are files, folders, or modules as `package.module` or `package.module:name`."""
        self._places = places
        self._by_source: dict[str, list[PythonFlow]] = {"": list(flows)}
        self._seen: Mapping[Path, tuple[int, int]] = {}
        self.failures: dict[str, str] = {}
        """The traceback of each file that cannot be read as it is now."""

    def get(self, flow_id: str) -> PythonFlow:
        """The flow as its file is now. Raises FlowNotFound."""
        for flow in self.flows:
            if flow.id == flow_id:
                return flow
        raise FlowNotFound(f"the flow {flow_id!r} is written in Python, and this server was started without its file")

    @property
    def flows(self) -> list[PythonFlow]:
        """All of them."""
        return [flow for flows in self._by_source.values() for flow in flows]

    def load(self) -> None:
        """Reads everything. Blocking. Raises InvalidRequest for a place that is not there, or cannot be read."""
        self._seen = _stamps(self._places)
        for place in self._places:
            self._read(place)
            if failure := self.failures.get(place):
                raise InvalidRequest(f"the flows of {place!r} cannot be read: {failure}")
        for point in entry_points(group=_GROUP):
            self._by_source[point.value] = list(_flows_of({point.name: point.load()}))
        ids = [flow.id for flow in self.flows]
        if double := next((flow for flow in self.flows if ids.count(flow.id) > 1), None):
            raise InvalidRequest(f"two flows are called {double.name!r}: give one another name, or an id")

    async def watch(self, storage: Storage) -> None:
        """Reads what has changed, again and again. Ends when cancelled."""
        while self._places:
            await asyncio.sleep(_LOOK_EVERY)
            seen = await asyncio.to_thread(_stamps, self._places)
            if seen == self._seen:
                continue
            changed = {path for path in {*seen, *self._seen} if seen.get(path) != self._seen.get(path)}
            try:
                await asyncio.to_thread(self._read_again, changed)
                await self.store(storage)
            except Exception as error:  # the next look tries again
                _logger.warning("changed flows in Python cannot be taken: %s", error)
            else:
                self._seen = seen

    async def store(self, storage: Storage) -> None:
        """Gives each flow its row, and each row the flow's name and description. Raises StorageError."""
        await storage.refresh()
        rows = {row.id: row for row in await storage.flows()}
        for flow in self.flows:
            described = msgspec.json.encode({"nodes": [], "edges": [], "description": flow.description}).decode()
            row = rows.get(flow.id)
            if row is None:
                await storage.add_flow(FlowRow(flow.id, flow.name, described, PYTHON))
            elif (row.name, row.flowData) != (flow.name, described):
                await storage.change_flow(flow.id, {"name": flow.name, "flowData": described})

    def _read_again(self, changed: set[Path]) -> None:
        folders = {path.parent for path in changed}
        for name, module in list(sys.modules.items()):  # what a flow's file imports from beside it is read anew too
            if (file := getattr(module, "__file__", None)) and Path(file).parent in folders:
                del sys.modules[name]
        importlib.invalidate_caches()
        for place in self._places:
            self._read(place)
            if failure := self.failures.get(place):
                _logger.error("the flows of %s stay as they were, since it cannot be read: %s", place, failure)

    def _read(self, place: str) -> None:
        """Takes the flows of a place; those of before stay when it cannot be read."""
        try:
            self._by_source[place] = list(_read(place))
        except InvalidRequest as error:  # also while an editor puts a new file in the place of the old one
            self.failures[place] = str(error)
        except Exception as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
            said = traceback.format_exception_only(error)
            self.failures[place] = "\n" + "".join([*traceback.format_list(frames), *said]).strip()
        else:
            self.failures.pop(place, None)


def _read(place: str) -> Iterator[PythonFlow]:
    path = Path(place)
    if path.is_dir():
        for file in sorted(path.glob("*.py")):
            yield from _flows_of(vars(_module_of(file)))
    elif path.suffix == ".py":
        if not path.is_file():
            raise InvalidRequest(f"there is no file {place!r}")
        yield from _flows_of(vars(_module_of(path)))
    else:
        name, _, wanted = place.partition(":")
        found = vars(importlib.import_module(name))
        if wanted and not isinstance(found.get(wanted), PythonFlow):
            raise InvalidRequest(f"{name!r} has no flow {wanted!r}")
        yield from _flows_of({wanted: found[wanted]} if wanted else found)


def _module_of(file: Path) -> ModuleType:
    """The file as a module, read now, with its folder to import from."""
    file = file.resolve()
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(f"headrace_flows_{file.stem}", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # types in annotations are looked up there
    # Not the loader's own way: it goes by the second and the size that the cached bytecode was made of.
    exec(compile(file.read_bytes(), str(file), "exec"), vars(module))  # noqa: S102
    return module


def _flows_of(names: Mapping[str, object]) -> Iterator[PythonFlow]:
    """The flows among a module's names, each once."""
    found: list[PythonFlow] = []
    for value in names.values():
        if isinstance(value, PythonFlow) and value not in found:
            found.append(value)
            yield value


def _stamps(places: Sequence[str]) -> dict[Path, tuple[int, int]]:
    """Modification time and size of all Python files in the folders of the places."""
    stamps: dict[Path, tuple[int, int]] = {}
    for place in places:
        path = Path(place)
        folder = path if path.is_dir() else path.parent if path.suffix == ".py" else None
        for file in folder.glob("*.py") if folder else ():
            try:
                status = file.stat()
            except OSError:  # gone in this moment
                continue
            stamps[file] = (status.st_mtime_ns, status.st_size)
    return stamps
