"""Every setting, once: its environment variable is `HEADRACE_` and its name in capitals."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from headrace.errors import InvalidRequest


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an operator. The table in docs/settings.md is made from this record."""

    data_dir: Annotated[str, _about("Folder for everything that the server keeps.")] = "~/.headrace"
    database_url: Annotated[
        str, _about("PostgreSQL database, as postgresql://user:password@host/name, in place of the data folder's own.")
    ] = ""
    secret_key: Annotated[
        str, _about("Key that credentials are sealed with, in place of the data folder's `secret.key`: 64 hex digits.")
    ] = ""
    host: Annotated[str, _about("Address to listen on. 0.0.0.0 listens on all of them.")] = "127.0.0.1"
    port: Annotated[int, _about("Port to listen on.")] = 3000
    tls_self_signed: Annotated[bool, _about("Serve HTTPS with a certificate that is made in the data folder.")] = False
    tls_names: Annotated[str, _about("Further names and addresses in that certificate: a comma list.")] = ""
    tls_cert: Annotated[str, _about("Serve HTTPS with the certificate in this file (PEM, its chain after it).")] = ""
    tls_key: Annotated[str, _about("The file with that certificate's key (PEM, without a password).")] = ""
    admin_key: Annotated[str, _about("API key with all permissions. Without it the first start makes one.")] = ""
    cors_origins: Annotated[str, _about("Web sites that may call every endpoint: a comma list, or *.")] = ""
    brand: Annotated[
        str,
        _about("Brand file: name, colours and logo of the pages. Without it `brand.json` in the data folder, if any."),
    ] = ""
    trusted_proxies: Annotated[str, _about("Addresses whose X-Forwarded-For is believed: a comma list.")] = ""
    allowed_hosts: Annotated[
        str, _about("Own services that flows may call: a comma list of host, host:port, address, network.")
    ] = ""
    allowed_databases: Annotated[
        str, _about("What SQL chains may read beside the data folder's `databases`: a comma list of folders and hosts.")
    ] = ""
    mcp_commands: Annotated[
        str, _about("Command lines that flows may start as MCP servers, whole: separated by semicolons.")
    ] = ""
    flows: Annotated[
        str, _about("Flows in Python: a comma list of files, folders and modules. They may do anything.")
    ] = ""
    fetch_timeout: Annotated[float, _about("Seconds that one request of a flow, a tool or a script may take.")] = 300.0
    max_body_mb: Annotated[int, _about("Largest request body, in MiB.")] = 50
    max_image_mb: Annotated[int, _about("Largest picture that comes with a question, in MiB.")] = 5
    max_file_mb: Annotated[int, _about("Largest other file that comes with a question or is attached, in MiB.")] = 50
    show_internals: Annotated[
        bool, _about("Show visitors what nodes of agent flows are told, give and keep, where the flow sets nothing.")
    ] = False
    workers: Annotated[int, _about("Processes that serve; any of them serves any stream.")] = 1
    keep_log_hours: Annotated[float, _about("Hours that every single event of an ended run is kept.")] = 24.0
    keep_log_mb: Annotated[int, _about("Disk for single events of ended runs, in MiB.")] = 1024
    slow_reader_timeout: Annotated[float, _about("Seconds without reading after which a reader is cut.")] = 30.0
    log: Annotated[Literal["text", "json"], _about("How lines of the log are written: text or json.")] = "text"
    header_timeout: Annotated[float, _about("Seconds that a connection, and a request's head, may take to begin.")] = (
        30.0
    )
    body_timeout: Annotated[float, _about("Seconds without any more of a request's body; 4 KiB/s in the long run.")] = (
        30.0
    )
    idle_timeout: Annotated[float, _about("Seconds that a connection may wait for its next request.")] = 75.0
    connections_per_address: Annotated[
        int, _about("Connections, and requests in progress, of one address at once, in each process.")
    ] = 1024
    first_event_wait: Annotated[
        float, _about("Seconds that a stream waits for its first event, so that an early failure has its own status.")
    ] = 4.0
    heartbeat: Annotated[float, _about("Seconds of silence after which a stream carries a comment.")] = 15.0
    shutdown_grace: Annotated[float, _about("Seconds that running predictions get to end when the server stops.")] = (
        10.0
    )
    provider_connect_timeout: Annotated[float, _about("Seconds to connect to a model.")] = 10.0
    provider_read_timeout: Annotated[float, _about("Seconds that a model may be silent.")] = 300.0
    provider_attempts: Annotated[int, _about("How often a call is tried while nothing of its answer has come.")] = 4

    @property
    def folder(self) -> Path:
        """The data folder as a path."""
        return Path(self.data_dir).expanduser()

    @property
    def python_flows(self) -> list[str]:
        """Files, folders and modules with flows in Python."""
        return [part.strip() for part in self.flows.split(",") if part.strip()]

    @property
    def trusted(self) -> frozenset[str]:
        """Addresses of proxies whose X-Forwarded-For is believed."""
        return frozenset(part.strip() for part in self.trusted_proxies.split(",") if part.strip())


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"HEADRACE_{name.upper()}"


def load(environ: Mapping[str, str] = os.environ, **flags: Any) -> Settings:
    """The settings from the environment, with `flags` that are not None in front. Raises InvalidRequest."""
    names = Settings.__struct_fields__
    values = {name: environ[variable(name)] for name in names if environ.get(variable(name))}
    values |= {name: value for name, value in flags.items() if value is not None}
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"a setting cannot be read: {error}") from None


def table() -> list[tuple[str, str, str]]:
    """Variable, default and description of every setting."""
    hints = get_type_hints(Settings, include_extras=True)
    return [
        (variable(field.name), str(field.default), hints[field.name].__metadata__[0].description)
        for field in msgspec.structs.fields(Settings)
    ]
