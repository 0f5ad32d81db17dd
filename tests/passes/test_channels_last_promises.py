"""ChannelsLast on any network: names, constants, barriers, what is not static; and the networks that come with onnx."""

import glob
import os
from collections import Counter

import numpy as np
import onnx
import pytest
import tvm
from layout_checks import bindings, check, conv2d, module, one_by_one, operators, run, weights
from tenfold.passes.channels_last import ChannelsLast
from tvm import ir, relax
from tvm.relax import op
from tvm.relax.frontend.onnx import from_onnx

LARGE = ("vgg19", "zfnet512")  # nothing that AlexNet has not, and most of the time of all nine
LIGHT = sorted(glob.glob(os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light/light_*.onnx")))
LIGHT = [path for path in LIGHT if not path.endswith(tuple(f"{name}.onnx" for name in LARGE))]


def test_layers_keep_their_names_and_nothing_else_takes_them():
    def body(builder, x):
        def bind(call, name):
            call = builder.normalize(call)
            var = relax.DataflowVar(name, call.ty)
            builder.emit_normalized(relax.VarBinding(var, call))
            return var

        y = bind(conv2d(x, weights(4, 3, 1, 1)), "features.0")
        y = bind(conv2d(y, weights(4, 4, 1, 1)), "x0_nhwc")
        return bind(op.matmul(builder.emit(op.reshape(y, (1, 120))), weights(120, 2)), "/head/Gemm")

    new = check(module(body, (1, 3, 5, 6)))
    layers = [b.var.name for b in bindings(new) if b.value.op.name in ("relax.nn.conv2d", "relax.matmul")]
    names = [b.var.name for b in bindings(new)]
    assert layers == ["features.0", "x0_nhwc", "/head/Gemm"]
    assert len(set(names)) == len(names)


def test_before_an_unknown_operator_a_value_is_permuted_back_once():
    w = weights(3, 3, 1, 1)

    def body(builder, x):
        y = builder.emit(conv2d(x, w))
        lower, upper = builder.emit(op.tril(y)), builder.emit(op.triu(y))
        z = builder.emit(conv2d(builder.emit(op.add(lower, upper)), w))
        return [z, y]

    new = check(module(body, (1, 3, 4, 5)))
    assert operators(new) == Counter({"permute_dims": 4, "nn.conv2d": 2, "tril": 1, "triu": 1, "add": 1})  # x, y back, their sum, z back


def test_constants_are_permuted_here_and_not_in_the_network():
    def body(builder, x):
        y = builder.emit(conv2d(x, builder.emit(op.permute_dims(weights(3, 3, 8, 4), (3, 2, 0, 1)))))
        y = builder.emit(op.add(y, builder.emit(op.reshape(weights(4), (4, 1, 1)))))
        y = builder.emit(op.concat([y, weights(1, 2, 4, 5)], 1))
        return op.where(builder.emit(op.greater(y, weights(1, 6, 4, 5))), y, relax.const(0.0))

    new = check(module(body, (1, 8, 6, 7)))
    assert operators(new) == Counter({"permute_dims": 2, "nn.conv2d": 1, "add": 1, "concat": 1, "greater": 1, "where": 1})


@pytest.mark.parametrize("dtype", ["int64", "float64", "float16"])
def test_constants_keep_their_type(dtype):
    offset = relax.const(tvm.runtime.tensor(np.arange(4).reshape(1, 4, 1, 1).astype(dtype)))
    body = one_by_one(lambda x: op.nn.max_pool2d(x, (2, 2)), lambda x: op.astype(x, dtype), lambda x: op.add(x, offset))
    before = module(body, (1, 4, 5, 6))
    assert operators(check(before))["permute_dims"] == 2


def test_tensors_of_dynamic_size_go_through_as_they_are():
    before = tvm.script.from_source(
        """
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor(("n", 3, 5, 5), "float32")):
        with R.dataflow():
            y = R.nn.max_pool2d(x, (2, 2))
            z = R.nn.relu(y)
            R.output(z)
        return z
"""
    )
    ir.assert_structural_equal(ChannelsLast()(before), before)


def test_bindings_outside_dataflow_blocks_and_branches_are_kept():
    before = tvm.script.from_source(
        """
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((1, 3, 5, 6), "float32"), flag: R.Tensor((), "bool")) -> R.Tensor((1, 3, 4, 5), "float32"):
        y: R.Tensor((1, 3, 4, 5), "float32") = R.nn.max_pool2d(x, (2, 2))
        if flag:
            a: R.Tensor((1, 3, 4, 5), "float32") = R.nn.relu(y)
            z: R.Tensor((1, 3, 4, 5), "float32") = R.add(a, y)
        else:
            z: R.Tensor((1, 3, 4, 5), "float32") = R.negative(y)
        w: R.Tensor((1, 3, 4, 5), "float32") = R.nn.softmax(z, axis=1)
        return w
"""
    )
    new = ChannelsLast()(before)
    relax.analysis.well_formed(new)
    assert operators(new)["permute_dims"] == 2
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 6), "float32")
    for flag in (True, False):
        (want,), (have,) = run(before, x, np.array(flag)), run(new, x, np.array(flag))
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: os.path.basename(path)[6:-5])
def test_networks_keep_one_permute_at_the_entry(path):
    """All end in a dense layer or a 1 x 1 image, so nothing is permuted at the exit; ShuffleNet's 16 shuffles are permutes of their own."""
    before = from_onnx(onnx.load(path), keep_params_in_input=False)
    new = ChannelsLast()(before)
    relax.analysis.well_formed(new)
    have, want = operators(new), operators(before)
    assert have["permute_dims"] == (17 if "shufflenet" in path else 1)
    rewritten = ("permute_dims", "reshape", "squeeze", "expand_dims", "broadcast_to")
    assert all(have[name] == want[name] for name in want if name not in rewritten)
    convolutions = [b for b in bindings(new) if isinstance(b.value, ir.Call) and b.value.op.name == "relax.nn.conv2d"]
    assert all(isinstance(b.value.args[1], ir.GenericConst) and b.value.attrs.data_layout == "NHWC" for b in convolutions)
