"""Origins as people write them, in both places where they are configured."""

from pathlib import Path

import pytest
from servers import Server, conversation, serving
from upstream import Upstream

from headrace.server.origins import Sites

SPELT = [
    "https://x.example",
    "https://x.example/",
    "https://X.Example",
    "https://x.example:443",
    "HTTPS://x.example:443/",
    '"https://x.example"',
    "'https://x.example'",
    "  https://x.example\n",
    "https://x.example/chat?a=b#c",
    "https://x.example.",
    "x.example",
    "x.example:443",
    "*",
]


@pytest.mark.parametrize("written", SPELT)
@pytest.mark.parametrize("any_scheme", [False, True])
def test_a_site_is_recognised_however_it_is_written(written: str, any_scheme: bool) -> None:
    assert Sites(["https://other.example", written], any_scheme=any_scheme).allow("https://x.example")


@pytest.mark.parametrize(
    "written",
    [
        "https://x.example:8443",
        "https://x.example.evil",
        "https://evil-x.example",
        "https://x.exampl",
        "https://user@y.example/x.example",
        "https://x.example:port",
        "https://",
        "",
        "null",
    ],
)
def test_another_site_is_not_taken_for_it(written: str) -> None:
    for any_scheme in (False, True):
        assert not Sites([written], any_scheme=any_scheme).allow("https://x.example")


@pytest.mark.parametrize(
    ("written", "origin", "allowed"),
    [
        ("http://x.example:80", "http://x.example", True),
        ("http://x.example:8080/", "http://x.example:8080", True),
        ("https://x.example", "http://x.example", False),
        ("http://x.example:443", "https://x.example", False),
        ("https://münchen.example", "https://xn--mnchen-3ya.example", True),
        ("https://xn--mnchen-3ya.example/", "https://xn--mnchen-3ya.example", True),
        ("http://[::1]:3000/", "http://[::1]:3000", True),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3000", True),
        ("https://x.example", "null", False),
        ("https://x.example", "https://x.example@evil.example", False),
        ("https://x.example", "not a site", False),
    ],
)
def test_origins_are_compared_whole(written: str, origin: str, allowed: bool) -> None:
    assert Sites([written]).allow(origin) is allowed


@pytest.mark.parametrize("written", SPELT[:6])
def test_a_flow_names_sites_in_any_spelling(server: Server, upstream: Upstream, written: str) -> None:
    flow = server.create_flow(conversation(upstream.url), chatbotConfig={"allowedOrigins": [written]})
    for origin, status in (("https://x.example", 200), ("https://x.example:444", 403)):
        reply = server.send("POST", f"/api/v1/prediction/{flow}", {"question": "/say Hi"}, {"Origin": origin})
        assert reply.status == status


def test_the_setting_takes_a_compose_files_quotes_around_the_whole_list(tmp_path: Path) -> None:
    setting = {"HEADRACE_CORS_ORIGINS": '"https://X.example/, https://y.example:443"'}
    with serving(tmp_path / "data", **setting) as server:
        for origin in ("https://x.example", "https://y.example"):
            reply = server.send("GET", "/api/v1/variables", headers={"Origin": origin})
            assert reply.headers["Access-Control-Allow-Origin"] == origin
        other = server.send("GET", "/api/v1/variables", headers={"Origin": "https://z.example"})
        assert other.headers["Access-Control-Allow-Origin"] is None
