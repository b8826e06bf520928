"""Headrace under another name: what the server's pages show of it, and what its packages may be called."""

import ast
import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from servers import Server, serving

from headrace.brand.look import Logo, read_brand
from headrace.brand.names import Names, checked
from headrace.brand.npm import branded_tarball
from headrace.brand.python import RESERVED, branded_wheel, compatible, own_wheel
from headrace.cli import cli
from headrace.errors import InvalidRequest

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


def test_pages_of_every_worker_show_the_brand_in_the_data_folder(tmp_path: Path) -> None:
    branded(tmp_path / "data")
    shown = {"name": BRAND["name"], "color": "#0A7", "darkColor": "#00ffaa", "logo": "/api/v1/brand/logo"}
    with serving(tmp_path / "data", "--workers", "2") as server:
        looks = [server.send("GET", "/api/v1/brand").json for _ in range(4)]  # each is a connection of its own
        assert looks == [shown] * 4
        look = looks[0]
        logo = server.send("GET", look["logo"])
        assert (logo.text, logo.headers["Content-Type"]) == (LOGO, "image/svg+xml")
        assert "default-src 'none'" in logo.headers["Content-Security-Policy"]
        page = server.send("GET", "/docs").text
        assert "<title>Ciniter &lt;Flow&gt; &amp; Co API</title>" in page
        assert ":root { --accent: #0A7 }" in page
        assert '<img src="/api/v1/brand/logo" alt="">' in page
        assert server.send("GET", "/docs/openapi.json").json["info"]["title"] == BRAND["name"]
        playground = server.send("GET", "/").text
        assert "<title>Ciniter &lt;Flow&gt; &amp; Co playground</title>" in playground
        assert 'src="api/v1/brand/logo"' in playground
        theme = server.send("GET", "/" + re.findall(r"static/[^\"]+theme\.css", playground)[0]).text
        assert "--accent-light: #0A7; --on-accent-light: #000;" in theme


def test_a_brand_without_a_dark_colour_has_one_on_both_grounds(tmp_path: Path) -> None:
    shown, logo = read_brand(str(branded(tmp_path, darkColor="", logo="")), tmp_path / "data")
    assert (shown.color, shown.on_dark, logo) == ("#0A7", "#0A7", None)


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
def test_a_wrong_brand_is_refused_with_what_is_wrong(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    brand = branded(tmp_path, **changed)
    with pytest.raises(InvalidRequest, match=re.escape(said)) as caught:
        read_brand("", tmp_path)
    assert str(brand.parent) in str(caught.value)


def test_a_server_does_not_start_with_a_wrong_brand_in_the_file_that_the_setting_names(tmp_path: Path) -> None:
    brand = branded(tmp_path / "elsewhere", name=" ")
    command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(tmp_path)]
    environ = {**os.environ, "HEADRACE_BRAND": str(brand)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"Error: the brand file {str(brand)!r} is wrong: the brand's name ' ' must be 1 to 80 printable characters\n"
    )


# Packages


PLAIN = Names(
    name="ciniterflow",
    cls="CiniterFlow",
    npm="ciniterflow-sdk",
    version="1.2.3",
    base_url="https://flows.example:8443/base",
    display="Ciniter Flow",
)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "ciniter flow"}, "--name 'ciniter flow' must be letters, digits"),
        ({"name": "-flow"}, "must be letters, digits"),
        ({"name": "flöw"}, "must be letters, digits"),
        ({"name": "3flow"}, "Python cannot import a package called '3flow'"),
        ({"name": "class"}, "Python cannot import a package called 'class'"),
        ({"name": "json"}, "there is a package 'json' already"),
        ({"name": "Headrace"}, "there is a package 'Headrace' already"),
        ({"cls": "Flow; import os"}, "--class 'Flow; import os' must be a name"),
        ({"cls": "flow"}, "that begins with a capital"),
        ({"cls": "True"}, "must be a name"),
        ({"cls": "Headrace"}, "would hide the library's own AsyncHeadrace, Headrace"),
        ({"cls": "Stream"}, "would hide the library's own AsyncStream, Stream"),
        ({"npm": "../flow"}, "--npm-name '../flow' is no name for npm"),
        ({"npm": ".flow"}, "is no name for npm"),
        ({"npm": "@acme"}, "is no name for npm"),
        ({"npm": "f" * 215}, "is no name for npm"),
        ({"npm": "headrace-sdk"}, "is the library's own name"),
        ({"version": "1.0"}, "--version '1.0' must be three numbers"),
        ({"version": "1.0.0-rc.1"}, "must be three numbers"),
        ({"base_url": "flows.example"}, "--base-url 'flows.example' must be an address like"),
        ({"base_url": "https://x:99999"}, "must be an address like"),
        ({"base_url": 'https://x/"+require("fs")+"'}, "must be an address like"),
        ({"base_url": "https://x/\n"}, "must be an address like"),
        ({"base_url": "https://ann:secret@x"}, "--base-url must hold no user, password"),
    ],
)
def test_names_that_python_pip_or_npm_do_not_take_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(said)):
        checked(msgspec.structs.replace(PLAIN, **changed), RESERVED)


def test_a_name_with_a_hyphen_is_imported_with_an_underscore() -> None:
    names = checked(msgspec.structs.replace(PLAIN, name="Acme.Flow-2", npm="@acme/flow"), RESERVED)
    assert (names.module, names.file, names.variables) == ("Acme_Flow_2", "acme_flow_2", "ACME_FLOW_2")
    assert branded_tarball(names)[0] == "acme-flow-1.2.3.tgz"


def test_whatever_the_brand_is_called_is_text_in_the_packages_and_nothing_else() -> None:
    display = 'A """ + exit(1) # \\" */ process.exit(1) /* `${x}`'
    names = checked(msgspec.structs.replace(PLAIN, display=display), RESERVED)
    with zipfile.ZipFile(io.BytesIO(branded_wheel(names)[1])) as wheel:
        tree = ast.parse(wheel.read("ciniterflow/__init__.py"))
        assert f"Summary: Client of {display}: asks" in wheel.read("ciniterflow-1.2.3.dist-info/METADATA").decode()
    assert ast.get_docstring(tree) == f"Client of {display}."
    kinds = [type(part) for part in tree.body]
    assert kinds == [ast.Expr, ast.ImportFrom, ast.ImportFrom, ast.Assign, ast.ClassDef, ast.ClassDef]
    with tarfile.open(fileobj=io.BytesIO(branded_tarball(names)[1])) as tarball:
        texts = {member.name: read(tarball, member) for member in tarball.getmembers()}
    assert json.loads(texts["package/package.json"])["description"].startswith(f"Client of {display}:")
    assert all(display not in text for name, text in texts.items() if name.endswith(".js"))
    comments = re.sub(r"/\*\*.*?\*/", "", texts["package/dist/esm/index.d.ts"], flags=re.DOTALL)
    assert "exit" not in comments


def read(tarball: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tarball.extractfile(member)
    assert file
    return file.read().decode()


def test_the_same_names_give_the_same_bytes() -> None:
    assert branded_wheel(PLAIN) == branded_wheel(PLAIN)
    assert branded_tarball(PLAIN) == branded_tarball(PLAIN)


def test_every_file_of_a_wheel_has_its_digest_in_the_record() -> None:
    for _, content in (branded_wheel(PLAIN), own_wheel()):
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            (record,) = [name for name in wheel.namelist() if name.endswith(".dist-info/RECORD")]
            rows = {row[0]: row[1:] for row in csv.reader(wheel.read(record).decode().splitlines())}
            assert set(rows) == set(wheel.namelist())
            for name in set(rows) - {record}:
                digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
                assert rows[name] == [f"sha256={digest}", str(wheel.getinfo(name).file_size)]


@pytest.mark.parametrize(("version", "range_"), [("0.4.2", "<0.5,>=0.4.2"), ("3.1.0", "<4,>=3.1.0")])
def test_a_package_keeps_to_the_versions_that_promise_to_be_compatible(version: str, range_: str) -> None:
    assert compatible(version) == range_


def test_the_command_writes_a_brand_file_that_a_server_takes(tmp_path: Path) -> None:
    (tmp_path / "Mark.SVG").write_text(LOGO)
    look = ["--display-name", "Ciniter Flow", "--color", "#0b7a5f", "--logo", str(tmp_path / "Mark.SVG")]
    out = tmp_path / "dist"
    named = ["--name", "ciniterflow", "--class", "CiniterFlow", "--out", str(out)]
    done = CliRunner().invoke(cli, ["brand", *named, *look])
    assert (done.exit_code, done.exception) == (0, None)
    assert f"put into its data folder: {out}/brand.json, {out}/logo.svg" in done.output
    shown, logo = read_brand(str(out / "brand.json"), tmp_path)
    assert (shown.name, shown.color, logo) == ("Ciniter Flow", "#0b7a5f", Logo(LOGO.encode(), "image/svg+xml"))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--logo", "none.svg", "the logo 'none.svg' cannot be read"),
        ("--color", "blue", "the brand's color 'blue' must be written like '#0b6e99'"),
        ("--class", "flow", "--class 'flow' must be a name"),
    ],
)
def test_the_command_writes_nothing_when_something_is_wrong(tmp_path: Path, option: str, value: str, said: str) -> None:
    out = tmp_path / "dist"
    named = ["--name", "ciniterflow", "--class", "CiniterFlow", "--out", str(out)]
    done = CliRunner().invoke(cli, ["brand", *named, option, value])
    assert done.exit_code == 1
    assert said in done.output
    assert not out.exists()
