"""Structures in the place of a convolution: their weights against the papers' counts, and chains as modules against NumPy."""

import numpy as np
import pytest
import tenfold
import torch
from factor_reference import conv_layer, random_weight, run_chain  # noqa: E402
from tenfold import TenfoldError
from tenfold.factorization import METHODS, FactorChain, Stage, kernel_composing_width_bound
from tenfold.training.structures import FlattenedConv2d, flattened, from_chain, kernel_composing, separable
from torch import nn

RNG = np.random.default_rng(0)


def _weights(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim == 4)


@pytest.mark.parametrize("lateral_first, counts", [(True, (31_232, 103_424)), (False, (30_912, 102_144))])
def test_flattened_layers_have_the_papers_weights(lateral_first, counts):
    """Section 4.3's formula and table 1; each of the six convolutions has a bias of its own."""
    for (channels, filters), count in zip(((96, 128), (128, 256)), counts, strict=True):
        module = flattened(channels, filters, 5, lateral_first=lateral_first)
        assert _weights(module) == count and len(module) == 6
        assert all(layer.bias is not None for layer in module)
        method = METHODS["flattened" if lateral_first else "flattened_vhl"]
        stages = method.outline(conv_layer(filters, channels, 5, 5, padding=(2, 2, 2, 2)), (filters,)).stages
        assert [tuple(layer.weight.shape) for layer in module] == [stage.weight.shape for stage in stages]


@pytest.mark.parametrize("sets", [1, 2, 3])
def test_sets_of_lines(sets):
    module = flattened(3, 8, 5, sets)
    assert _weights(module) == sets * 8 * (5 + 5) + 3 * 8 + (sets - 1) * 64
    assert module(torch.zeros(1, 3, 9, 7)).shape == (1, 8, 9, 7)


def dense_kernel(layer):
    """The kernel of a convolution in groups over all channels."""
    weight, groups = layer.weight.detach(), layer.groups
    outputs, width, *taps = weight.shape
    dense = torch.zeros(outputs, width * groups, *taps)
    for f in range(outputs):
        start = f // (outputs // groups) * width
        dense[f, start : start + width] = weight[f]
    return dense


@pytest.mark.parametrize("lateral_first", [True, False])
@pytest.mark.parametrize("options", [dict(padding=2), dict(stride=(2, 1), padding=(1, 2)), dict(padding=3, dilation=2), dict(groups=2)])
def test_a_flattened_layer_is_a_chain_of_plain_convolutions(options, lateral_first):
    module = FlattenedConv2d(4, 6, 5, lateral_first=lateral_first, **options)
    plain = nn.Conv2d(4, 6, 5, **options)
    for layer in module:
        nn.init.uniform_(layer.bias)
    x = torch.randn(2, 4, 17, 15)
    y = x
    with torch.inference_mode():
        for layer in module:
            y = nn.functional.conv2d(y, dense_kernel(layer), layer.bias, layer.stride, layer.padding, layer.dilation)
        assert y.shape == plain(x).shape
        np.testing.assert_allclose(module(x), y, atol=1e-5)


def test_one_set_is_equation_3():
    """One set without biases is the convolution whose filters are products of a lateral, a vertical and a horizontal line."""
    module = FlattenedConv2d(3, 8, 5, padding=2, sets=1, bias=False)
    lateral, vertical, horizontal = (layer.weight.detach().squeeze() for layer in module)
    kernel = torch.einsum("fc,fy,fx->fcyx", lateral, vertical, horizontal)
    x = torch.randn(2, 3, 9, 7)
    with torch.inference_mode():
        np.testing.assert_allclose(module(x), nn.functional.conv2d(x, kernel, padding=2), atol=1e-5)


def test_the_signal_keeps_its_size():
    """Through six convolutions of a flattened layer: with torch's own initialisation it would shrink some hundred times."""
    torch.manual_seed(0)
    x = torch.randn(4, 128, 32, 32)
    with torch.inference_mode():
        y = FlattenedConv2d(128, 128, 5, padding=2)(x)
    assert 0.5 < y.std() < 2


def test_flattened_layers_refuse_even_kernels():
    assert FlattenedConv2d(3, 8, 4, padding=1, sets=1)(torch.zeros(1, 3, 8, 8)).shape == (1, 8, 7, 7)
    with pytest.raises(TenfoldError, match="a flattened layer of 2 sets with a 4 x 5 kernel"):
        FlattenedConv2d(3, 8, (4, 5))


def test_kernel_composing_convolutions():
    module = kernel_composing(8, 12, 5, 10, stride=2)
    assert _weights(module) == 5 * 10 * (8 + 12) and isinstance(module[1], nn.ReLU)
    dense = nn.Conv2d(8, 12, 5, 2, 2)
    assert module(torch.zeros(1, 8, 9, 7)).shape == dense(torch.zeros(1, 8, 9, 7)).shape
    bound = kernel_composing_width_bound(8, 12, 5)
    assert _weights(kernel_composing(8, 12, 5, bound)) < _weights(dense) <= _weights(kernel_composing(8, 12, 5, bound + 1))


@pytest.mark.parametrize("nonlinear", [False, True])
def test_separable_convolutions(nonlinear):
    module = separable(8, 12, 3, stride=2, nonlinear=nonlinear)
    assert _weights(module) == 8 * 9 + 8 * 12 and len(module) == (4 if nonlinear else 2)
    assert module(torch.zeros(1, 8, 9, 7)).shape == nn.Conv2d(8, 12, 3, 2, 1)(torch.zeros(1, 8, 9, 7)).shape


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.kind == "conv2d"])
def test_a_chain_as_a_module(name):
    layer, method = conv_layer(6, 4, 3, 3, stride=(2, 1), padding=(1, 0, 2, 1), size=(9, 11)), METHODS[name]
    chain = method.factorize(random_weight(layer, 0), layer, method.ladder(layer)[0], np.arange(6))
    x = RNG.standard_normal((2, 4, 9, 11)).astype(np.float32)
    expected = run_chain(chain, x)[0]
    with torch.inference_mode():
        np.testing.assert_allclose(from_chain(chain)(torch.from_numpy(x)).numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_permutations_are_kept():
    weights = [RNG.standard_normal(shape).astype(np.float32) for shape in ((6, 2, 1, 1), (6, 3, 1, 1))]
    chain = FactorChain((Stage(weights[0], groups=2, input_permutation=[2, 0, 3, 1]), Stage(weights[1], groups=2)), [5, 4, 3, 0, 1, 2])
    x = RNG.standard_normal((1, 4, 3, 3)).astype(np.float32)
    with torch.inference_mode():
        np.testing.assert_allclose(from_chain(chain)(torch.from_numpy(x)).numpy(), run_chain(chain, x)[0], atol=1e-5)


def test_training_moves_all_of_a_flattened_start():
    """None of its filters is stuck: the lines that pass pixels on get gradients like the rest, and so do all six biases."""
    layer = conv_layer(6, 4, 3, 3, padding=(1, 1, 1, 1))
    module = from_chain(METHODS["flattened"].factorize(random_weight(layer, 0), layer, (6,)))
    module(torch.randn(4, 4, 9, 9)).square().mean().backward()
    gradients = [parameter.grad.abs().max() for parameter in module.parameters()]
    assert len(gradients) == 12 and min(gradients) > 0


@pytest.mark.slow
def test_structures_compile(tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_STRICT", "1")
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), flattened(8, 16, 5), nn.ReLU(), kernel_composing(16, 16, 3, 8), nn.ReLU(),
        separable(16, 24, 3, 2, nonlinear=True), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip
    artifact = tenfold.compile(network.eval(), output=tmp_path / "net", example_inputs=torch.zeros(1, 3, 16, 16))
    check = artifact.manifest.verification
    assert check["reference"] == "torch" and 0 < check["max_rel_error"] < check["tolerance"]
