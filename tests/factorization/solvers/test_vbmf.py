"""Ranks by variational Bayes: the threshold by iterating the variational equations, planted ranks, and the noise that was added."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.factorization import suggested_ranks
from tenfold.factorization.solvers.vbmf import _limit, noise_variance, rank_above_noise


def _free_energy(gamma, shorter, longer):
    """Twice the free energy of one component at the end of the iteration, noise of variance 1; that of no component is 0."""
    a = b = np.sqrt(gamma)
    variance_a = variance_b = 1e-3
    prior_a, prior_b = a**2 / longer, b**2 / shorter
    for _ in range(20000):
        before = a, b
        variance_a = 1 / (b**2 + shorter * variance_b + 1 / prior_a)
        a = variance_a * gamma * b
        prior_a = a**2 / longer + variance_a
        variance_b = 1 / (a**2 + longer * variance_a + 1 / prior_b)
        b = variance_b * gamma * a
        prior_b = b**2 / shorter + variance_b
        if abs(a - before[0]) + abs(b - before[1]) < 1e-12 * gamma:
            break
    of_a, of_b = a**2 + longer * variance_a, b**2 + shorter * variance_b
    logs = longer * np.log(prior_a / variance_a) + shorter * np.log(prior_b / variance_b)
    return logs + of_a / prior_a + of_b / prior_b - longer - shorter - 2 * gamma * a * b + of_a * of_b


@pytest.mark.parametrize("shorter, longer", [(20, 20), (30, 60), (16, 400), (128, 2400)])
def test_the_threshold_is_where_a_component_begins_to_pay(shorter, longer):
    threshold = np.sqrt(longer * _limit(shorter / longer))
    assert _free_energy(0.995 * threshold, shorter, longer) > 0 > _free_energy(1.005 * threshold, shorter, longer)
    assert threshold > np.sqrt(shorter) + np.sqrt(longer)  # noise alone stays below


def test_the_limit_of_a_square_matrix_is_the_papers():
    assert _limit(1.0) == pytest.approx((1 + 2.5129) * (1 + 1 / 2.5129), rel=1e-5)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(0, 6), deviation=st.floats(0.001, 10))
def test_a_planted_rank_and_the_noise_are_found(seed, rank, deviation):
    """Signal well above the threshold, in a matrix large enough for the noise to be what it is on average."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in (60, 240))
    signal = (left * rng.uniform(40, 80, rank)) @ right.T
    squared = np.linalg.svd(deviation * (signal + rng.standard_normal((60, 240))), compute_uv=False) ** 2
    assert noise_variance(squared, 240) == pytest.approx(deviation**2, rel=0.06)
    assert rank_above_noise(squared, 240) == rank
    assert rank_above_noise(squared, 240, deviation**2) == rank


def test_ranks_of_a_noisy_tucker_tensor():
    rng = np.random.default_rng(0)
    core = rng.standard_normal((7, 5, 3, 3))
    weight = np.einsum("fl,lkyx,ck->fcyx", rng.standard_normal((64, 7)), core, rng.standard_normal((48, 5)))
    weight += 0.3 * weight.std() * rng.standard_normal(weight.shape)
    assert suggested_ranks(weight.astype(np.float32)) == (5, 7)


def test_weights_without_signal_or_without_noise():
    rng = np.random.default_rng(1)
    assert suggested_ranks(rng.standard_normal((32, 24, 3, 3)).astype(np.float32)) == (1, 1)
    assert suggested_ranks(np.zeros((8, 6, 3, 3), np.float32)) == (1, 1)
    exact = np.einsum("fl,lkyx,ck->fcyx", *(rng.standard_normal(s) for s in ((32, 3), (3, 2, 3, 3), (24, 2))))
    assert suggested_ranks(exact.astype(np.float32)) == (2, 3)
