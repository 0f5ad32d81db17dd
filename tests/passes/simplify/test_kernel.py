"""The algebra of kernels, against a convolution written as loops."""
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.passes.simplify.kernel import Grid, Kernel, added, added_grid, composed, composed_grid, with_groups


def convolved(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """One image; each product for itself."""
    grid = kernel.grid
    size = grid.output_size(x.shape[1:])
    y = np.zeros((grid.outputs, *size)) + kernel.bias.reshape(-1, *(1,) * len(size))
    inputs, outputs = grid.inputs // grid.groups, grid.outputs // grid.groups
    for place in itertools.product(*map(range, size)):
        for tap in itertools.product(*map(range, grid.kernel)):
            at = tuple(p * s - b + t * d for p, s, b, t, d in zip(place, grid.stride, grid.begin, tap, grid.dilation, strict=True))
            if all(0 <= a < n for a, n in zip(at, x.shape[1:], strict=True)):
                for group in range(grid.groups):
                    rows = slice(group * outputs, (group + 1) * outputs)
                    y[(rows, *place)] += kernel.weight[(rows, slice(None), *tap)] @ x[(slice(group * inputs, (group + 1) * inputs), *at)]
    return y


@st.composite
def kernels(draw, outputs: int, inputs: int, axes: int, stride=None):
    sides = st.tuples(*[st.integers(1, 3)] * axes)
    few = st.tuples(*[st.integers(1, 2)] * axes)
    pads = st.tuples(*[st.integers(0, 2)] * axes)
    group = draw(st.sampled_from([g for g in (1, 2, 4) if outputs % g == inputs % g == 0]))
    grid = Grid(outputs, inputs, draw(sides), draw(few) if stride is None else stride, draw(few), draw(pads), draw(pads), group)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    bias = rng.standard_normal(outputs) if draw(st.booleans()) else np.zeros(outputs)
    return Kernel(grid, rng.standard_normal((outputs, inputs // group, *grid.kernel)), bias)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from([1, 2]))
def test_a_composition_is_what_the_two_compute_or_is_refused(data, axes):
    first, second = data.draw(kernels(4, 2, axes)), data.draw(kernels(4, 4, axes))
    size = (9, 8)[:axes]
    x = np.random.default_rng(0).standard_normal((2, *size))
    if min(first.grid.output_size(size)) < 1 or min(second.grid.output_size(first.grid.output_size(size))) < 1:
        return
    grid = composed_grid(first.grid, second.grid, size, not first.bias.any())
    if grid is None:  # never without padding in the second
        assert second.grid.padded
        return
    np.testing.assert_allclose(convolved(x, composed(first, second, grid)), convolved(convolved(x, first), second), atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from([1, 2]), st.sampled_from([1, 2]))
def test_a_sum_is_what_the_two_compute_or_is_refused(data, axes, step):
    a, b = (data.draw(kernels(4, 4, axes, (step,) * axes)) for _ in range(2))
    size = (9, 8)[:axes]
    x = np.random.default_rng(0).standard_normal((4, *size))
    wanted = a.grid.output_size(size)
    if wanted != b.grid.output_size(size) or min(wanted) < 1:
        return
    grid = added_grid(a.grid, b.grid, size, wanted)
    assert grid is not None
    np.testing.assert_allclose(convolved(x, added(a, b, grid)), convolved(x, a) + convolved(x, b), atol=1e-10)


def test_strides_that_differ_are_refused():
    ones = np.ones((1, 1, 1, 1))
    one = Kernel.plain(ones)
    two = Grid(1, 1, (1, 1), (2, 2), (1, 1), (0, 0), (0, 0), 1)
    assert added_grid(one.grid, two, (4, 4), (4, 4)) is None


@pytest.mark.parametrize(("groups", "fewer"), [(4, 1), (4, 2), (6, 3), (1, 1)])
def test_groups_are_written_out(groups, fewer):
    weight = np.random.default_rng(0).standard_normal((12, 2, 3))
    wide = with_groups(weight, groups, fewer)
    x = np.random.default_rng(1).standard_normal((2 * groups, 5))
    kernel = Kernel.plain(weight, groups=groups)
    other = Kernel.plain(wide, groups=fewer)
    assert wide.shape == (12, 2 * groups // fewer, 3)
    np.testing.assert_allclose(convolved(x, kernel), convolved(x, other), atol=1e-12)
