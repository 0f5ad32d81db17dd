"""Every command is on the page of the commands."""
from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def names() -> list[str]:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "tests" / "benchmarks" / "commands.py")
    commands = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(commands)
    return commands.command_names()


def test_the_page_has_every_command():
    found = names()
    assert {"report", "compile", "device build"} <= set(found)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in found if not re.search(rf"^\| `{name}\b", page, re.MULTILINE)] == []
