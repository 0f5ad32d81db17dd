"""The Dockerfile names what is there: packages that the tests ask for elsewhere, extras of the project, commands of `tenfold`."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")
ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_it_installs_what_compiling_needs():
    from tenfold.runner.devices.emulated import INSTALL
    from tenfold.targets.architectures import ARCHITECTURES

    installed = set(re.search(r"--no-install-recommends ([\w +-]+)", TEXT)[1].replace("\\", "").split())
    assert installed >= {"g++", "qemu-user"} and "qemu-user" in INSTALL
    assert installed >= {f"g++-{each.name}-linux-gnu".replace("_", "-") for each in ARCHITECTURES if each.name == "aarch64"}


def test_its_python_and_extras_are_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = re.search(r"^FROM python:(3\.\d+)-slim$", TEXT, re.MULTILINE)[1]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    extras = re.search(r'/src/tenfold\[([\w,]+)\]', TEXT)[1].split(",")
    assert set(extras) <= project["optional-dependencies"].keys()


def test_what_it_leaves_out_is_not_needed_to_install():
    left = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    files = {"pyproject.toml", "setup.py", "README.md", "LICENSE", "tune_logs", "py.typed"}
    needed = files | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert not needed & set(left)
