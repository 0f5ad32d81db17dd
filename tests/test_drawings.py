"""The drawings of the pages are those of the code, and every method has one and a place in its page."""
from pathlib import Path

import drawings
import pytest
from tenfold.factorization import METHODS

PAGES = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", drawings.DRAWINGS)
def test_a_drawing_is_that_of_the_code(name):
    assert (drawings.FOLDER / f"{name}.svg").read_text() == drawings.DRAWINGS[name](), "python tests/drawings.py"


def test_every_method_is_drawn_and_told():
    assert set(drawings.RANKS) == set(METHODS)
    lines = (PAGES / "forms.md").read_text().splitlines()
    assert {name for line in lines if line.startswith("## ") for name in line[3:].split(", ")} == set(METHODS)


def test_no_drawing_is_left_over_and_every_one_is_shown():
    assert {path.stem for path in drawings.FOLDER.iterdir()} == set(drawings.DRAWINGS)
    pages = "".join(path.read_text() for path in PAGES.glob("*.md"))
    assert all(f"](drawings/{name}.svg)" in pages for name in drawings.DRAWINGS)


def test_lines_join_what_a_stage_reads():
    stage = METHODS["monochromatic"].outline(drawings.CONVOLUTION, (4,)).stages[1]
    assert sorted(drawings.connections(stage)) == sorted((out // 2, out) for out in range(8))
