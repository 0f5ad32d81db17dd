"""A layer on bytes as a network by itself: all of its stages are computed on bytes, where the target has kernels of bytes."""
from __future__ import annotations

import pytest
from tenfold.factorization import METHODS, Layer
from tenfold.passes.byte_layer_module import CROSSING, byte_layer_module, crossing_module
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve

CONV = Layer("conv", "conv2d", (32, 16, 5, 5), padding=(2, 2, 2, 2), input_size=(8, 8), output_size=(8, 8))
DENSE = Layer("fc", "dense", (10, 64))
STEPS = ("relax.add", "relax.nn.relu")


@pytest.mark.parametrize("cpu", ["zen4", "zen3"])
@pytest.mark.parametrize(
    ("layer", "method", "ranks", "stages"),
    [(CONV, None, (), 1), (CONV, "cp", (8,), 4), (CONV, "biclustering_outer", (2, 2, 8), 3), (DENSE, None, (), 1), (DENSE, "svd", (4,), 2)],
)
def test_every_stage_is_on_bytes(cpu, layer, method, ranks, stages):
    backend = backend_of(resolve(cpu))
    chain = None if method is None else METHODS[method].outline(layer, ranks)
    mod = byte_layer_module(layer, chain, STEPS)
    assert str(mod["main"].params[0].ty.dtype) == str(mod["main"].ret_ty.dtype) == "uint8"
    lower(mod, backend, until="quantized")
    assert list(backend.computed_in.values()) == ["int8"] * stages


@pytest.mark.parametrize("to_bytes", [True, False])
def test_a_crossing_converts_and_nothing_else(to_bytes):
    main = crossing_module(to_bytes)["main"]
    kinds = [str(main.params[0].ty.dtype), str(main.ret_ty.dtype)]
    assert kinds == (["float32", "uint8"] if to_bytes else ["uint8", "float32"])
    assert tuple(int(size) for size in main.ret_ty.shape.values) == CROSSING
