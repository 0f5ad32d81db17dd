"""SVD by an error threshold: the thesis's own loop, and equation 2.1 against the factors' sizes."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Choice, Layer, Refusal, choose_by_error, kernel_composing_width_bound, svd_rank_bound


def _by_the_thesis(matrix, threshold):
    """Lower the rank by one as long as the mean squared error stays within the threshold (section 2.4.3)."""
    u, s, v = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    rank = len(s)
    while rank > 1 and np.mean((matrix - (u[:, : rank - 1] * s[: rank - 1]) @ v[: rank - 1]) ** 2) <= threshold:
        rank -= 1
    return rank


@PROPERTY
@given(f=st.integers(2, 20), c=st.integers(2, 20), seed=st.integers(0, 2**32 - 1), threshold=st.floats(1e-4, 1.2))
def test_the_rank_is_that_of_the_thesis(f, c, seed, threshold):
    layer = Layer("fc", "dense", (f, c))
    weight = random_weight(layer, seed)
    rank, choice = _by_the_thesis(weight, threshold), choose_by_error(layer, weight, threshold)
    if rank * (f + c) < f * c:  # equation 2.1
        assert choice == Choice("svd", (rank,))
        chain = METHODS["svd"].factorize(weight, layer, (rank,))
        assert np.mean((weight - chain.reconstruct()[:, :, 0, 0]) ** 2) <= threshold * (1 + 1e-5)
    else:
        assert isinstance(choice, Refusal) and f"needs rank {rank}" in choice.reason


def test_a_convolution_is_a_matrix_of_its_taps():
    layer = conv_layer(16, 4, 3, 3, padding=(1, 1, 1, 1))
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((16, 3)) @ rng.standard_normal((3, 36))).reshape(16, 4, 3, 3)
    weight = (weight + 0.01 * rng.standard_normal(weight.shape)).astype(np.float32)
    assert choose_by_error(layer, weight, 2e-4) == Choice("channel_svd", (3,))
    assert "above 11 the factors cost more than the layer" in choose_by_error(layer, weight, 1e-9).reason
    assert METHODS["channel_svd"].macs(layer, (11,)) < layer.macs <= METHODS["channel_svd"].macs(layer, (12,))


@PROPERTY
@given(rows=st.integers(1, 60), columns=st.integers(1, 60), taps=st.integers(1, 7))
def test_bounds_are_where_the_factors_stop_paying(rows, columns, taps):
    """Equation 2.1, and section 2.3.1: K n (C + F) against K K C F."""
    rank, width = svd_rank_bound(rows, columns), kernel_composing_width_bound(rows, columns, taps)
    assert rank * (rows + columns) < rows * columns <= (rank + 1) * (rows + columns)
    assert taps * width * (rows + columns) < taps * taps * rows * columns <= taps * (width + 1) * (rows + columns)


def test_what_is_refused():
    depthwise = conv_layer(8, 1, 3, 3, groups=8)
    assert choose_by_error(depthwise, random_weight(depthwise, 0), 1) == Refusal("depthwise: nothing to factor")
    layer = Layer("fc", "dense", (4, 5))
    with pytest.raises(ValueError, match="at least 0"):
        choose_by_error(layer, random_weight(layer, 0), -1)
    for weight in (np.ones((5, 4), np.float32), np.full((4, 5), np.nan, np.float32)):
        with pytest.raises(ValueError, match="does not fit the layer, or holds NaN"):
            choose_by_error(layer, weight, 0.1)
