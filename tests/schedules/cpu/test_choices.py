"""What the cost models choose for the committed shapes is what was reviewed."""
from __future__ import annotations

import difflib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from choices import COMMAND, lines, snapshot, targets


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", targets())
def test_choices_are_those_that_were_reviewed(name):
    kept, found = snapshot(name).read_text().splitlines(), lines(targets()[name]).splitlines()
    changed = [line for line in difflib.unified_diff(kept, found, "reviewed", "now", n=0, lineterm="") if not line.startswith("@@")]
    assert not changed, "\n".join([f"choices for {name} have changed; if for the better, run: {COMMAND}", *changed])
