"""The wheel that pip makes of this checkout, and an environment in which it is installed."""
from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from session_folder import made_once

ROOT = Path(__file__).parent.parent


def build(folder: Path) -> None:
    """From a copy of what git has, or would have: neither builds nor caches of this checkout are in it."""
    source = folder / "source"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    isolated = [] if os.environ.get("TENFOLD_ISOLATED") else ["--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", *isolated, "-w", folder, source]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel that pip makes."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the checkout")
    (found,) = made_once(tmp_path_factory, "wheel", lambda path: path.mkdir() or build(path)).glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """A fresh virtual environment in which the wheel is installed. What it needs is read from this one's, behind its own."""

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        (site,) = folder.glob("lib/python*/site-packages")
        command = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel]
        subprocess.run([*map(str, command)], check=True)
        (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        for script in (folder / "bin").iterdir():  # they name the folder, which has another name when it is complete
            if not script.is_symlink():
                script.write_bytes(script.read_bytes().replace(os.fsencode(folder), os.fsencode(folder.with_suffix(""))))

    return made_once(tmp_path_factory, "venv", make)
