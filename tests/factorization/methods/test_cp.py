"""CP: planted factors are found, tensorly finds nothing better, the error is bounded, and the correction keeps it."""
import numpy as np
import pytest
import tensorly
from factor_reference import PROPERTY, conv_layer, layers, random_weight
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from tenfold.factorization import METHODS
from tenfold.factorization.methods.cp import canonical_polyadic
from tenfold.factorization.solvers.cp_als import balanced, compose, decompose, gram, initial_terms, squared_error, squared_norms
from tenfold.factorization.solvers.cp_correction import _least_norm, correct, sensitivity
from tensorly.decomposition import parafac

CP = METHODS["cp"]
SEEDS = st.integers(0, 2**32 - 1)
EXTENTS = (12, 10, 3, 3)


def _planted(seed, extents, rank):
    """Random factors and the tensor that they make, as a batch of one of norm 1."""
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal((1, extent, rank)) for extent in extents]
    tensor = np.einsum("bfk,bck,byk,bxk->bfcyx", *factors)
    return factors, tensor / np.linalg.norm(tensor)


def _degenerate(n):
    """A tensor of rank 3 without a best approximation of rank 2, and two terms that come the nearer the larger they are.

    n (a + b / n)^3 - n a^3  ->  a a b + a b a + b a a    as n grows, in three modes; the fourth is one vector.
    """
    a, b, e = np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0.6, 0.8])
    tensor = sum(np.einsum("i,j,k,l->ijkl", *triple, e) for triple in ((a, a, b), (a, b, a), (b, a, a)))
    norm = np.linalg.norm(tensor)
    factors = [np.stack([a + b / n, a], 1) for _ in range(3)] + [np.stack([e * n, -e * n], 1)]
    factors[3] = factors[3] / norm
    return tensor[None] / norm, balanced([factor[None] for factor in factors])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rank", [2, 4])
def test_planted_factors_are_found(seed, rank):
    """A CP of low rank is unique: each planted term is one of those found, not only their sum."""
    planted, tensor = _planted(seed, EXTENTS, rank)
    weight = tensor[0].astype(np.float32)
    chain = CP.factorize(weight, conv_layer(*EXTENTS), (rank,))
    assert chain.relative_error(weight) < 2e-6
    cosines = np.ones((rank, rank))
    for found, true in zip(canonical_polyadic(weight, rank), planted, strict=True):
        cosines *= np.abs(found.T @ true[0]) / np.outer(np.linalg.norm(found, axis=0), np.linalg.norm(true[0], axis=0))
    assert np.all(np.sort(cosines.max(0)) > 1 - 1e-5)


@pytest.mark.slow
def test_ranks_for_an_energy_are_found_by_bisection(monkeypatch):
    """Of a ladder, a few rungs are factored, not one after the other."""
    tried, factorize = [], type(CP).factorize
    monkeypatch.setattr(type(CP), "factorize", lambda self, *arguments: tried.append(arguments) or factorize(self, *arguments))
    layer = conv_layer(24, 16, 3, 3)
    ladder = CP.ladder(layer)
    ranks = CP.ranks_for_energy(random_weight(layer, 0), layer, 0.6)
    assert ranks in ladder and len(tried) <= 2 + np.ceil(np.log2(len(ladder))) < len(ladder)


@pytest.mark.filterwarnings("ignore:Trying to compute SVD")
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_no_worse_than_tensorly(rank):
    """Where tensorly has converged, from its SVD start, ours is as near; its sum of rank-one terms is ours."""
    rng = np.random.default_rng(3)
    weight = _planted(3, EXTENTS, 8)[1][0] + 0.3 * rng.standard_normal(EXTENTS) / np.sqrt(np.prod(EXTENTS))
    theirs = parafac(tensorly.tensor(weight), rank, n_iter_max=1000, init="svd", random_state=0, tol=1e-9)
    ours = canonical_polyadic(weight, rank)
    np.testing.assert_allclose(tensorly.cp_to_tensor((None, ours)), compose([factor[None] for factor in ours])[0], atol=1e-12)
    errors = [np.linalg.norm(weight - tensorly.cp_to_tensor(factors)) for factors in (theirs, (None, ours))]
    assert errors[1] <= errors[0] * 1.01


@PROPERTY
@given(layer=layers("cp"), seed=SEEDS, part=st.floats(0, 1))
def test_the_start_is_orthogonal_terms_and_bounds_the_error(layer, seed, part):
    weight = random_weight(layer, seed).astype(np.float64)
    tensor = weight[None] / np.linalg.norm(weight)
    (limit,) = CP.max_ranks(layer)
    rank = max(1, round(part * limit))
    start, every = initial_terms(tensor, rank), initial_terms(tensor, limit)
    inner = np.prod([gram(factor)[0] for factor in every], axis=0)
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-10)
    norms = np.sort(squared_norms(every)[0])[::-1]
    left_out = norms[rank:].sum()
    assert squared_error(tensor, start)[0] == pytest.approx(left_out, abs=1e-10)
    assert squared_error(tensor, decompose(tensor, rank))[0] <= left_out + 1e-10
    assert CP.factorize(weight, layer, (rank,)).relative_error(weight) <= np.sqrt(left_out) + 1e-6


@pytest.mark.parametrize("n", [30, 300])
def test_the_correction_makes_degenerate_terms_small_at_the_same_error(n):
    tensor, factors = _degenerate(n)
    error, norms = squared_error(tensor, factors)[0], squared_norms(factors)[0]
    assert error < 3 / n**2 and norms.min() > n**2 / 4  # near, by two terms hundreds of times the tensor's size
    corrected = correct(tensor, factors, 200)
    assert squared_error(tensor, corrected)[0] <= error * (1 + 1e-6)
    assert squared_norms(corrected).sum() < 0.7 * norms.sum()
    assert sensitivity(corrected)[0] < 0.7 * sensitivity(factors)[0]


def test_terms_stay_small_where_no_best_approximation_exists():
    """Without damping alternating least squares goes on for ever: its terms grow as the error falls."""
    tensor, far = _degenerate(1000)
    factors = decompose(tensor, 2)
    assert squared_norms(factors).sum() < 100 < 1e-3 * squared_norms(far).sum()
    assert squared_error(tensor, factors)[0] < 0.02


@PROPERTY
@given(seed=SEEDS, rank=st.integers(1, 6), slack=st.floats(1.05, 4))
def test_the_constrained_step_is_the_least_norm_within_the_bound(seed, rank, slack):
    """Against ridge regression by NumPy's least squares, its parameter found by SciPy so that the bound is met."""
    rng = np.random.default_rng(seed)
    factors, tensor = [rng.standard_normal((1, extent, rank)) for extent in (7, 4, 3, 2)], rng.standard_normal((1, 7, 4, 3, 2))
    tensor /= np.linalg.norm(tensor)
    design = np.einsum("ck,yk,xk->cyxk", *(factor[0] for factor in factors[1:])).reshape(-1, rank)
    target = tensor[0].reshape(7, -1).T
    scale = np.linalg.norm(design, axis=0)
    least = np.linalg.lstsq(design, target)[0]
    bound = min(slack * np.sum((target - design @ least) ** 2), 0.999)

    def ridge(exponent):
        rows = np.vstack([design, np.diag(np.exp(exponent / 2) * scale)])
        return np.linalg.lstsq(rows, np.vstack([target, np.zeros((rank, 7))]))[0]

    root = brentq(lambda exponent: np.sum((target - design @ ridge(exponent)) ** 2) - bound, -40, 20)
    products = np.einsum("fp,pk->fk", target.T, design)[None]
    found = _least_norm(0, products, [gram(factor) for factor in factors], np.ones(1), np.array([bound]))[0]
    assert np.sum((target - design @ found.T) ** 2) <= bound * (1 + 1e-9)
    np.testing.assert_allclose(found.T * scale[:, None], ridge(root) * scale[:, None], atol=2e-3)


def test_sensitivity_is_what_noise_in_the_factors_does():
    factors, _ = _planted(0, EXTENTS, 4)
    rng, before, moved = np.random.default_rng(1), compose(factors), []
    for _ in range(2000):
        noisy = [factor + 1e-4 * rng.standard_normal(factor.shape) for factor in factors]
        moved.append(np.sum((compose(noisy) - before) ** 2) / 1e-8)
    assert sensitivity(factors)[0] == pytest.approx(np.mean(moved), rel=0.02)


def test_geometry_goes_with_its_axis():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    first, vertical, horizontal, last = CP.factorize(random_weight(layer, 0), layer, (7,)).stages
    assert [s.weight.shape for s in (first, vertical, horizontal, last)] == [(7, 4, 1, 1), (7, 1, 5, 1), (7, 1, 1, 3), (6, 7, 1, 1)]
    assert (vertical.stride, vertical.padding, vertical.dilation, vertical.groups) == ((2, 1), (1, 0, 3, 0), (2, 1), 7)
    assert (horizontal.stride, horizontal.padding, horizontal.dilation, horizontal.groups) == ((1, 3), (0, 2, 0, 4), (1, 1), 7)
    assert all((s.stride, s.padding, s.groups) == ((1, 1), (0, 0, 0, 0), 1) for s in (first, last))


def test_a_kernel_of_one_line_takes_one_pass():
    layer = conv_layer(6, 4, 1, 5, stride=(2, 3), padding=(1, 2, 3, 4))
    _, only, _ = CP.factorize(random_weight(layer, 0), layer, (7,)).stages
    assert (only.weight.shape, only.stride, only.padding) == ((7, 1, 1, 5), (2, 3), (1, 2, 3, 4))


def test_refusals_and_limits():
    assert CP.check(conv_layer(8, 4, 1, 1)).reason == "1 x 1 kernel: no rows and columns to separate, channel_svd applies"
    assert CP.max_ranks(conv_layer(128, 96, 5, 5)) == (2400,)
    with pytest.raises(ValueError, match="rank 37 of cp is out of range: 1 to 36"):
        CP.macs(conv_layer(5, 4, 3, 3), (37,))
