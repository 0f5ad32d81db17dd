"""What lies between quantizers works on bytes; the graph before and after, for small functions."""
from __future__ import annotations

from collections.abc import Callable

import pytest
import tvm
from host_model import named
from tenfold.passes.int8.byte_layers import ByteLayers
from tenfold.passes.int8.quantization import Quantization
from tenfold.passes.int8.readers import JoinReaders
from tenfold.passes.int8.stay_in_bytes import StayInBytes
from tenfold.schedules.backend import backend_of
from tvm import ir, relax

U8, S8 = Quantization(0.5, 3, "uint8"), Quantization(0.25, -7, "int8")


def module(build: Callable[[relax.BlockBuilder, relax.Var], ir.Expr], shape=(1, 8, 8, 16), dtype="float32") -> tvm.IRModule:
    """`main` of what `build` emits."""
    x, builder = relax.Var("x", relax.TensorType(shape, dtype)), relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(build(builder, x))
        builder.emit_func_output(result)
    return builder.get()


def operators(mod: tvm.IRModule) -> list[str]:
    """The operators of `main`, in order."""
    calls = [binding.value for block in mod["main"].body.blocks for binding in block.bindings if isinstance(binding.value, ir.Call)]
    return [call.op.name.removeprefix("relax.") if isinstance(call.op, ir.Op) else call.op.name_hint for call in calls]


def through(builder: relax.BlockBuilder, x: ir.Expr, q: Quantization) -> ir.Expr:
    return builder.emit(q.dequantize(builder.emit(q.quantize(x))))


@pytest.mark.parametrize("q", [U8, S8])
@pytest.mark.parametrize(("name", "move"), [
    ("nn.max_pool2d", lambda v: relax.op.nn.max_pool2d(v, (2, 2), (2, 2), layout="NHWC")),
    ("reshape", lambda v: relax.op.reshape(v, (1, 1024))),
    ("permute_dims", lambda v: relax.op.permute_dims(v, [0, 3, 1, 2])),
])
def test_a_dequantize_goes_behind_what_moves_values(q, name, move):
    mod = module(lambda b, x: q.dequantize(b.emit(q.quantize(b.emit(move(through(b, x, q)))))))
    for dtype in ("uint8", "int8"):
        after = StayInBytes(dtype)(mod)
        assert operators(after) == ["quantize", name, "dequantize"]
        assert [str(binding.var.ty.dtype) for binding in after["main"].body.blocks[0].bindings] == [dtype, dtype, "float32"]
        tvm.ir.assert_structural_equal(StayInBytes(dtype)(after), after)


def test_another_scale_behind_a_pool_stays_a_quantize():
    mod = module(lambda b, x: S8.quantize(b.emit(relax.op.nn.max_pool2d(through(b, x, U8), (2, 2), layout="NHWC"))))
    assert operators(StayInBytes("uint8")(mod)) == ["quantize", "nn.max_pool2d", "dequantize", "quantize"]


def test_a_concatenation_of_two_scales_joins_bytes():
    def build(b, x):
        parts = [through(b, x, U8), through(b, x, Quantization(0.125, 0, "uint8"))]
        return U8.dequantize(b.emit(U8.quantize(b.emit(relax.op.concat(parts, 3)))))

    after = StayInBytes("uint8")(module(build))
    assert operators(after) == ["quantize", "quantize", "dequantize", "quantize", "concat", "dequantize"]
    assert all(str(part.ty.dtype) == "uint8" for part in after["main"].body.blocks[0].bindings[4].value.args[0].fields)


@pytest.mark.parametrize(("q", "read"), [(S8, "uint8"), (U8, "int8")])
def test_bytes_that_a_network_gives_keep_their_type(q, read):
    after = StayInBytes(read)(module(lambda b, x: q.quantize(x)))
    assert str(after["main"].ret_ty.dtype) == q.dtype


@pytest.mark.parametrize(("q", "zero"), [(U8, 3), (S8, -7)])
def test_a_type_is_another_zero_point(q, zero):
    assert q.of_type("uint8").zero - 128 == q.of_type("int8").zero and q.of_type(q.dtype).zero == zero


def test_a_dequantize_joins_each_of_its_readers():
    def build(b, x):
        value = through(b, x, U8)
        return relax.op.multiply(b.emit(relax.op.nn.relu(value)), value)

    after = JoinReaders()(module(build))
    assert operators(after) == ["quantize", "dequantize_relu", "dequantize_multiply"]
    groups = [f for g, f in after.functions_items() if g.name_hint != "main"]
    assert len(groups) == 2 and all(f.attrs["Primitive"] for f in groups)
    tvm.ir.assert_structural_equal(JoinReaders()(after), after)


def test_networks_without_quantizers_stay_as_they_are():
    mod = module(lambda b, x: relax.op.nn.relu(b.emit(relax.op.nn.max_pool2d(x, (2, 2), layout="NHWC"))))
    for made in (StayInBytes("uint8")(mod), ByteLayers(backend_of(named("zen4")))(mod), JoinReaders()(mod)):
        tvm.ir.assert_structural_equal(made, mod)
