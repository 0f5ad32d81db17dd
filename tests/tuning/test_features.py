"""Vectors of features: of the same length and finite for every kernel of the committed shape lists."""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))

from committed import kernels, named, some
from tenfold.schedules.terms import TERMS
from tenfold.tuning.features import FEATURE_NAMES, KNOBS, PRICED, WORDS, estimates, features

NAMES = ("zen3", "zen4", "cortex-a76", "neoverse-v1", "sm_80")
SHARE = 12  # of the kernels, every so many are looked at without -m long
IN_LAYERS = ("count", "vectors", "parallel")  # knobs of each layer of a run, with its number


def check(target, step, first):
    seen = 0
    for kernel in kernels(target, step, first):
        points = some(kernel.space(), 3)
        vectors = np.stack([features(kernel, point, target) for point in points])
        assert vectors.dtype == np.float32 and vectors.shape == (len(points), len(FEATURE_NAMES)) and np.isfinite(vectors).all()
        assert len({vector.tobytes() for vector in vectors}) == len({tuple(sorted(point.items())) for point in points}), kernel.workload
        for point, vector in zip(points, vectors, strict=True):
            terms = kernel.terms_at(point)
            assert terms.keys() | {"ms"} == TERMS.keys() and all(value >= 0 for value in terms.values()), kernel.workload
            assert terms["tail"] >= 1 and terms["tasks"] >= 1 and terms["macs"] >= 1 or "ms" in terms
            assert bool(vector[PRICED]) == ("ms" in terms)
            if "ms" in terms:
                np.testing.assert_allclose(estimates(vector[None])[0], terms["ms"], rtol=1e-5)
            for knob in point:
                known = knob in KNOBS or knob in WORDS or knob.startswith(("stage", "layer"))
                assert known or knob.rstrip("0123456789") in IN_LAYERS, f"{knob} is no feature"
        seen += 1
    assert seen > 3


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_has_features(name):
    check(named(name), SHARE, NAMES.index(name))


@pytest.mark.long
@pytest.mark.parametrize("first", range(SHARE))
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_of_all_lists_has_features(name, first):
    if first != NAMES.index(name):
        check(named(name), SHARE, first)


def test_names_are_unique():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
