"""One layer, dense or factored, with its bias and activation, as a network by itself, to compile and time.

    main(x: NHWC) = activation(chain(x))                    weights are random: time does not depend on them
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tvm
from tvm import ir, relax

from ..factorization import FactorChain, Layer
from .factorize import Factorize

NAME = "layer"
WEIGHT_SCALE = 0.05  # of the random weights: activations neither vanish nor overflow
NCHW, NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def layer_module(layer: Layer, chain: FactorChain | None = None, steps: Sequence[str] = ()) -> tvm.IRModule:
    """Make a network of one layer.

    The image comes in and goes out channels-last, as it lies between the layers of a compiled network: no kernel permutes it.

    Parameters
    ----------
    layer : Layer
        The layer, of which only the geometry counts.
    chain : FactorChain, optional
        A chain in its place, of which only the shapes count.
    steps : sequence of str
        The element-wise operators behind it, as `epilogues` gives them.
    """
    rng = np.random.default_rng(0)
    builder = relax.BlockBuilder()
    image = layer.kind == "conv2d"
    shape = (layer.batch, *layer.input_size, layer.in_channels) if image else (layer.batch, layer.in_channels)
    data = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            value = builder.emit(relax.op.permute_dims(data, NCHW)) if image else data
            value = builder.emit(plain_layer(layer, value, _random(rng, layer.weight_shape)), NAME)
            for step in steps:
                value = builder.emit(append_step(step, value, layer, rng))
            result = builder.emit_output(relax.op.permute_dims(value, NHWC) if image else value)
        builder.emit_func_output(result)
    mod = builder.get()
    if chain is None:
        return mod
    return Factorize({NAME: with_random_weights(chain)})(mod)


def with_random_weights(chain: FactorChain) -> FactorChain:
    """A chain of the same shapes with random weights, to time."""
    rng = np.random.default_rng(0)
    return replace(chain, stages=tuple(replace(stage, weight=_random(rng, stage.weight.shape)) for stage in chain.stages))


def plain_layer(layer: Layer, data: relax.Expr, weight: np.ndarray) -> relax.Expr:
    """The layer itself, without what follows it."""
    if layer.kind == "dense":
        return relax.op.matmul(data, relax.const(np.ascontiguousarray(weight.T)))
    geometry = {"strides": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
    return relax.op.nn.conv2d(data, relax.const(weight), **geometry)


def append_step(step: str, value: relax.Expr, layer: Layer, rng: np.random.Generator) -> relax.Expr:
    """One of the element-wise operators behind it, as `epilogues` names them."""
    name, *bounds = step.split()
    if name == "relax.clip":
        return relax.op.clip(value, *map(float, bounds))
    if name in ("relax.add", "relax.multiply"):
        channels = (1, layer.out_channels, 1, 1) if layer.kind == "conv2d" else (layer.out_channels,)
        return relax.Call(ir.Op.get(name), [value, relax.const(_random(rng, channels))])
    return relax.Call(ir.Op.get(name), [value])


def _random(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return WEIGHT_SCALE * rng.standard_normal(shape, "float32")
