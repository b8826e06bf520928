"""Brands as their users have them: packages that `headrace brand` wrote, installed by pip and by npm."""

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple


class Installed(NamedTuple):
    """Where a folder's programs find the packages: an interpreter, and a folder with `node_modules`."""

    python: str
    node: Path
    packages: Path


def shell(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def interpreter(folder: Path, wheels: list[Path]) -> str:
    """A virtual environment with the wheels in it, and what they need from the one that runs the tests."""
    shell(sys.executable, "-m", "venv", "--without-pip", str(folder), cwd=folder.parent)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "tests.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n"
    )  # its headrace is not seen: .pth files end here
    names = [str(wheel) for wheel in wheels]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
    shell(*pip, "install", "--no-index", "--no-compile", *names, cwd=folder.parent)
    return str(python)


def installed(folder: Path, packages: Path) -> Installed:
    """All packages of a folder, by pip and by npm, without a registry."""
    python = interpreter(folder / "venv", sorted(packages.glob("*.whl")))
    (folder / "package.json").write_text('{"private": true}')
    tarballs = [str(path) for path in sorted(packages.glob("*.tgz"))]
    shell("npm", "install", "--offline", "--no-audit", "--no-fund", *tarballs, cwd=folder)
    return Installed(python, folder, packages)
