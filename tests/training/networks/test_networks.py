"""The papers' networks: parameters and operations as the papers print them, computed here by their formulas where they print a formula."""
from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import tenfold
import torch
from tenfold import TenfoldError
from tenfold.training.cost import cost
from tenfold.training.networks import (
    CALLI_OPERATIONS,
    autoencoder,
    calli_baseline,
    calli_resnet34,
    calli_small,
    export_onnx,
    fold_batch_norm,
    jin_baseline,
    jin_flattened,
    resnet,
    small_vgg,
    summation,
    zeiler_fergus,
)
from tenfold.training.networks.separable_block import SeparableBlock
from tenfold.training.networks.summation import summation_data
from torch import nn


def meta(make, *arguments, **options):
    """A network without values in its weights, to count them."""
    with torch.device("meta"):
        return make(*arguments, **options)


def convolutions(network):
    """The weights of each layer that is, or stands for, a convolution."""
    return [sum(p.numel() for p in layer.parameters() if p.ndim == 4) for layer in network if isinstance(layer, (nn.Conv2d, nn.Sequential))]


def test_table_1_of_jin():
    assert convolutions(meta(jin_baseline)) == [7_200, 307_200, 819_200]
    assert convolutions(meta(jin_flattened, lateral_first=False)) == [7_200, 30_912, 102_144]
    formula = [filters * (filters + channels + 2 * 5 + 2 * 5) for channels, filters in ((3, 96), (96, 128), (128, 256))]
    assert convolutions(meta(jin_flattened, first=True)) == formula


@pytest.mark.parametrize("make", [jin_baseline, jin_flattened])
def test_jin_on_both_sizes_of_images(make):
    """Pooling of 3 and stride 2: 32 -> 15 -> 7 -> 3 pixels; the text's 2 and 3 would give 32 -> 11 -> 4 -> 1."""
    network = meta(make)
    assert [layer.p for layer in network if isinstance(layer, nn.Dropout)] == [0.1, 0.25, 0.25, 0.5, 0.5]
    counted = cost(network, (3, 32, 32))
    dense = [layer.in_features for layer in network if isinstance(layer, nn.Linear)]
    assert counted.layers["0"] == 7200 * 32 * 32 and dense == [256 * 9, 256, 256]
    assert cost(meta(make, pooling=(2, 3)), (3, 32, 32)).layers["0"] == counted.layers["0"]
    assert meta(make, 10, 28, channels=1)(torch.zeros(2, 1, 28, 28, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("operation", CALLI_OPERATIONS)
def test_callis_operations_by_their_formulas(operation):
    """Sections 1.2.5, 2.3.1, 2.3.2: H W times K^2 m m', K n (m + m'), m (m' + K^2)."""
    h, k = 24, 5
    layers = cost(meta(calli_baseline, operation), (3, h, h)).layers
    expected = [h * h * k * k * 3 * 32]
    for pixels, m, n in (((h // 2) ** 2, 32, 64), ((h // 4) ** 2, 64, 128)):
        formula = {"convolution": k * k * m * n, "kernel_composing": k * n * (m + n)}.get(operation, m * (n + k * k))
        expected.append(pixels * formula)
    assert sum(layers.values()) == sum(expected) + 128 * 10
    with pytest.raises(TenfoldError, match="operation 'dense': there are convolution"):
        calli_baseline("dense")


def test_table_3_2_of_calli():
    small = meta(calli_small)
    assert round(cost(small, (3, 24, 24)).parameters / 1e6, 2) == 0.12
    blocks = [layer for layer in small if isinstance(layer, SeparableBlock)]
    assert len(blocks) == 6
    layers = cost(small, (3, 32, 32)).layers
    assert sum(macs for name, macs in layers.items() if "." in name) == pytest.approx(13e6, rel=0.01)
    rival = cost(meta(resnet, 20), (3, 32, 32))
    assert round(rival.parameters / 1e6, 2) == 0.27 and rival.macs == pytest.approx(40e6, rel=0.03)
    assert cost(meta(resnet, 56), (3, 32, 32)).parameters == pytest.approx(0.85e6, rel=0.01)  # He et al., table 6
    with pytest.raises(TenfoldError, match=r"a ResNet of 21 layers: for CIFAR-10 they have 6 n \+ 2"):
        resnet(21)


def test_callis_resnet34_begins_cheaply():
    """ "About four times" cheaper than 64 filters of 7 x 7 and stride 2."""
    layers = cost(meta(calli_resnet34), (3, 224, 224)).layers
    stem = sum(macs for name, macs in layers.items() if "." not in name and int(name) < 8)
    assert 3.5 < 49 * 3 * 64 * 112 * 112 / stem < 5
    network = meta(calli_resnet34)
    assert sum(isinstance(layer, SeparableBlock) for layer in network) == 16
    x = torch.zeros(1, 3, 224, 224, device="meta")
    assert network[:9](x).shape == (1, 64, 56, 56) and network(x).shape == (1, 1000)


def test_the_network_that_denton_compresses():
    network = meta(zeiler_fergus)
    first, second, *_ = (layer for layer in network if isinstance(layer, nn.Conv2d))
    assert first.weight.shape == (96, 3, 7, 7) and first.stride == (2, 2) and second.weight.shape == (256, 96, 5, 5)
    assert [cost(network, (3, 224, 224)).layers[name] for name in ("0", "4")] == [110 * 110 * 14_112, 26 * 26 * 614_400]
    assert cost(network, (3, 224, 224)).parameters == 62_357_608
    assert sum(isinstance(layer, nn.Conv2d) for layer in network) == 5 and sum(isinstance(layer, nn.Linear) for layer in network) == 3


def test_networks_of_the_pruning_experiments():
    assert cost(meta(summation), (2,)).parameters == 3 * 1000 + 1001
    pairs, sums = summation_data(5)
    best = summation(1)
    for layer in (best[0], best[2]):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert torch.allclose(best(pairs), sums) and torch.equal(summation_data(5)[0], pairs)
    network = autoencoder()
    x = torch.randn(2, 1, 28, 28)
    assert network(x).shape == x.shape and network(x).abs().max() <= 1
    # The baseline that reduces nothing has 784 values everywhere: 4 of 14 x 14, 16 of 7 x 7.
    assert [layer.weight.shape[:2] for layer in autoencoder((4, 16, 4)) if hasattr(layer, "stride")] == [(4, 1), (16, 4), (16, 4), (4, 1)]


@pytest.mark.parametrize("make", [jin_baseline, jin_flattened])
def test_batch_norm_folds_away(make):
    network = make(batch_norm=True)
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean), nn.init.uniform_(layer.running_var, 0.5, 2), nn.init.uniform_(layer.weight)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = network.eval()(x)
        folded = fold_batch_norm(network)
        assert not any(isinstance(layer, (nn.BatchNorm2d, nn.Dropout)) for layer in folded)
        np.testing.assert_allclose(folded(x), expected, atol=1e-5)


NETWORKS = {
    "jin_flattened": (lambda: jin_flattened(first=True), (3, 32, 32)),
    "calli_nonlinear_separable": (lambda: calli_baseline("nonlinear_separable"), (3, 24, 24)),
    "calli_small": (calli_small, (3, 24, 24)),
    "resnet20": (resnet, (3, 32, 32)),
    "summation": (summation, (2,)),
    "autoencoder": (autoencoder, (1, 28, 28)),
}
MORE = {
    "jin_baseline": (jin_baseline, (3, 32, 32)),
    "small_vgg": (small_vgg, (3, 32, 32)),
    **{f"calli_{name}": (lambda name=name: calli_baseline(name), (3, 24, 24)) for name in CALLI_OPERATIONS},
    "calli_resnet34": (calli_resnet34, (3, 224, 224)),
    "zeiler_fergus": (zeiler_fergus, (3, 224, 224)),
    "resnet56": (lambda: resnet(56), (3, 32, 32)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.long) for name in sorted({*MORE} - {*NETWORKS}))])
def test_export(name, tmp_path):
    """ONNX Runtime computes from the file what torch does, for another batch than was exported."""
    make, shape = (NETWORKS | MORE)[name]
    network = make()
    path = tmp_path / "network.onnx"
    export_onnx(network, shape, path)
    assert network.training
    x = torch.randn(3, *shape)
    with torch.inference_mode():
        expected = network.eval()(x).numpy()
    session = onnxruntime.InferenceSession(path)
    np.testing.assert_allclose(session.run(["logits"], {"image": x.numpy()})[0], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["calli_small", "autoencoder"])
def test_compile(name, tmp_path):
    make, shape = NETWORKS[name]
    export_onnx(make(), shape, tmp_path / "network.onnx")
    check = tenfold.compile(tmp_path / "network.onnx", output=tmp_path / "net", input_shapes={"image": (1, *shape)}).manifest.verification
    assert 0 < check["max_rel_error"] < check["tolerance"]
