"""Ten minutes as a new user: all of the page for them, in a fresh folder and environment, with the time of each step (``-s`` shows it)."""
from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from installed_wheel import installed, wheel  # noqa: F401 - fixtures

PAGE = Path(__file__).parent.parent / "docs" / "quick-start.md"
MAKE = "make.py"


def steps(text: str) -> list[tuple[str, str]]:
    """(kind, content) of what is to be done: a command, or Python; the first block of Python is a file."""
    found = []
    for kind, content in re.findall(r"^```(bash|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        found += [("bash", line) for line in content.splitlines()] if kind == "bash" else [("python", content)]
    return found


def test_the_page_has_every_step():
    commands = [content.split()[:2] for kind, content in steps(PAGE.read_text(encoding="utf-8")) if kind == "bash"]
    assert [words[1] for words in commands] == [MAKE, "inspect", "compile", "verify", "compress", "compile", "bench", "report"]


@pytest.mark.long
def test_a_new_user_gets_there(installed, tmp_path):  # noqa: F811
    pytest.importorskip("torch")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{installed / 'bin'}{os.pathsep}{environment['PATH']}", "TENFOLD_CACHE": str(tmp_path / "cache")}
    (make, *_), *rest = [(content, kind) for kind, content in steps(PAGE.read_text(encoding="utf-8"))]
    (tmp_path / MAKE).write_text(make)
    taken = []
    for content, kind in rest:
        begin = time.perf_counter()
        command = ["bash", "-c", content] if kind == "bash" else ["python", "-c", content]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800)
        taken.append((time.perf_counter() - begin, content if kind == "bash" else "load and run"))
        print(f"{taken[-1][0]:7.1f} s  {taken[-1][1]}", flush=True)
        assert done.returncode == 0, (content, done.stdout[-2000:], done.stderr[-2000:])
    print(f"{sum(seconds for seconds, _ in taken):7.1f} s  in all")
    report = json.loads((tmp_path / "small" / "report.json").read_text())
    assert report["after"]["ms"] < report["before"]["ms"] and report["search"]["verdict"]["drop"] <= 3
    for page in ("first.html", "report.html"):
        assert "<svg" in (tmp_path / page).read_text(encoding="utf-8")
