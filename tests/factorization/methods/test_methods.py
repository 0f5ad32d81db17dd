"""What every method promises, on random layers."""
import re
from pathlib import Path

import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, kernel_of, layers, random_weight, run_chain, run_layer, sub_ranks
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, FactorChain, Layer, Refusal

SEEDS = st.integers(0, 2**32 - 1)
each_method = pytest.mark.parametrize("name", METHODS)
each_exact_method = pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.exact])
each_saving_method = pytest.mark.parametrize("name", [name for name in METHODS if name != "prune"])  # by itself, without its readers
each_spectral_method = pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.spectral])


def _image(layer, seed):
    return np.random.default_rng(seed).standard_normal((layer.batch, layer.in_channels, *layer.input_size)).astype(np.float32)


def _sub_ranks(limits, part):
    return tuple(max(1, round(limit * part)) for limit in limits)


def test_names():
    assert list(METHODS)[:4] == ["svd", "spatial_svd", "channel_svd", "tucker2"]
    for name, method in METHODS.items():
        assert method.name == name
        assert "\n" not in method.algebra and method.algebra.startswith("W[")


def test_the_page_of_methods_lists_them_all():
    rows = [line for line in (Path(__file__).parents[3] / "docs" / "methods.md").read_text().splitlines() if line.startswith("| ")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[-2])} == set(METHODS)


@pytest.mark.quick(4)
@each_exact_method
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_full_rank_reproduces_the_layer(name, data, seed):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight, x = random_weight(layer, seed), _image(layer, seed + 1)
    chain = method.factorize(weight, layer, method.max_ranks(layer))
    np.testing.assert_allclose(kernel_of(chain, layer), weight, atol=2e-6)
    assert chain.relative_error(weight) < 5e-7
    expected = run_layer(layer, weight, x)
    assert expected.shape[2:] == layer.output_size
    np.testing.assert_allclose(run_chain(chain, x)[0], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.quick(5)
@each_method
@PROPERTY
@given(data=st.data(), seed=SEEDS, part=st.floats(0, 1))
def test_a_truncated_chain_computes_its_own_kernel(name, data, seed, part):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight, x = random_weight(layer, seed), _image(layer, seed + 1)
    chain = method.factorize(weight, layer, sub_ranks(name, layer, part))
    kernel = kernel_of(chain, layer)
    assert chain.relative_error(weight) == pytest.approx(np.linalg.norm(weight - kernel) / np.linalg.norm(weight), abs=1e-6)
    expected = run_layer(layer, kernel, x)
    np.testing.assert_allclose(run_chain(chain, x)[0], expected, atol=1e-5 * np.abs(expected).max())


@each_spectral_method
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_error_falls_as_rank_grows(name, data, seed):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight, limits = random_weight(layer, seed), method.max_ranks(layer)
    grown = data.draw(st.integers(0, len(limits) - 1))
    held = _sub_ranks(limits, data.draw(st.floats(0, 1)))
    errors = [
        method.factorize(weight, layer, tuple(rank if i == grown else held[i] for i in range(len(limits)))).relative_error(weight)
        for rank in range(1, limits[grown] + 1)
    ]
    assert errors[0] <= 1
    assert np.all(np.diff(errors) <= 1e-5), errors


@pytest.mark.quick(5)
@each_method
@PROPERTY
@given(data=st.data(), seed=SEEDS, part=st.floats(0, 1))
def test_macs_and_params_are_the_formula_and_the_factors(name, data, seed, part):
    layer, method = data.draw(layers(name)), METHODS[name]
    ranks = sub_ranks(name, layer, part)
    f, c = layer.weight_shape[:2]
    (y, x), (h, w), (oh, ow) = layer.kernel, layer.input_size, layer.output_size
    k = ranks[0]
    lines = y + x if min(y, x) > 1 else y * x  # taps of a vertical and a horizontal pass, of which a kernel of one line needs one
    passed = oh * w * y + oh * ow * x if min(y, x) > 1 else oh * ow * y * x
    macs, params = {
        "svd": lambda: (k * (c + f), k * (c + f)),
        "spatial_svd": lambda: (oh * w * k * y * c + oh * ow * f * x * k, k * y * c + f * x * k),
        "channel_svd": lambda: (oh * ow * k * (c * y * x + f), k * (c * y * x + f)),
        "tucker2": lambda: (h * w * c * k + oh * ow * ranks[1] * (k * y * x + f), c * k + ranks[1] * (k * y * x + f)),
        "monochromatic": lambda: (h * w * c * k + oh * ow * f * y * x, c * k + f * y * x),
        "biclustering_svd": lambda: _blocks_cost(layer, *ranks[:2], ranks[2], ranks[2] * ranks[3], ranks[3]),
        "biclustering_outer": lambda: _blocks_cost(layer, *ranks[:2], ranks[2], ranks[2], ranks[2]),
        "separable_basis": lambda: (c * k * (passed + oh * ow * f), c * k * (lines + f)),
        "cp": lambda: (h * w * k * c + k * passed + oh * ow * f * k, k * (c + lines + f)),
        "flattened": lambda: (h * w * k * c + k * passed + oh * ow * f * (k + lines), k * (c + lines) + f * (k + lines)),
        "flattened_vhl": lambda: (h * w * c * (lines + k) + k * passed + oh * ow * f * k, c * (lines + k) + k * (lines + f)),
        "prune": lambda: (oh * ow * f * c * y * x, f * c * y * x),  # until zeros are taken out
        "decoupled": lambda: (oh * ow * c * k * (y * x + f), c * k * (y * x + f)),
        "decoupled_pointwise_first": lambda: (h * w * c * f * k + oh * ow * f * k * y * x, f * k * (c + y * x)),
    }[name]()
    chain = method.factorize(random_weight(layer, seed), layer, ranks)
    assert chain.params == sum(stage.weight.size for stage in chain.stages) == params
    assert chain.macs(h, w) == run_chain(chain, _image(layer, seed))[1] == macs
    assert method.macs(layer, ranks) == layer.batch * macs
    outline = method.outline(layer, ranks)
    assert [s.weight.shape for s in outline.stages] == [s.weight.shape for s in chain.stages]
    for drawn, made in zip(outline.stages, chain.stages, strict=True):
        assert (drawn.stride, drawn.padding, drawn.dilation, drawn.groups) == (made.stride, made.padding, made.dilation, made.groups)


def _blocks_cost(layer, g, h, first, middle, last):
    """MACs and parameters of G x H blocks by the numbers of their channels; ``middle`` kernels of Y x X each."""
    f, c, y, x = layer.weight_shape
    pointwise, spatial = g * h * (c // g) * first, g * h * (middle * y * x + last * (f // h))
    return np.prod(layer.input_size) * pointwise + np.prod(layer.output_size) * spatial, pointwise + spatial


@pytest.mark.quick(5)
@each_method
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_same_weight_same_chain_and_weight_untouched(name, data, seed):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight = random_weight(layer, seed)
    before = weight.copy()
    weight.flags.writeable = False
    ranks = sub_ranks(name, layer, 0.5)
    first, second = (method.factorize(weight, layer, ranks) for _ in range(2))
    for a, b in zip(first.stages, second.stages, strict=True):
        assert a.weight.dtype == np.float32 and a.weight.flags.c_contiguous and not np.shares_memory(a.weight, weight)
        np.testing.assert_array_equal(a.weight, b.weight)
        np.testing.assert_array_equal(a.input_permutation, b.input_permutation)
    np.testing.assert_array_equal(first.permutation, second.permutation)
    np.testing.assert_array_equal(weight, before)


@pytest.mark.quick(5)
@each_method
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_bias_is_carried_by_the_last_stage(name, data, seed):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight, x = random_weight(layer, seed), _image(layer, seed + 1)
    bias = np.arange(1, layer.out_channels + 1, dtype=np.float32)
    ranks = method.max_ranks(layer) if method.exact else sub_ranks(name, layer, 0.5)
    chain = method.factorize(weight, layer, ranks, bias)
    assert all(stage.bias is None or not stage.bias.any() for stage in chain.stages[:-1])
    kernel = kernel_of(chain, layer)
    if method.exact:
        np.testing.assert_allclose(kernel, weight, atol=2e-6)
    expected = run_layer(layer, kernel, x, bias)
    np.testing.assert_allclose(run_chain(chain, x)[0], expected, atol=1e-5 * np.abs(expected).max())


@each_spectral_method
@PROPERTY
@given(data=st.data(), seed=SEEDS, part=st.floats(0.1, 0.9))
def test_the_ranks_of_a_low_rank_weight_are_found(name, data, seed, part):
    layer, method = data.draw(layers(name)), METHODS[name]
    ranks = _sub_ranks(method.max_ranks(layer), part)
    weight = kernel_of(method.factorize(random_weight(layer, seed), layer, ranks), layer)
    found = method.ranks_for_energy(weight, layer, 1.0)
    assert all(rank <= limit for rank, limit in zip(found, ranks, strict=True))
    assert method.factorize(weight, layer, found).relative_error(weight) < 1e-6


@each_method
def test_a_zero_weight_is_factored(name):
    method = METHODS[name]
    layer = Layer("fc", "dense", (4, 5)) if method.kind == "dense" else conv_layer(4, 5, 3, 3)
    weight = np.zeros(layer.weight_shape, np.float32)
    cheapest = tuple(1 for _ in method.max_ranks(layer)) if method.spectral else method.ladder(layer)[0]
    assert name == "prune" or method.ranks_for_energy(weight, layer, 0.9) == cheapest
    for part in (0, 1):
        chain = method.factorize(weight, layer, sub_ranks(name, layer, part))
        assert not chain.reconstruct().any() and chain.relative_error(weight) == 0


@each_method
@PROPERTY
@given(data=st.data(), multiple=st.integers(1, 4), steps=st.integers(2, 15))
def test_a_ladder_leads_from_few_macs_to_many(name, data, multiple, steps):
    layer, method = data.draw(layers(name)), METHODS[name]
    ladder = method.ladder(layer, multiple, steps)
    costs = [method.macs(layer, ranks) for ranks in ladder]
    assert ladder and costs == sorted(costs) and len(set(ladder)) == len(ladder)
    assert len(ladder) == 1 or costs[-1] < layer.macs or name == "prune"
    for ranks in ladder:
        assert method.checked_ranks(layer, ranks) == ranks
        for up in (True, False):
            rounded = method.rounded(layer, ranks, multiple, up)
            assert method.checked_ranks(layer, rounded) == rounded
            assert all(a >= b if up else a <= b for a, b in zip(rounded, ranks, strict=True))


def test_pruning_is_for_budgets():
    refused = METHODS["prune"].ranks_for_energy(np.ones((8, 4, 3, 3), np.float32), conv_layer(8, 4, 3, 3), 0.9)
    assert isinstance(refused, Refusal) and "budget" in refused.reason


@pytest.mark.quick(5)
@each_saving_method
@PROPERTY
@given(data=st.data(), seed=SEEDS, energy=st.floats(0.05, 1))
def test_the_energy_is_kept_or_refused(name, data, seed, energy):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight = random_weight(layer, seed)
    ranks = method.ranks_for_energy(weight, layer, energy)
    if isinstance(ranks, Refusal):
        best = max(1 - method.factorize(weight, layer, rung).relative_error(weight) ** 2 for rung in method.ladder(layer))
        assert not method.spectral and best < energy
        assert ranks.reason == f"{name} keeps {best:.1%} of the squared norm at most where it saves MACs"
    else:
        lost = method.factorize(weight, layer, ranks).relative_error(weight) ** 2
        assert lost <= (1 if not method.spectral else len(ranks)) * (1 - energy) + 1e-6


@pytest.mark.parametrize(
    "name, layer, reason",
    [
        ("svd", conv_layer(8, 8, 3, 3), "method svd factors dense layers only"),
        ("tucker2", Layer("fc", "dense", (8, 8)), "method tucker2 factors conv2d layers only"),
        ("svd", Layer("fc", "dense", (8, 8), reason="the weight is not constant"), "the weight is not constant"),
        ("channel_svd", conv_layer(8, 1, 3, 3, groups=8), "depthwise: nothing to factor"),
        ("spatial_svd", conv_layer(8, 4, 3, 3, groups=2), "grouped convolution (2 groups): not factored"),
        ("spatial_svd", conv_layer(8, 4, 1, 1), "1 x 1 kernel: no rows and columns to separate, channel_svd applies"),
        ("tucker2", conv_layer(8, 4, 1, 1), "1 x 1 kernel: no core to shrink, channel_svd applies"),
        ("tucker2", conv_layer(8, 1, 3, 3), "a weight of 8 x 1 x 3 x 3 is of rank 1 already: tucker2 has nothing to factor"),
        ("channel_svd", conv_layer(1, 8, 3, 3), "a weight of 1 x 8 x 3 x 3 is of rank 1 already: channel_svd has nothing to factor"),
        ("spatial_svd", conv_layer(8, 1, 1, 5), "a weight of 8 x 1 x 1 x 5 is of rank 1 already: spatial_svd has nothing to factor"),
        ("cp", conv_layer(8, 4, 1, 1), "1 x 1 kernel: no rows and columns to separate, channel_svd applies"),
        ("cp", conv_layer(8, 4, 3, 3, groups=2), "grouped convolution (2 groups): not factored"),
        ("separable_basis", conv_layer(8, 1, 3, 3, groups=8), "depthwise: nothing to factor"),
        ("flattened", Layer("fc", "dense", (8, 8)), "method flattened factors conv2d layers only"),
        ("flattened_vhl", conv_layer(8, 4, 1, 1), "1 x 1 kernel: no rows and columns to separate, channel_svd applies"),
        ("decoupled", conv_layer(1, 4, 3, 3), "a weight of 1 x 4 x 3 x 3 is of rank 1 already: decoupled has nothing to factor"),
        ("decoupled_pointwise_first", conv_layer(8, 4, 1, 1), "1 x 1 kernel: it is pointwise already, channel_svd applies"),
        ("monochromatic", conv_layer(8, 1, 3, 3), "one input channel: it has no colours"),
        ("monochromatic", conv_layer(1, 8, 3, 3), "one output channel: no filters to share a colour"),
        ("monochromatic", conv_layer(8, 4, 1, 1), "1 x 1 kernel: filters are nothing but their colour, channel_svd applies"),
        ("monochromatic", conv_layer(8, 4, 3, 3, groups=2), "grouped convolution (2 groups): not factored"),
        ("biclustering_svd", conv_layer(8, 1, 3, 3), "too few channels to cluster: 1 in, 8 out"),
        ("biclustering_outer", conv_layer(1, 8, 3, 3), "too few channels to cluster: 8 in, 1 out"),
        ("biclustering_svd", conv_layer(8, 4, 1, 1), "1 x 1 kernel: its blocks are matrices, channel_svd applies"),
        ("biclustering_outer", conv_layer(8, 1, 3, 3, groups=8), "depthwise: nothing to factor"),
        ("prune", conv_layer(2, 4, 3, 3), "too few filters to prune: 2"),
        ("svd", Layer("fc", "dense", (1, 8)), "a weight of 1 x 8 is of rank 1 already: svd has nothing to factor"),
    ],
)
def test_refusals_say_why(name, layer, reason):
    method = METHODS[name]
    assert method.check(layer).reason == reason
    with pytest.raises(ValueError) as error:
        method.factorize(np.ones(layer.weight_shape, np.float32), layer, method.max_ranks(layer) if layer.kind == method.kind else (1,))
    assert str(error.value) == reason


def test_methods_apply_to_what_they_can_factor():
    conv_methods = [METHODS[name] for name in ("spatial_svd", "channel_svd", "tucker2")]
    assert all(method.check(conv_layer(8, 8, 3, 3)) is None for method in conv_methods)
    assert METHODS["channel_svd"].check(conv_layer(8, 8, 1, 1)) is None
    assert METHODS["spatial_svd"].check(conv_layer(8, 8, 1, 3)) is None
    assert METHODS["spatial_svd"].check(conv_layer(1, 1, 3, 3)) is None
    assert METHODS["svd"].check(Layer("fc", "dense", (8, 8))) is None


def test_max_ranks():
    def ranks(name, *shape):
        return METHODS[name].max_ranks(conv_layer(*shape))

    assert ranks("spatial_svd", 128, 96, 5, 5) == (480,)
    assert ranks("spatial_svd", 96, 3, 7, 7) == (21,)
    assert ranks("channel_svd", 96, 3, 7, 7) == (96,)
    assert ranks("channel_svd", 256, 3, 7, 7) == (147,)
    assert ranks("tucker2", 128, 96, 5, 5) == (96, 128)
    assert ranks("tucker2", 40, 3, 3, 3) == (3, 27)
    assert METHODS["svd"].max_ranks(Layer("fc", "dense", (1000, 4096))) == (1000,)


@pytest.mark.parametrize(
    "ranks, message",
    [
        ((0,), "rank 0 of spatial_svd is out of range: 1 to 12"),
        ((13,), "rank 13 of spatial_svd is out of range: 1 to 12"),
        ((2, 2), "spatial_svd takes 1 rank, not 2"),
    ],
)
def test_ranks_out_of_range(ranks, message):
    layer, method = conv_layer(5, 4, 3, 3), METHODS["spatial_svd"]
    for call in (lambda: method.factorize(random_weight(layer, 0), layer, ranks), lambda: method.macs(layer, ranks)):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == message


def test_bad_weights():
    layer, method = conv_layer(5, 4, 3, 3), METHODS["tucker2"]
    with pytest.raises(ValueError, match="the weight is of shape 4 x 5 x 3 x 3, the layer's of 5 x 4 x 3 x 3"):
        method.factorize(np.ones((4, 5, 3, 3), np.float32), layer, (1, 1))
    weight = random_weight(layer, 0)
    weight[0, 0, 0, 0] = np.nan
    for call in (lambda: method.factorize(weight, layer, (1, 1)), lambda: method.ranks_for_energy(weight, layer, 0.5)):
        with pytest.raises(ValueError, match="NaN or infinite"):
            call()
    for energy in (0, -1, 1.01, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            method.ranks_for_energy(np.ones((5, 4, 3, 3), np.float32), layer, energy)


def test_the_result_is_a_chain():
    layer = conv_layer(5, 4, 3, 3)
    for name in ("spatial_svd", "channel_svd", "tucker2"):
        chain = METHODS[name].factorize(random_weight(layer, 0), layer, METHODS[name].max_ranks(layer))
        assert isinstance(chain, FactorChain) and chain.permutation is None
