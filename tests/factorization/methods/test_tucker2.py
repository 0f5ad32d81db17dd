"""Tucker-2 against bounds, special cases with a closed form, and one step of an alternating SVD by NumPy."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS
from tenfold.factorization.methods.tucker2 import TOLERANCE, partial_tucker

TUCKER = METHODS["tucker2"]
SEEDS = st.integers(0, 2**32 - 1)


def _singular_values(weight, mode):
    slices = [np.take(weight, i, mode).ravel() for i in range(weight.shape[mode])]
    return np.linalg.svd(np.stack(slices).astype(np.float64), compute_uv=False)


def _draw_ranks(data, layer):
    return tuple(data.draw(st.integers(1, limit)) for limit in TUCKER.max_ranks(layer))


def _squared_error(weight, inputs, core, outputs):
    return np.sum((weight - np.einsum("fl,lkyx,ck->fcyx", outputs, core, inputs)) ** 2)


@PROPERTY
@given(layer=layers("tucker2"), seed=SEEDS, data=st.data())
def test_iteration_is_no_worse_than_hosvd_and_within_its_bounds(layer, seed, data):
    weight, (k1, k2) = random_weight(layer, seed).astype(np.float64), _draw_ranks(data, layer)
    hosvd = _squared_error(weight, *partial_tucker(weight, (k1, k2), iterations=0))
    hooi = _squared_error(weight, *partial_tucker(weight, (k1, k2)))
    of_inputs, of_outputs = np.sum(_singular_values(weight, 1)[k1:] ** 2), np.sum(_singular_values(weight, 0)[k2:] ** 2)
    tiny = 1e-12 * np.sum(weight**2)
    assert hooi <= hosvd + tiny
    assert hosvd <= of_inputs + of_outputs + tiny
    assert hooi >= max(of_inputs, of_outputs) - tiny


@PROPERTY
@given(layer=layers("tucker2"), seed=SEEDS, data=st.data())
def test_factors_are_orthonormal_and_converged(layer, seed, data):
    weight, (k1, k2) = random_weight(layer, seed).astype(np.float64), _draw_ranks(data, layer)
    inputs, core, outputs = partial_tucker(weight, (k1, k2))
    np.testing.assert_allclose(inputs.T @ inputs, np.eye(k1), atol=1e-12)
    np.testing.assert_allclose(outputs.T @ outputs, np.eye(k2), atol=1e-12)
    np.testing.assert_allclose(core, np.einsum("fl,fcyx,ck->lkyx", outputs, weight, inputs), atol=1e-12)
    # One more step for each mode, by NumPy's SVD, gains no more than the tolerance of the convergence.
    error, norm = _squared_error(weight, inputs, core, outputs), np.sum(weight**2)
    narrow = np.einsum("fcyx,fl->clyx", weight, outputs)
    inputs = np.linalg.svd(narrow.reshape(len(narrow), -1))[0][:, :k1]
    narrow = np.einsum("fcyx,ck->fkyx", weight, inputs)
    outputs = np.linalg.svd(narrow.reshape(len(narrow), -1))[0][:, :k2]
    core = np.einsum("fl,fcyx,ck->lkyx", outputs, weight, inputs)
    assert error - _squared_error(weight, inputs, core, outputs) <= 2 * TOLERANCE * norm


@PROPERTY
@given(layer=layers("tucker2"), seed=SEEDS, data=st.data())
def test_one_mode_alone_is_its_truncated_svd(layer, seed, data):
    """With the other mode at full rank the best answer is known: the singular values of one unfolding that are discarded."""
    weight, (k1, k2), full = random_weight(layer, seed), _draw_ranks(data, layer), TUCKER.max_ranks(layer)
    for ranks, mode in (((k1, full[1]), 1), ((full[0], k2), 0)):
        values = _singular_values(weight, mode)
        discarded = np.linalg.norm(values[ranks[1 - mode] :]) / np.linalg.norm(values)
        assert TUCKER.factorize(weight, layer, ranks).relative_error(weight) == pytest.approx(discarded, rel=1e-6, abs=1e-6)


@PROPERTY
@given(layer=layers("tucker2"), seed=SEEDS, energy=st.floats(0.05, 0.999))
def test_each_mode_keeps_the_energy(layer, seed, energy):
    weight = random_weight(layer, seed)
    ranks = TUCKER.ranks_for_energy(weight, layer, energy)
    for rank, mode in zip(ranks, (1, 0), strict=True):
        kept = np.cumsum(_singular_values(weight, mode) ** 2) / np.sum(weight.astype(np.float64) ** 2)
        assert kept[rank - 1] >= energy - 1e-12
        assert rank == 1 or kept[rank - 2] < energy
    error = TUCKER.factorize(weight, layer, ranks).relative_error(weight)
    assert error**2 <= 2 * (1 - energy) + 1e-6


def test_a_weight_of_exact_ranks_is_recovered():
    rng = np.random.default_rng(0)
    weight = np.einsum("fl,lkyx,ck->fcyx", rng.standard_normal((12, 4)), rng.standard_normal((4, 3, 3, 3)), rng.standard_normal((10, 3)))
    weight, layer = weight.astype(np.float32), conv_layer(12, 10, 3, 3)
    assert TUCKER.ranks_for_energy(weight, layer, 1.0) == (3, 4)
    assert TUCKER.factorize(weight, layer, (3, 4)).relative_error(weight) < 1e-6
    assert TUCKER.factorize(weight, layer, (2, 4)).relative_error(weight) > 1e-2


def test_geometry_goes_to_the_middle_stage():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    first, middle, last = TUCKER.factorize(random_weight(layer, 0), layer, (3, 5)).stages
    assert [s.weight.shape for s in (first, middle, last)] == [(3, 4, 1, 1), (5, 3, 5, 3), (6, 5, 1, 1)]
    assert (middle.stride, middle.padding, middle.dilation) == ((2, 3), (1, 2, 3, 4), (2, 1))
    for pointwise in (first, last):
        assert (pointwise.stride, pointwise.padding, pointwise.dilation) == ((1, 1), (0, 0, 0, 0), (1, 1))
