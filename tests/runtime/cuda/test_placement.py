"""Where tensors lie on a GPU: nothing overlaps but what the plan of the arena lets overlap."""
from __future__ import annotations

import numpy as np
from tenfold.runtime.cuda.launches import Routine
from tenfold.runtime.cuda.placement import ALIGNED, Placement
from tenfold.runtime.memory_plan import Place
from tenfold.runtime.weights import Contents


def test_parts_do_not_overlap():
    weights = (np.zeros(3, "float32"), np.zeros((100, 7), "float32"))
    places = (Place("float32", (64,), 0), Place("float32", (5,), 256), Place("float32", (16,), 0))
    contents = Contents(np.empty(0, np.uint8), weights, places, (), ())
    found = Placement.of(contents, {"a": Routine((), (10, 300)), "b": Routine((), (20,))}, [((2, 3), "float32")], [((300,), "float32")])
    assert found.ports == (0, ALIGNED) and all(offset % ALIGNED == 0 for offset in (*found.ports, *found.weights, found.scratch))
    assert found.weights[0] >= found.ports[1] + 1200 and found.weights[1] >= found.weights[0] + 12
    begin = found.arena[0]
    assert begin >= found.weights[1] + 2800 and found.arena == (begin, begin + 256, begin)
    assert found.scratch >= begin + 276 and found.bytes >= found.scratch + ALIGNED + 300
