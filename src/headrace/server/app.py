"""The application: all routes listed by hand, and what they share."""

from __future__ import annotations

from typing import Final

from litestar import Litestar, get
from litestar.datastructures import State
from litestar.openapi.config import OpenAPIConfig

from headrace import __version__
from headrace.runtime.local import Local
from headrace.server import (
    brand,
    builder,
    components,
    credentials,
    document_stores,
    drafts,
    executions,
    exports,
    flow_facts,
    flows,
    generator,
    health,
    keys,
    mcp_servers,
    messages,
    pages,
    predictions,
    runs,
    schedules,
    store_components,
    store_vectors,
    tools,
    uploads,
    variables,
    vectors,
    visitors,
    webhooks,
    widget,
)
from headrace.server.admission import Admission
from headrace.server.bodies import JsonRequest
from headrace.server.cors import Cors
from headrace.server.docs import DocsPage
from headrace.server.error_responses import HANDLERS, on_options
from headrace.server.head_requests import answering_head
from headrace.server.openapi import COMPONENTS, Document
from headrace.server.protocols import ag_ui, ai_sdk, mcp, openai_chat, openai_models, openai_responses
from headrace.server.rate_limits import RateLimiter
from headrace.settings import Settings


@get("/api/v1/settings", summary="What kind of server it is", tags=["server"])
async def kind() -> dict[str, str]:
    """The one setting that builders of flows ask for before anything else, with the word for a server without users."""
    return {"PLATFORM_TYPE": "open source"}


ROUTES: Final = (
    kind,
    *health.ROUTES,
    *predictions.ROUTES,
    *drafts.ROUTES,
    *openai_models.ROUTES,
    *openai_chat.ROUTES,
    *openai_responses.ROUTES,
    *ai_sdk.ROUTES,
    *ag_ui.ROUTES,
    *mcp.ROUTES,
    *mcp_servers.ROUTES,
    *runs.ROUTES,
    *widget.ROUTES,
    *visitors.ROUTES,
    *flows.ROUTES,
    *flow_facts.ROUTES,
    *exports.ROUTES,
    *builder.ROUTES,
    *generator.ROUTES,
    *components.ROUTES,
    *credentials.ROUTES,
    *variables.ROUTES,
    *keys.ROUTES,
    *messages.ROUTES,
    *tools.ROUTES,
    *executions.ROUTES,
    *webhooks.ROUTES,
    *schedules.ROUTES,
    *vectors.ROUTES,
    *document_stores.ROUTES,
    *store_components.ROUTES,
    *store_vectors.ROUTES,
    *uploads.ROUTES,
    *brand.ROUTES,
    *pages.ROUTES,
)


def create_app(settings: Settings, here: Local, look: brand.Look) -> Admission:
    """The ASGI application over a store and its runs. `here` must be working while the application serves; pages look
    like `look`."""
    app = Litestar(
        route_handlers=ROUTES,
        request_class=JsonRequest,
        before_request=on_options,
        exception_handlers=HANDLERS,  # type: ignore[arg-type]  # handlers take the exception they are listed for
        request_max_body_size=settings.max_body_mb * 1024 * 1024,
        openapi_config=OpenAPIConfig(
            title=look[0].name,
            version=__version__,
            path="/docs",
            components=COMPONENTS,
            render_plugins=[DocsPage(look), Document(path="/openapi.json")],
        ),
        state=State(
            {
                "local": here,
                "settings": settings,
                "look": look,
                "pages": pages.Pages(look),
                "limiter": RateLimiter(),
                "trusted": settings.trusted,
            }
        ),
    )
    return Admission(answering_head(Cors(app, here, settings.cors_origins)), settings)
