"""The page on troubleshooting quotes lines that are in the source."""
from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import tenfold

ROOT = Path(tenfold.__file__).parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE)


def texts(tree: ast.AST) -> list[str]:
    """All strings of a file, what stands in braces of f-strings as an ellipsis."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.fixture(scope="module")
def source() -> str:
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("tests", "examples", "docs", "build", "out")]
    return "\n".join(text for path in files for text in texts(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_line_that_is_quoted_is_in_the_source(source, quoted):
    """Its words between the ellipses, in some message each."""
    parts = [part.strip(" :") for part in re.split(r"…", quoted)]
    assert all(part in source for part in parts if part), [part for part in parts if part not in source]


def test_there_are_many():
    assert len(QUOTED) == len(set(QUOTED)) >= 40
