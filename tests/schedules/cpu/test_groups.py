"""Merging small groups: the same convolution, and only where lanes were idle."""
from __future__ import annotations

import numpy as np
import pytest
from host_model import named
from tenfold.schedules.cpu.conv2d.groups import block_diagonal, mergeable
from tenfold.schedules.shapes import ConvGeometry


@pytest.mark.parametrize(("filters", "groups", "merged"), [(12, 6, 2), (12, 6, 3), (8, 4, 4)])
def test_block_diagonal_computes_the_same(filters, groups, merged):
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((filters, 3, 1, 1)), rng.standard_normal(groups * 3)
    per_group, wide = filters // groups, merged * 3
    expected = [weight[f, :, 0, 0] @ x[f // per_group * 3 :][:3] for f in range(filters)]
    found = block_diagonal(weight, groups, merged)
    per_merged = filters // (groups // merged)
    np.testing.assert_allclose([found[f, :, 0, 0] @ x[f // per_merged * wide :][:wide] for f in range(filters)], expected)


@pytest.mark.parametrize(
    ("target", "filters", "channels", "groups", "left"),
    [("zen3", 48 * 12, 96, 48, 24), ("zen4", 48 * 12, 96, 48, 12), ("zen3", 256, 576, 2, 2), ("zen3", 64, 64, 4, 4)],
)
def test_groups_are_merged_until_vectors_are_full(target, filters, channels, groups, left):
    geometry = ConvGeometry(filters, (1, 1), groups=groups)
    assert groups // mergeable(geometry, channels, 1, (27, 27), named(target)) == left
