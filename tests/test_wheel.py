"""The wheel: everything that the checkout has is in it, and it works from a folder of its own."""
from __future__ import annotations

import os
import subprocess
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from installed_wheel import installed, wheel  # noqa: F401 - fixtures

ROOT = Path(__file__).parent.parent
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
CODE = {".py", ".cc", ".c", ".h", ".toml", ".jsonl", ".html", ".css", ".js", ".typed"}  # what a package may hold
pytestmark = pytest.mark.long


def run(python, *command, folder):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, [python, *command])], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_files_are_in_it(wheel):  # noqa: F811
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("tenfold/") for name in archive.namelist() if name.startswith("tenfold/")}
    here = {"py.typed", "__init__.py", "__main__.py"}
    for room in [*ROOMS, "tune_logs"]:
        files = (path for path in (ROOT / room).rglob("*") if path.suffix in CODE and "__pycache__" not in path.parts)
        here |= {str(path.relative_to(ROOT)) for path in files}
    assert packed == here


def test_the_metadata_says_what_it_is(wheel):  # noqa: F811
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        (entry,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        found, command = Parser().parsestr(archive.read(name).decode()), archive.read(entry).decode()
    assert found["Name"] == "tenfold" and found["License-Expression"] == "Apache-2.0" and found["Requires-Python"] == ">=3.10"
    assert "Typing :: Typed" in found.get_all("Classifier") and "Programming Language :: Python :: 3.13" in found.get_all("Classifier")
    assert {"torch", "rivals", "report", "tune", "cuda", "docs", "test"} <= set(found.get_all("Provides-Extra"))
    assert found["Description-Content-Type"] == "text/markdown" and "tenfold = tenfold.cli:main" in command


def test_it_works_outside_the_checkout(installed, tiny_file, tmp_path):  # noqa: F811
    python = installed / "bin" / "python"
    where = run(python, "-c", "import tenfold; print(tenfold.__file__)", folder=tmp_path).strip()
    assert Path(where).is_relative_to(installed) and ROOT not in Path(where).parents
    assert "zen4" in run(python, "-m", "tenfold", "targets", folder=tmp_path)
    run(python, "-m", "tenfold", "compress", tiny_file, "-o", "small", "--energy", "0.7", folder=tmp_path)
    assert "verified" in run(python, "-m", "tenfold", "compile", "small/model.onnx", "-o", "out", folder=tmp_path)
    run(python, "-m", "tenfold", "report", "small", "out", "-o", "r.html", folder=tmp_path)
    assert "<svg" in (tmp_path / "r.html").read_text(encoding="utf-8")
