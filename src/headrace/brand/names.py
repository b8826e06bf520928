"""The names of a brand's packages, checked by the rules of Python, pip and npm before anything is written."""

from __future__ import annotations

import keyword
import re
import sys
from typing import Final
from urllib.parse import urlsplit

import msgspec

from headrace.errors import InvalidRequest

_DISTRIBUTION: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_NPM: Final = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[A-Za-z0-9~-][A-Za-z0-9._~-]*")
_VERSION: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}")
_TAKEN: Final = {"headrace", "headrace_sdk", "msgspec", "httpx2"}
_CLASS: Final = re.compile(r"[A-Z][A-Za-z0-9_]*")


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """A brand as programs name it: `pip install name`, `from module import cls`, `npm install npm`."""

    name: str
    cls: str
    npm: str
    version: str
    base_url: str
    display: str

    @property
    def module(self) -> str:
        """The Python package that is imported."""
        return re.sub(r"[-.]+", "_", self.name)

    @property
    def file(self) -> str:
        """The name as the names of wheels write it."""
        return re.sub(r"[-_.]+", "_", self.name).lower()

    @property
    def variables(self) -> str:
        """The prefix of the client's environment variables."""
        return self.module.upper()


def checked(names: Names, reserved: set[str]) -> Names:
    """The names, when all of them can be used; a class must not be one of `reserved`. Raises InvalidRequest."""
    _check_distribution(names)
    _check_npm(names.npm)
    cls, taken = names.cls, {names.cls, f"Async{names.cls}", f"{names.cls}Client"} & reserved
    if not _CLASS.fullmatch(cls) or keyword.iskeyword(cls):
        raise InvalidRequest(f"--class {cls!r} must be a name of ASCII letters and digits that begins with a capital")
    if taken:
        raise InvalidRequest(f"--class {cls!r} would hide the library's own {', '.join(sorted(taken))}")
    if not _VERSION.fullmatch(names.version):
        raise InvalidRequest(
            f"--version {names.version!r} must be three numbers like 1.0.0, which pip and npm both read"
        )
    _check_url(names.base_url)
    return names


def _check_distribution(names: Names) -> None:
    if not _DISTRIBUTION.fullmatch(names.name):
        raise InvalidRequest(
            f"--name {names.name!r} must be letters, digits, '-', '_' and '.', with a letter or digit at both ends"
        )
    module = names.module
    if not module.isidentifier() or keyword.iskeyword(module):
        raise InvalidRequest(f"--name {names.name!r}: Python cannot import a package called {module!r}")
    if module in sys.stdlib_module_names or names.file in _TAKEN:
        raise InvalidRequest(f"--name {names.name!r}: there is a package {module!r} already that the client needs")


def _check_npm(npm: str) -> None:
    if not _NPM.fullmatch(npm) or len(npm) > 214 or npm in ("node_modules", "favicon.ico"):
        raise InvalidRequest(
            f"--npm-name {npm!r} is no name for npm: use letters, digits, '-', '_' and '.', or @scope/name"
        )
    if npm == "headrace-sdk":
        raise InvalidRequest(f"--npm-name {npm!r} is the library's own name")


def _check_url(url: str) -> None:
    wrong = InvalidRequest(f"--base-url {url!r} must be an address like https://flows.example.com")
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise wrong from None
    if not known or not url.isascii() or not url.isprintable() or set(url) & set(" \"'*<>\\^`{|}"):
        raise wrong
    if "@" in parts.netloc or parts.query or parts.fragment:  # what is packed is read by everybody
        raise InvalidRequest("--base-url must hold no user, password, query or fragment")
