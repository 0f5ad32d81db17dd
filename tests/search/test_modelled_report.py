"""A report of milliseconds that no machine took says so."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tenfold.search.measures.measure import ACCURACY
from tenfold.search.tables import compression_line


def done(modelled: str | None) -> Any:
    verdict = SimpleNamespace(drop=0.5, uncertainty=0.1)
    facts = {"labels": True, "measure": ACCURACY, "predicted_ms": 1.1, "images": {"held_out": 100}}
    found = SimpleNamespace(verdict=verdict, expected=None, modelled=modelled, **facts)
    before, after = (SimpleNamespace(macs=macs, ms=ms, bytes=1000, accuracy=0.9) for macs, ms in ((200, 2.0), (100, 1.0)))
    return SimpleNamespace(search=found, before=before, after=after, finetuning=None)


@pytest.mark.parametrize("modelled, said", [(None, "2.00 -> 1.00 ms (2.0"), ("by llvm-mca", "2.00 -> 1.00 modelled ms (2.0")])
def test_modelled_milliseconds_are_called_so(modelled, said):
    assert said in compression_line(done(modelled))
