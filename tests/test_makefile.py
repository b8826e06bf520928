"""The Makefile's set-up: `make run` and `make test` run the checkout's own code, whatever was installed by hand."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that `make` has set up: an environment without pip, and the stamps of its two kinds of set-up."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "server.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src/headrace").mkdir(parents=True)
    (tmp_path / "src/headrace/__init__.py").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True, timeout=60)
    (packages(tmp_path) / "editable.pth").write_text(f"{tmp_path}/src\n")
    for stamp in ("server", "dev"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def packages(checkout: Path) -> Path:
    return next((checkout / ".venv/lib").glob("python*/site-packages"))


def commands(checkout: Path, target: str) -> str:
    """The commands that `make` would run, without running them."""
    command = ["make", "--dry-run", target]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(("target", "extra"), [("run", "server"), ("test", "dev")])
def test_a_set_up_checkout_installs_nothing(checkout: Path, target: str, extra: str):
    done = commands(checkout, target)
    assert "pip install" not in done
    assert ("headrace serve" if target == "run" else "pytest") in done


@pytest.mark.parametrize(("target", "extra"), [("run", "server"), ("test", "dev")])
def test_a_copy_that_was_installed_by_hand_gives_way_to_the_checkout(checkout: Path, target: str, extra: str):
    (packages(checkout) / "editable.pth").unlink()
    shutil.copytree(checkout / "src/headrace", packages(checkout) / "headrace")
    assert f"--editable '.[{extra}]'" in commands(checkout, target)


@pytest.mark.parametrize(("target", "extra"), [("run", "server"), ("test", "dev")])
def test_an_uninstalled_package_is_installed_again(checkout: Path, target: str, extra: str):
    (packages(checkout) / "editable.pth").unlink()
    assert f"--editable '.[{extra}]'" in commands(checkout, target)


@pytest.mark.parametrize("changed", ["pyproject.toml", "server.lock"])
def test_new_dependencies_are_installed(checkout: Path, changed: str):
    newer = (checkout / ".venv/server").stat().st_mtime + 10
    os.utime(checkout / changed, (newer, newer))
    done = commands(checkout, "run")
    assert "--require-hashes --requirement server.lock" in done
    assert "--editable '.[server]'" in done


def test_the_lock_has_a_version_with_hashes_of_all_that_the_server_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / "server.lock").read_text()):
        name, version = re.split(r"==|[ ;\\]", entry)[:2]
        pins[name] = version
        assert "--hash=sha256:" in entry, name
    for text in (*project["dependencies"], *project["optional-dependencies"]["server"]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[wanted.name]), text
