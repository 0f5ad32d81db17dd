"""Permutations of channels go into weights, and the network computes the same."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
from factor_checks import assert_close, graph, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.frontends import load
from tenfold.passes.fold_permutations import FoldPermutations
from tenfold.passes.pipeline import build
from tenfold.targets import resolve
from tvm import relax

HOST = resolve("host")
SIZES = "float[1,8,9,9] x => float y"


def takes(mod):
    bindings = [binding for block in mod["main"].body.blocks for binding in block.bindings]
    return sum(b.value.op.name == "relax.take" for b in bindings if hasattr(b.value, "op") and hasattr(b.value.op, "name"))


def check(text, weights, left, ports=SIZES):
    """How many permutations are left, and that the result is that of ONNX Runtime."""
    net = load(graph(ports, text, weights))
    after = FoldPermutations()(net.mod)
    relax.analysis.well_formed(after)  # raises
    assert (takes(net.mod) > 0, takes(after)) == (True, left)
    inputs = {spec.name: normal(*spec.shape) for spec in net.inputs}
    out = relax.VirtualMachine(build(net.mod, HOST), tvm.cpu())["main"](*[tvm.runtime.tensor(value) for value in inputs.values()])
    outputs = [out] if hasattr(out, "numpy") else list(out)
    for ours, theirs in zip(outputs, net.reference(inputs), strict=True):
        assert_close(ours.numpy(), theirs)


def order(channels, seed=0):
    return np.random.default_rng(seed).permutation(channels).astype("int64")


def test_down_through_bias_activation_and_pooling_into_a_convolution():
    text = """a = Gather <axis = 1> (x, o) b = Add (a, c) r = Relu (b) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
              m = Mul (p, s) y = Conv (m, w)"""
    check(text, {"o": order(8), "c": normal(1, 8, 1, 1), "s": np.full((1, 1, 1, 1), 2, "float32"), "w": normal(4, 8, 3, 3)}, 0)


def test_up_into_the_convolution_before_it():
    """The grouped convolution behind it has no weight that could take it."""
    text = """a = Conv (x, v, c) r = Relu (a) g = Gather <axis = 1> (r, o) y = Conv <group = 2> (g, w)"""
    check(text, {"v": normal(6, 8, 1, 1), "c": normal(6), "o": order(6), "w": normal(4, 3, 3, 3)}, 0)


def test_not_up_where_somebody_else_reads_the_convolution():
    text = """a = Conv (x, v) g = Gather <axis = 1> (a, o) h = Conv <group = 2> (g, w) y = Add (h, a)"""
    check(text, {"v": normal(6, 8, 1, 1), "o": order(6), "w": normal(6, 3, 1, 1)}, 1)


def test_two_permutations_are_one_and_may_be_none():
    inverse = np.argsort(order(8))
    check("a = Gather <axis = 1> (x, o) r = Relu (a) y = Gather <axis = 1> (r, i)", {"o": order(8), "i": inverse}, 0)
    check("a = Gather <axis = 1> (x, o) r = Relu (a) y = Gather <axis = 1> (r, i)", {"o": order(8), "i": order(8, 1)}, 1)
    check("a = Gather <axis = 1> (x, o) b = Gather <axis = 1> (a, i) r = Relu (b) y = Conv (r, w)",
          {"o": order(8), "i": inverse, "w": normal(4, 8, 1, 1)}, 0)


def test_between_grouped_convolutions_and_at_the_end_it_stays_a_gather():
    text = """a = Conv <group = 2> (x, v) g = Gather <axis = 1> (a, o) h = Conv <group = 2> (g, w) y = Gather <axis = 1> (h, q)"""
    check(text, {"v": normal(8, 4, 1, 1), "o": order(8), "w": normal(4, 4, 1, 1), "q": order(4)}, 2)


def test_a_residual_of_the_permuted_tensor():
    text = """a = Gather <axis = 1> (x, o) r = Relu (a) h = Conv <pads = [1, 1, 1, 1]> (r, w) y = Add (h, r)"""
    check(text, {"o": order(8), "w": normal(8, 8, 3, 3)}, 1)


def test_a_gather_that_is_no_permutation_stays():
    check("a = Gather <axis = 1> (x, o) y = Conv (a, w)", {"o": np.array([0, 0, 2, 3]), "w": normal(4, 4, 1, 1)}, 1)
    check("a = Gather <axis = 2> (x, o) y = Conv (a, w)", {"o": order(9), "w": normal(4, 8, 1, 1)}, 1)


@pytest.mark.slow
@given(steps=st.lists(st.sampled_from(["order", "relu", "bias", "scale", "conv", "grouped", "pool", "residual"]), min_size=1, max_size=8),
       seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_any_sequence(steps, seed):
    """Whatever is done between permutations, the result does not change."""
    text, weights, last = "", {}, "x"
    for i, step in enumerate(["order", *steps]):
        out, constant = f"t{i}", f"w{i}"
        shape = {"bias": (1, 8, 1, 1), "scale": (8, 1, 1), "conv": (8, 8, 1, 1), "grouped": (8, 4, 1, 1)}.get(step)
        if step == "order":
            weights[constant] = order(8, seed + i)
        elif shape is not None:
            weights[constant] = normal(*shape)
        text += {"order": f"{out} = Gather <axis = 1> ({last}, {constant})", "relu": f"{out} = Relu ({last})",
                 "bias": f"{out} = Add ({last}, {constant})", "scale": f"{out} = Mul ({last}, {constant})",
                 "conv": f"{out} = Conv ({last}, {constant})", "grouped": f"{out} = Conv <group = 2> ({last}, {constant})",
                 "pool": f"{out} = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({last})",
                 "residual": f"{out} = Add ({last}, x)"}[step] + " "
        last = out
    net = load(graph(SIZES, text + f"y = Identity ({last})", weights))
    inputs = {"x": normal(1, 8, 9, 9)}
    after = FoldPermutations()(net.mod)
    relax.analysis.well_formed(after)  # raises
    assert takes(after) <= takes(net.mod)
    out = relax.VirtualMachine(build(net.mod, HOST), tvm.cpu())["main"](tvm.runtime.tensor(inputs["x"]))
    assert_close(out.numpy(), net.reference(inputs)[0])


@pytest.mark.parametrize("method, ranks", [("monochromatic", (2,)), ("biclustering_outer", (1, 2, 4))])
def test_factored_layers_within_a_network_have_no_gathers_at_their_ends(method, ranks):
    from tenfold.factorization import METHODS
    from tenfold.passes.factorize import Factorize
    from tenfold.passes.inventory import inventory, weights

    text = """a = Conv <pads = [1, 1, 1, 1]> (x, v) r = Relu (a) b = Conv <pads = [1, 1, 1, 1]> (r, w) s = Relu (b) y = Conv (s, u)"""
    net = load(graph(SIZES, text, {"v": normal(8, 8, 3, 3), "w": normal(16, 8, 3, 3), "u": normal(4, 16, 1, 1)}))
    layer = inventory(net.mod)[1]
    chain = METHODS[method].factorize(weights(net.mod)[layer.name], layer, ranks)
    factored = Factorize({layer.name: chain})(net.mod)
    assert takes(factored) and not takes(FoldPermutations()(factored))
