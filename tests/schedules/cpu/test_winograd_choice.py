"""Which convolutions legalize to Winograd kernels, and that a residual and an activation join the kernel."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
from host_model import named
from tenfold.passes.legalize import legalize
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of
from tvm import relax, tirx

TARGET = named("zen4")
BACKEND = backend_of(TARGET)


def network(op, channels: int, filters: int, size: int, kernel: int = 3, residual: bool = False, **attrs) -> tvm.IRModule:
    """One convolution NHWC, bias, maybe its input added, ReLU."""
    shape = (filters, kernel, kernel, channels)
    x = relax.Var("x", relax.TensorType((1, size, size, channels), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(op(x, relax.const(np.ones(shape, "float32")), data_layout="NHWC", **attrs))
            y = builder.emit(relax.op.add(y, relax.const(np.ones(filters, "float32"))))
            y = builder.emit(relax.op.add(y, x)) if residual else y
            result = builder.emit_output(relax.op.nn.relu(y))
        builder.emit_func_output(result)
    return builder.get()


def kernels(mod: tvm.IRModule) -> list[str]:
    return sorted(name.name_hint for name, func in mod.functions_items() if isinstance(func, tirx.PrimFunc))


def convolution(**attrs):
    attrs = {"channels": 64, "filters": 64, "size": 56, "padding": 1} | attrs
    return network(relax.op.nn.conv2d, kernel_layout="OHWI", **attrs)


@pytest.mark.parametrize("attrs", [{}, {"dilation": 2, "padding": 2}, {"filters": 63}])
def test_three_by_three_with_stride_one(attrs):
    """Dilated ones by phases, and any number of filters."""
    with TARGET.tvm_target():
        assert "winograd" in kernels(legalize(convolution(**attrs), BACKEND))


@pytest.mark.parametrize("attrs", [{"strides": 2}, {"kernel": 5}, {"channels": 3}])
def test_others_stay_direct(attrs):
    with TARGET.tvm_target():
        names = kernels(legalize(convolution(**attrs), BACKEND))
    assert "conv2d" in names and "winograd" not in names


def test_transposed_convolutions_stay_direct():
    mod = network(relax.op.nn.conv2d_transpose, 64, 64, 28, kernel_layout="OHWI", strides=2, padding=1)
    with TARGET.tvm_target():
        names = kernels(legalize(mod, BACKEND))
    assert "winograd" not in names


def test_epilogue_joins_the_kernel():
    [name] = kernels(lower(convolution(residual=True), backend_of(TARGET), until="schedule"))
    assert name.startswith("fused_winograd")
