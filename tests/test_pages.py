"""The pages: links lead somewhere, paths in code marks are there, and README is one screen."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
ROOMS = ("frontends", "factorization", "quantization", "search", "passes", "codegen", "schedules", "targets", "runtime", "runner",
         "support", "plots", "reports", "training", "tuning", "cli", "tests", "examples", "docs", ".ci")
FROM = (ROOT, ROOT / "tests" / "benchmarks" / "results")  # docs/limits.md names results by their path in their folder


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http", "#"))]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_are_there(page):
    """`room/file.py`, and folders; what has a placeholder in capitals is an example."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = [path for path in re.findall(r"`([\w.]+/[\w./-]*)`", text) if path.split("/")[0] in ROOMS]
    files = [path for path in paths if not re.search(r"[A-Z]{4,}|\*", path)]
    assert [path for path in files if not any((folder / path).exists() for folder in FROM)] == []


def test_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_readme_has_the_two_commands_that_ci_runs():
    readme, script = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    assert "pip install -e . && python examples/compile.py" in readme and "python examples/compile.py" in script
    assert 'pip install -e ".[test]" && pytest' in readme and 'pip install --quiet -e ".[test,docs]"' in script and "\npytest\n" in script


@pytest.mark.parametrize("page", PAGES)
def test_commands_can_be_typed(page):
    """Nothing is left out of a command to get Tenfold, such as an address that a page does not know."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.findall(r"(?:git clone|pip install|docker pull)[^\n`]* \.\.\.", text)
