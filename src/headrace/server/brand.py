"""The look of this server's pages, read once at the start and public."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from headrace.brand.look import TYPES, Brand, Logo
from headrace.errors import NotFound

LOGO = "/api/v1/brand/logo"
Look = tuple[Brand, Logo | None]


@get("/api/v1/brand", summary="Name, colours and logo for pages", tags=["server"])
async def brand(request: Request[Any, Any, Any]) -> dict[str, str | None]:
    """`name`, `color` (the accent), `darkColor` (the same on dark ground) and `logo`, a path here or null."""
    look, logo = _look(request)
    return {"name": look.name, "color": look.color, "darkColor": look.on_dark, "logo": LOGO if logo else None}


@get(LOGO, opt={"refuses": (404,), "sends": sorted({*TYPES.values()})}, summary="The brand's logo", tags=["server"])
async def brand_logo(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The picture, if the brand has one."""
    _, logo = _look(request)
    if logo is None:
        raise NotFound("the brand of this server has no logo")
    headers = {
        "Cache-Control": "max-age=300",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",  # an SVG opened as a page
        "X-Content-Type-Options": "nosniff",
    }
    return Response(logo.content, media_type=logo.kind, headers=headers)


def _look(request: Request[Any, Any, Any]) -> Look:
    return request.app.state.look


ROUTES = (brand, brand_logo)
