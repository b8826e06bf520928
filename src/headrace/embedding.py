"""The server for applications that mount it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.python_flow import PythonFlow

if TYPE_CHECKING:
    from headrace.server.embedded import EmbeddedApp


def asgi(*flows: PythonFlow | str, **settings: Any) -> EmbeddedApp:
    """The server as an ASGI application, with these flows in Python: functions, or files, folders and modules.

    Settings are those of the environment without their prefix, such as `data_dir`. Raises InvalidRequest. This call
    loads the server, which needs the extra `server`.
    """
    from headrace.server.embedded import EmbeddedApp

    return EmbeddedApp(flows, settings)
