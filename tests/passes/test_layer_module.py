"""A layer as a network by itself: its kernels are those that it has in a network, and no others."""
from __future__ import annotations

import pytest
from host_model import named
from tenfold.factorization import METHODS, Layer
from tenfold.passes.epilogues import epilogues
from tenfold.passes.inventory import inventory
from tenfold.passes.kernel_calls import LayerWeights
from tenfold.passes.layer_module import NAME, layer_module
from tenfold.passes.pipeline import lower

CONV = Layer(
    "conv", "conv2d", (48, 32, 5, 3), stride=(2, 1), padding=(2, 1, 2, 1), dilation=(1, 1), input_size=(14, 9), output_size=(7, 9), batch=2
)
DENSE = Layer("fc", "dense", (24, 40), batch=3)
STEPS = ("relax.add", "relax.clip 0 6")


def kernels(mod):
    weights = LayerWeights(mod)
    return weights.calls(lower(mod, named("zen3"), watch=weights.watch))


@pytest.mark.parametrize("layer", [CONV, DENSE], ids=lambda layer: layer.kind)
def test_the_geometry_is_the_layers(layer):
    (found,) = inventory(layer_module(layer))
    for name in ("kind", "weight_shape", "stride", "padding", "dilation", "groups", "input_size", "output_size", "batch", "macs"):
        assert getattr(found, name) == getattr(layer, name)


@pytest.mark.parametrize("layer", [CONV, DENSE], ids=lambda layer: layer.kind)
def test_one_kernel_with_bias_and_activation_and_no_permute(layer):
    (call,) = kernels(layer_module(layer, None, STEPS))
    assert call.layers == (NAME,) and call.macs == layer.macs
    assert epilogues(layer_module(layer, None, STEPS))[NAME][:2] == STEPS


@pytest.mark.parametrize(("layer", "method", "ranks"), [(CONV, "tucker2", (8, 16)), (CONV, "spatial_svd", (8,)), (DENSE, "svd", (8,))])
def test_a_chain_is_all_kernels_of_its_stages(layer, method, ranks):
    outline = METHODS[method].outline(layer, ranks)
    calls = kernels(layer_module(layer, outline, STEPS))
    names = [name for call in calls for name in call.layers]
    assert names == [f"{NAME}.{i}" for i in range(len(outline.stages))]
    assert sum(call.macs for call in calls) == layer.batch * outline.macs(*layer.input_size)
