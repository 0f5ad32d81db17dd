"""One layer on bytes, dense or factored, as a network by itself, to compile and time; and what lies between bytes and float32.

    main(x: bytes) = quantize(activation(chain(dequantize(x))))       stage by stage on bytes; weights are whole steps, random
    main(x) = quantize(x)          main(x: bytes) = dequantize(x)      where a layer on bytes and one in float32 are neighbours
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..factorization import FactorChain, Layer
from ..schedules.tir.module_pass import rewritten
from .factorize import Factorize
from .int8.quantization import Quantization
from .layer_module import NAME, NCHW, NHWC, append_step, plain_layer

BYTES = Quantization(2.0**-4, 0, "uint8")  # of all values: time does not depend on it
STEP = 2.0**-10  # of all weights
LARGEST = 127  # whole steps of a weight
CROSSING = (1, 32, 32, 64)  # shape of what is converted: 65536 numbers, as they lie between two layers


def byte_layer_module(layer: Layer, chain: FactorChain | None = None, steps: Sequence[str] = ()) -> tvm.IRModule:
    """Make a network of one layer between two others on bytes.

    Parameters
    ----------
    layer, chain, steps
        As of `layer_module`.
    """
    rng = np.random.default_rng(0)
    builder = relax.BlockBuilder()
    image = layer.kind == "conv2d"
    shape = (layer.batch, *layer.input_size, layer.in_channels) if image else (layer.batch, layer.in_channels)
    data = relax.Var("x", relax.TensorType(shape, BYTES.dtype))
    with builder.function("main", [data]):
        with builder.dataflow():
            value = builder.emit(BYTES.dequantize(data))
            value = builder.emit(relax.op.permute_dims(value, NCHW)) if image else value
            value = builder.emit(plain_layer(layer, value, _whole_steps(rng, layer.weight_shape)), NAME)
            for step in steps:
                value = builder.emit(append_step(step, value, layer, rng))
            value = builder.emit(relax.op.permute_dims(value, NHWC)) if image else value
            result = builder.emit_output(BYTES.quantize(value))
        builder.emit_func_output(result)
    mod = builder.get()
    if chain is None:
        return mod
    whole = replace(chain, stages=tuple(replace(stage, weight=_whole_steps(rng, stage.weight.shape)) for stage in chain.stages))
    factored = Factorize({NAME: whole})(mod)
    between = {f"{NAME}.{i}" if stage.bias is None else f"{NAME}.{i}.bias" for i, stage in enumerate(chain.stages[:-1])}
    return rewritten(factored, _RoundBetween(factored, between))


def crossing_module(to_bytes: bool) -> tvm.IRModule:
    """Make a network that does nothing but quantize, or dequantize, an image of the shape `CROSSING`."""
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType(CROSSING, "float32" if to_bytes else BYTES.dtype))
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(BYTES.quantize(data) if to_bytes else BYTES.dequantize(data))
        builder.emit_func_output(result)
    return builder.get()


def _whole_steps(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    weight = rng.integers(-LARGEST, LARGEST, shape, endpoint=True)
    weight.reshape(len(weight), -1)[:, 0] = LARGEST  # the largest of each filter, by which its step is found
    return (STEP * weight).astype(np.float32)


@mutator
class _RoundBetween(PyExprMutator):
    """Rounds the values of these names to bytes."""

    def __init__(self, mod: tvm.IRModule, names: set[str]):
        super().__init__(mod)
        self.names = names

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        super().visit_var_binding_(binding)
        if binding.var.name in self.names:
            held: ir.Expr = self.builder_.emit(BYTES.quantize(self.visit_expr(binding.var)))
            self.set_var_remap(binding.var, self.builder_.emit(BYTES.dequantize(held)))
