"""The playground at `/` and the studio at `/studio`: files, read once at the start and served from memory."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from headrace.brand.look import Brand
from headrace.errors import NotFound
from headrace.server.brand import LOGO, Look

_TYPES: Final = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGE: Final = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
_SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class File(msgspec.Struct, frozen=True):
    """A file as it is sent, plain and packed."""

    kind: str
    content: bytes
    packed: bytes
    tag: str


class Pages:
    """Both pages and their files, whose address holds a digest of all: browsers keep them until they change."""

    def __init__(self, look: Look) -> None:
        brand, logo = look
        package = files("headrace")
        parts = {
            **_read(package / "server" / "static"),
            **_read(package / "server" / "studio", "studio/"),
            **_read(package / "sdk" / "esm", "sdk/"),
            "theme.css": theme(brand).encode(),
        }
        pages = {name: parts.pop(f"{name}index.html").decode() for name in ("", "studio/")}
        self.digest = sha256(b"".join(name.encode() + parts[name] for name in sorted(parts))).hexdigest()[:16]
        self.files = {name: _file(_TYPES[name.rpartition(".")[2]], content) for name, content in parts.items()}
        folder = f"static/{self.digest}"
        modules = sorted(name for name in parts if name.endswith(".js") and not name.startswith(("theme", "studio/")))
        values = {
            "name": escape(brand.name),
            "static": folder,
            "logo": LOGO.lstrip("/") if logo else f"{folder}/mark.svg",
            "modules": "".join(f'<link rel="modulepreload" href="{folder}/{name}">' for name in modules),
        }
        self.playground, self.studio = (_page(page, values) for page in pages.values())


def _page(text: str, values: Mapping[str, str]) -> File:
    for name, value in values.items():
        text = text.replace(f"[[{name}]]", value)
    return _file("text/html", text.encode())


def _read(folder: Traversable, path: str = "") -> dict[str, bytes]:
    """Every file below a folder, by its path in there."""
    found: dict[str, bytes] = {}
    for item in folder.iterdir():
        if item.is_dir():
            found |= _read(item, f"{path}{item.name}/")
        else:
            found[path + item.name] = item.read_bytes()
    return found


def _file(kind: str, content: bytes) -> File:
    return File(kind, content, gzip.compress(content, mtime=0), f'"{sha256(content).hexdigest()[:32]}"')


def theme(brand: Brand) -> str:
    """The brand's colours as CSS: the accent, and what is readable on it, on light and on dark ground."""
    colors = {"accent-light": brand.color, "accent-dark": brand.on_dark}
    lines = [f"--{name}: {color}; --on-{name}: {_readable_on(color)};" for name, color in colors.items()]
    return f":root {{ {' '.join(lines)} }}\n"


def _readable_on(color: str) -> str:
    """Black or white, whichever stands out more on a colour, by the formula of WCAG 2."""
    digits = color[1:] if len(color) == 7 else "".join(digit * 2 for digit in color[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#fff" if 1.05 / (light + 0.05) >= (light + 0.05) / 0.05 else "#000"


def _reply(request: Request[Any, Any, Any], file: File, **headers: str) -> Response[bytes]:
    every = {**_SAFE, "ETag": file.tag, "Vary": "Accept-Encoding", **headers}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=every)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(file.content, media_type=file.kind, headers=every)
    return Response(file.packed, media_type=file.kind, headers={**every, "Content-Encoding": "gzip"})


@get("/", summary="The playground", include_in_schema=False)
async def playground(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page that asks flows."""
    return _reply(request, request.app.state.pages.playground, **_PAGE)


@get("/studio", summary="The studio", include_in_schema=False)
async def studio(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page that draws flows."""
    return _reply(request, request.app.state.pages.studio, **_PAGE)


@get("/static/{digest:str}/{name:path}", summary="The pages' files", include_in_schema=False)
async def page_file(request: Request[Any, Any, Any], digest: str, name: str) -> Response[bytes]:
    """A file of this version. Raises NotFound for all others."""
    here: Pages = request.app.state.pages
    file = here.files.get(str(name).lstrip("/")) if digest == here.digest else None
    if file is None:
        raise NotFound("no page has such a file, or not any more: reload the page")
    return _reply(request, file, **{"Cache-Control": "public, max-age=31536000, immutable"})


ROUTES = (playground, studio, page_file)
