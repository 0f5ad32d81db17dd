"""Small Relax modules, and the check that a rewrite of layouts keeps their numbers."""

from collections import Counter

import numpy as np
import tvm
from tenfold.passes.channels_last import ChannelsLast
from tvm import ir, relax, topi
from tvm.relax import op


def weights(*shape, seed=0):
    return relax.const(np.random.default_rng((seed, *shape)).standard_normal(shape, "float32"))


def module(body, *shapes, dtype="float32"):
    """A module whose `main` takes tensors of these shapes and returns `body(block_builder, *tensors)`."""
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    with builder.function("main", params):
        with builder.dataflow():
            result = body(builder, *params)
            result = builder.emit_output(tuple(result) if isinstance(result, list) else result)
        builder.emit_func_output(result)
    return builder.get()


def one_by_one(*ops):
    """A body that applies functions of one tensor in turn."""

    def body(builder, x):
        for apply in ops[:-1]:
            x = builder.emit(apply(x))
        return ops[-1](x)

    return body


def bindings(mod):
    return [binding for block in mod["main"].body.blocks for binding in block.bindings]


def operators(mod):
    return Counter(b.value.op.name.removeprefix("relax.") for b in bindings(mod) if isinstance(b.value, ir.Call))


def transposed_convolution(builder, call):
    """Stock TVM has no NHWC transposed convolution: permute around the one that it has."""
    attrs = call.attrs
    if attrs.data_layout == "NCHW":
        return call

    def compute(x, w):
        y = topi.nn.group_conv2d_transpose_nchw(
            topi.transpose(x, (0, 3, 1, 2)),
            topi.transpose(w, (2, 3, 0, 1)),
            [int(s) for s in attrs.strides],
            [int(p) for p in attrs.padding],
            "float32",
            [int(p) for p in attrs.output_padding],
            int(attrs.groups),
        )
        return topi.transpose(y, (0, 2, 3, 1))

    return builder.call_te(compute, *call.args, primfunc_name_hint="conv2d_transpose")


def run(mod, *inputs):
    """The outputs of `main`, compiled by the stock pipeline."""
    if "nn.conv2d_transpose" in operators(mod):
        mod = relax.transform.LegalizeOps({"relax.nn.conv2d_transpose": transposed_convolution})(mod)
    target = tvm.target.Target({"kind": "llvm", "opt-level": 0})  # halves the time to compile
    machine = relax.VirtualMachine(tvm.compile(mod, target=target), tvm.cpu())
    result = machine["main"](*[tvm.runtime.tensor(x) for x in inputs])
    return [item.numpy() for item in (result if hasattr(result, "__len__") else [result])]


def check(mod):
    """Rewrite, compare the numbers with those of the stock compiler before the rewrite, and return the new module."""
    new = ChannelsLast()(mod)
    relax.analysis.well_formed(new)
    old_main, new_main = mod["main"], new["main"]
    assert [(p.name, str(p.ty)) for p in old_main.params] == [(p.name, str(p.ty)) for p in new_main.params]
    assert str(old_main.ret_ty) == str(new_main.ret_ty)
    rng = np.random.default_rng(7)
    inputs = [rng.standard_normal([int(s) for s in p.ty.shape.values]).astype(str(p.ty.dtype)) for p in old_main.params]
    for want, have in zip(run(mod, *inputs), run(new, *inputs), strict=True):
        assert want.dtype == have.dtype
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-4)
    return new


def conv2d(x, w, layout="NCHW", **options):
    kernel = {"NCHW": "OIHW", "NHWC": "HWIO"}[layout]
    return op.nn.conv2d(x, w, data_layout=layout, kernel_layout=kernel, out_layout=layout, **options)


def transposed(constant, *axes):
    return relax.const(np.ascontiguousarray(constant.value.numpy().transpose(axes)))


def nhwc(x):
    return op.permute_dims(x, [0, 2, 3, 1])


def nchw(x):
    return op.permute_dims(x, [0, 3, 1, 2])


def hwio(w):
    return transposed(w, 2, 3, 1, 0)
