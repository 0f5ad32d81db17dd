"""Both biclustering forms: planted clusters, blocks by NumPy, bounds, metrics, permutations, refusals."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_metrics, random_weight, run_chain, run_layer, sub_ranks
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import FROBENIUS, METHODS, Covariance, Mahalanobis
from tenfold.factorization.methods.biclustering_svd import folded_svd

SVD, OUTER = METHODS["biclustering_svd"], METHODS["biclustering_outer"]
SEEDS = st.integers(0, 2**32 - 1)
PARTS = st.floats(0, 1)
both = pytest.mark.parametrize("method", [SVD, OUTER], ids=lambda method: method.name)
NAMES = st.sampled_from(["biclustering_svd", "biclustering_outer"])


def _clusters(chain, g, h):
    """The channels of the input and of the output clusters, as the stages of a chain have them."""
    first, last = chain.stages[0], chain.stages[-1]
    inputs = np.arange(first.in_channels) if first.input_permutation is None else first.input_permutation
    outputs = np.arange(last.out_channels) if chain.permutation is None else np.argsort(chain.permutation)
    return inputs.reshape(g, -1), outputs.reshape(h, -1)


def _as_sets(clusters):
    return {frozenset(members.tolist()) for members in clusters}


def _planted(rng, g, h, ranks, channels, filters, kernel):
    """A weight of G x H blocks of such ranks between scattered clusters, and the clusters."""
    inputs, outputs = rng.permutation(g * channels).reshape(g, -1), rng.permutation(h * filters).reshape(h, -1)
    weight = np.zeros((h * filters, g * channels, *kernel))
    for columns in inputs:
        for rows in outputs:
            if len(ranks) == 2:
                core, ends = rng.standard_normal((ranks[1], ranks[0], *kernel)), "fl,lkyx,kc->fcyx"
            else:
                core, ends = rng.standard_normal((ranks[0], *kernel)), "fk,kyx,kc->fcyx"
            block = np.einsum(ends, rng.standard_normal((filters, ranks[-1])), core, rng.standard_normal((ranks[0], channels)))
            weight[np.ix_(rows, columns)] = block
    return weight.astype(np.float32), inputs, outputs


@both
@PROPERTY
@given(g=st.integers(1, 3), h=st.integers(1, 3), rank=st.integers(1, 2), more=st.integers(3, 5), seed=SEEDS)
def test_a_planted_structure_is_recovered(method, g, h, rank, more, seed):
    ranks = (rank, 3 - rank) if method is SVD else (rank,)
    channels, filters = h * ranks[0] + more, g * ranks[-1] + more
    weight, inputs, outputs = _planted(np.random.default_rng(seed), g, h, ranks, channels, filters, (3, 3))
    chain = method.factorize(weight, conv_layer(h * filters, g * channels, 3, 3), (g, h, *ranks))
    found = _clusters(chain, g, h)
    assert (_as_sets(found[0]), _as_sets(found[1])) == (_as_sets(inputs), _as_sets(outputs))
    assert chain.relative_error(weight) < (1e-6 if method is SVD else 0.03)  # alternating least squares creeps towards the exact terms


def test_planted_clusters_hold_out_against_noise():
    rng = np.random.default_rng(0)
    weight, inputs, outputs = _planted(rng, 2, 2, (2, 3), 16, 24, (3, 3))
    noisy = weight + 0.1 * weight.std() * rng.standard_normal(weight.shape)
    chain = SVD.factorize(noisy, conv_layer(48, 32, 3, 3), (2, 2, 2, 3))
    assert [_as_sets(found) for found in _clusters(chain, 2, 2)] == [_as_sets(inputs), _as_sets(outputs)]
    assert chain.relative_error(weight) < 0.1


@PROPERTY
@given(layer=layers("biclustering_svd"), seed=SEEDS, part=PARTS)
def test_the_error_is_that_of_an_svd_of_an_svd_of_every_block(layer, seed, part):
    weight, (g, h, k1, k2) = random_weight(layer, seed).astype(np.float64), sub_ranks("biclustering_svd", layer, part)
    chain, kept = SVD.factorize(weight, layer, (g, h, k1, k2)), 0.0
    inputs, outputs = _clusters(chain, g, h)
    for columns in inputs:
        for rows in outputs:
            block = weight[np.ix_(rows, columns)].transpose(1, 0, 2, 3)
            right = np.linalg.svd(block.reshape(len(columns), -1), full_matrices=False)
            narrow = (right[1][:k1, None] * right[2][:k1]).reshape(-1, len(rows), block[0, 0].size).transpose(1, 0, 2)
            kept += np.sum(np.linalg.svd(narrow.reshape(len(rows), -1), compute_uv=False)[:k2] ** 2)
    lost = max(1 - kept / np.sum(weight**2), 0)
    assert chain.relative_error(weight) == pytest.approx(np.sqrt(lost), abs=1e-5)


@PROPERTY
@given(layer=layers("biclustering_svd"), seed=SEEDS)
def test_one_cluster_of_all_channels_is_exact_at_full_rank(layer, seed):
    weight = random_weight(layer, seed)
    f, c, y, x = layer.weight_shape
    ranks = (1, 1, min(c, f * y * x), min(f, c * y * x))
    assert SVD.factorize(weight, layer, ranks).relative_error(weight) < 1e-6
    assert ranks[2:] == METHODS["tucker2"].max_ranks(layer)
    ours, tucker = SVD.outline(layer, ranks).stages, METHODS["tucker2"].outline(layer, ranks[2:]).stages
    assert [stage.weight.shape for stage in ours] == [stage.weight.shape for stage in tucker]


@PROPERTY
@given(layer=layers("biclustering_svd"), seed=SEEDS, part=PARTS)
def test_the_folded_svd_is_between_tucker_and_the_bound_of_the_hosvd(layer, seed, part):
    weight = random_weight(layer, seed).astype(np.float64)
    _, _, k1, k2 = ranks = (1, 1, *(max(1, round(limit * part)) for limit in METHODS["tucker2"].max_ranks(layer)))
    error = SVD.factorize(weight, layer, ranks).relative_error(weight)
    discarded = 0.0
    for mode, rank in ((1, k1), (0, k2)):
        values = np.linalg.svd(np.moveaxis(weight, mode, 0).reshape(weight.shape[mode], -1), compute_uv=False)
        discarded += np.sum(values[rank:] ** 2)
    assert error**2 <= discarded / np.sum(weight**2) + 1e-6
    assert error >= np.sqrt(max(np.sum(values[k2:] ** 2) / np.sum(weight**2), 0)) - 1e-5


def test_folded_svd_factors():
    tensor = np.random.default_rng(0).standard_normal((6, 5, 4))
    inputs, core, outputs = folded_svd(tensor, 3, 4)
    assert inputs.shape == (3, 5) and core.shape == (4, 3, 4) and outputs.shape == (6, 4)
    np.testing.assert_allclose(inputs @ inputs.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(outputs.T @ outputs, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(core, np.einsum("fl,fcp,kc->lkp", outputs, tensor, inputs), atol=1e-12)


@PROPERTY
@given(name=NAMES, data=st.data(), seed=SEEDS, part=PARTS)
def test_error_falls_as_the_rank_of_the_blocks_grows(name, data, seed, part):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight = random_weight(layer, seed)
    g, h, *inner = sub_ranks(name, layer, part)
    limits = sub_ranks(name, layer, 1)[2:] if (g, h) == sub_ranks(name, layer, 1)[:2] else None
    grown = data.draw(st.integers(0, len(inner) - 1))
    errors = []
    for rank in range(1, 13):
        ranks = (g, h, *(rank if i == grown else held for i, held in enumerate(inner)))
        if method._refuse_ranks(layer, ranks) is not None:
            break
        errors.append(method.factorize(weight, layer, ranks).relative_error(weight))
    assert limits is None or len(errors) == min(12, limits[grown])
    assert errors[0] <= 1 and np.all(np.diff(errors) <= 1e-6), errors


@PROPERTY
@given(name=NAMES, data=st.data(), seed=SEEDS, part=PARTS)
def test_a_metric_is_minimised(name, data, seed, part):
    """Never farther in a metric than the chain of the Frobenius norm, and the kernel that the chain runs is the one that is measured."""
    layer, method = data.draw(layers(name)), METHODS[name]
    weight, ranks = random_weight(layer, seed), sub_ranks(name, layer, part)
    plain = method.factorize(weight, layer, ranks)
    x = np.random.default_rng(seed).standard_normal((1, layer.in_channels, *layer.input_size)).astype(np.float32)
    for metric in random_metrics(layer, seed):
        chain = method.factorize(weight, layer, ranks, metric=metric)
        assert chain.relative_error(weight, metric) <= plain.relative_error(weight, metric) + 1e-6
        expected = run_layer(layer, chain.reconstruct(), x)
        np.testing.assert_allclose(run_chain(chain, x)[0], expected, atol=1e-4 * np.abs(expected).max())


@both
def test_a_metric_takes_much_off_its_own_error(method):
    """Inputs with the correlations of images after a convolution: a mean, and neighbours that are alike."""
    layer = conv_layer(16, 12, 3, 3)
    weight, rng = random_weight(layer, 0), np.random.default_rng(1)
    images = np.maximum(rng.standard_normal((64, 12, 5)) @ rng.standard_normal((5, 9)) + 1, 0).reshape(64, -1)
    alpha = np.exp(rng.standard_normal((16, 1, 1, 1)) + rng.standard_normal((1, 12, 1, 1)) + 0.1 * rng.standard_normal(weight.shape))
    ranks = (2, 2, 3, 4) if method is SVD else (6, 2, 4)
    plain = method.factorize(weight, layer, ranks)
    for metric, part in ((Covariance(images.T @ images / 64), 0.7), (Mahalanobis(alpha), 0.7)):
        error = method.factorize(weight, layer, ranks, metric=metric).relative_error(weight, metric)
        assert error < part * plain.relative_error(weight, metric)


@both
def test_metrics_that_weigh_everything_alike_change_little(method):
    layer = conv_layer(8, 6, 3, 3)
    weight, ranks = random_weight(layer, 0), (3, 2, 2, 2) if method is SVD else (3, 2, 3)
    plain = method.factorize(weight, layer, ranks).relative_error(weight)
    even = method.factorize(weight, layer, ranks, metric=Mahalanobis(np.full(weight.shape, 3.0)))
    assert even.relative_error(weight) == pytest.approx(plain, rel=1e-2) and even.relative_error(weight) <= plain + 1e-6
    white = method.factorize(weight, layer, ranks, metric=Covariance(np.eye(54)))
    assert 0.9 * plain < white.relative_error(weight) <= plain + 1e-6  # alternating improves on the SVD of an SVD


def test_an_alpha_that_is_an_outer_product_is_honoured_as_the_paper_says():
    """Denton et al., section 3.1: fit alpha .* W in the Frobenius norm, then multiply by 1 / alpha."""
    layer, rng = conv_layer(8, 6, 3, 3), np.random.default_rng(0)
    a, b, d = (np.exp(rng.standard_normal(shape)) for shape in ((8, 1, 1, 1), (6, 1, 1), (3, 3)))
    weight, alpha = random_weight(layer, 0), a * b * d
    for method, ranks in ((SVD, (2, 2, 2, 2)), (OUTER, (2, 2, 3))):
        by_hand = method.factorize((alpha * weight).astype(np.float32), layer, ranks).relative_error((alpha * weight).astype(np.float32))
        chain = method.factorize(weight, layer, ranks, metric=Mahalanobis(alpha))
        assert chain.relative_error(weight, Mahalanobis(alpha)) <= by_hand + 1e-6


@both
def test_permutations_are_left_out_where_nothing_is_permuted(method):
    rng = np.random.default_rng(0)
    ranks = (2, 1) if method is SVD else (1,)
    weight, _, _ = _planted(rng, 1, 1, ranks, 8, 8, (3, 3))
    chain = method.factorize(weight, conv_layer(8, 8, 3, 3), (1, 1, *ranks))
    assert chain.permutation is None and all(stage.input_permutation is None for stage in chain.stages)
    grouped = np.zeros((8, 8, 3, 3), np.float32)
    grouped[:4, :4], grouped[4:, 4:] = weight[:4, :4], weight[4:, 4:]
    chain = method.factorize(grouped, conv_layer(8, 8, 3, 3), (2, 2, *ranks))
    assert chain.permutation is None and [stage.input_permutation is None for stage in chain.stages] == [True, True, False]
    assert chain.relative_error(grouped) < 1e-6
    _, middle, last = method.factorize(weight, conv_layer(8, 8, 3, 3), (2, 1, *ranks)).stages
    assert middle.input_permutation is None and last.input_permutation is None


def test_geometry_goes_to_the_middle_stage():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    for method, ranks, shapes in (
        (SVD, (2, 3, 2, 1), [(12, 2, 1, 1), (6, 2, 5, 3), (6, 2, 1, 1)]),
        (OUTER, (2, 3, 4), [(24, 2, 1, 1), (24, 1, 5, 3), (6, 8, 1, 1)]),
    ):
        first, middle, last = method.factorize(random_weight(layer, 0), layer, ranks).stages
        assert [s.weight.shape for s in (first, middle, last)] == shapes
        assert [s.groups for s in (first, middle, last)] == [2, 6 if method is SVD else 24, 3]
        assert (middle.stride, middle.padding, middle.dilation) == ((2, 3), (1, 2, 3, 4), (2, 1))
        for pointwise in (first, last):
            assert (pointwise.stride, pointwise.padding, pointwise.dilation) == ((1, 1), (0, 0, 0, 0), (1, 1))


@pytest.mark.parametrize(
    "method, ranks, reason",
    [
        (SVD, (5, 2, 2, 2), "12 input channels do not divide into 5 clusters"),
        (SVD, (2, 5, 2, 2), "16 output channels do not divide into 5 clusters"),
        (SVD, (2, 2, 7, 2), "rank 7 is above 6, the highest for blocks of 6 to 8 channels"),
        (SVD, (2, 2, 6, 9), "rank 9 is above 8, the highest for blocks of 6 to 8 channels"),
        (OUTER, (6, 2, 17), "rank 17 is above 16, the highest for blocks of 2 to 8 channels"),
        (OUTER, (4, 3, 1), "16 output channels do not divide into 3 clusters"),
    ],
)
def test_ranks_that_do_not_fit(method, ranks, reason):
    layer = conv_layer(16, 12, 3, 3)
    for call in (lambda: method.factorize(random_weight(layer, 0), layer, ranks), lambda: method.macs(layer, ranks)):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == f"ranks {' and '.join(map(str, ranks))} of {method.name} do not fit: {reason}"


def test_max_ranks():
    layer = conv_layer(256, 96, 5, 5)
    assert SVD.max_ranks(layer) == (96, 256, 96, 256) and OUTER.max_ranks(layer) == (96, 256, 96 * 25)


def test_rounding_leaves_the_clusters_alone():
    layer = conv_layer(256, 96, 5, 5)
    assert SVD.rounded(layer, (2, 2, 19, 20), 8, True) == (2, 2, 24, 24)
    assert SVD.rounded(layer, (2, 2, 19, 20), 8, False) == (2, 2, 16, 16)
    assert SVD.rounded(layer, (6, 2, 13, 3), 8, True) == (6, 2, 16, 8)
    assert SVD.rounded(layer, (8, 2, 11, 3), 8, True) == (8, 2, 12, 8)
    assert OUTER.rounded(layer, (48, 2, 6), 4, True) == (48, 2, 8) and OUTER.rounded(layer, (48, 2, 3), 4, False) == (48, 2, 3)


def test_ladders_have_the_clusters_of_the_paper():
    layer = conv_layer(256, 96, 5, 5, padding=(2, 2, 2, 2), size=(27, 27))
    assert (2, 2) in {ranks[:2] for ranks in SVD.ladder(layer)} and (48, 2) in {ranks[:2] for ranks in OUTER.ladder(layer)}
    assert {ranks[:2] for ranks in SVD.ladder(conv_layer(9, 5, 3, 3))} == {(1, 1), (1, 3)}  # 5 is prime, 9 has no half


def test_the_frobenius_norm_is_the_default():
    layer = conv_layer(8, 6, 3, 3)
    weight = random_weight(layer, 0)
    a, b = SVD.factorize(weight, layer, (2, 2, 2, 2)), SVD.factorize(weight, layer, (2, 2, 2, 2), metric=FROBENIUS)
    assert all(np.array_equal(s.weight, t.weight) for s, t in zip(a.stages, b.stages, strict=True))
