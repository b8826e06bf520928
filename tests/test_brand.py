"""Headrace under another name: what the server's pages show of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from servers import Server, serving

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4"/></svg>'
BRAND = {"name": "Ciniter <Flow> & Co", "color": "#0A7", "darkColor": "#00ffaa", "logo": "logo.svg"}


def branded(folder: Path, **changed: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logo.svg").write_text(LOGO)
    (folder / "brand.json").write_text(json.dumps({**BRAND, **changed}))
    return folder / "brand.json"


def test_a_server_without_a_brand_file_says_our_own_name(server: Server) -> None:
    look = server.send("GET", "/api/v1/brand").json
    assert (look["name"], look["logo"]) == ("Headrace", None)
    assert server.send("GET", "/api/v1/brand/logo").status == 404
    assert "<title>Headrace API</title>" in server.send("GET", "/docs").text


def test_pages_show_the_brand_in_the_data_folder(tmp_path: Path) -> None:
    branded(tmp_path / "data")
    with serving(tmp_path / "data") as server:
        look = server.send("GET", "/api/v1/brand").json
        assert look == {"name": BRAND["name"], "color": "#0A7", "darkColor": "#00ffaa", "logo": "/api/v1/brand/logo"}
        logo = server.send("GET", look["logo"])
        assert (logo.text, logo.headers["Content-Type"]) == (LOGO, "image/svg+xml")
        assert "default-src 'none'" in logo.headers["Content-Security-Policy"]
        page = server.send("GET", "/docs").text
        assert "<title>Ciniter &lt;Flow&gt; &amp; Co API</title>" in page
        assert ":root { --accent: #0A7 }" in page
        assert '<img src="/api/v1/brand/logo" alt="">' in page
        assert server.send("GET", "/docs/openapi.json").json["info"]["title"] == BRAND["name"]


def test_every_worker_shows_the_brand_file_that_the_setting_names(tmp_path: Path) -> None:
    brand = branded(tmp_path / "elsewhere", darkColor="", logo="")
    with serving(tmp_path / "data", "--workers", "2", HEADRACE_BRAND=str(brand)) as server:
        for _ in range(4):  # each is a connection of its own
            look = server.send("GET", "/api/v1/brand").json
            assert look == {"name": BRAND["name"], "color": "#0A7", "darkColor": "#0A7", "logo": None}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"color": "red; } body { display: none"}, "color 'red; } body { display: none' must be written like"),
        ({"name": " "}, "name ' ' must be 1 to 80 printable characters"),
        ({"logo": "none.png"}, "none.png' cannot be read: No such file or directory"),
        ({"logo": "brand.json"}, "brand.json' must be one of .svg, .png"),
        ({"colour": "#fff"}, "unknown field `colour`"),
    ],
)
def test_a_server_does_not_start_with_a_wrong_brand_and_says_what_is_wrong(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    brand = branded(tmp_path, **changed)
    command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert str(brand.parent) in done.stderr
