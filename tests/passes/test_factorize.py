"""Factor chains in Relax: what is put where, and that it computes what the layer or the chain computes."""
import numpy as np
import pytest
import tvm
from factor_checks import (
    apply_chain,
    assert_close,
    chain_of_grouped_stages,
    full_rank,
    graph,
    normal,
    permuted_chain,
    run_relax,
    truncated,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.factorization import METHODS, FactorChain, Stage
from tenfold.frontends import load
from tenfold.passes.factor_chains import push_permutations
from tenfold.passes.factorize import Factorize
from tenfold.passes.inventory import inventory
from tenfold.support.errors import TenfoldError
from tvm import relax

CONV = ("float[1,4,8,8] x => float y", '["block.conv"] c = Conv <pads = [1, 1, 1, 1]> (x, w, b) y = Relu (c)')


def conv_net(kernel=(6, 4, 3, 3)):
    return load(graph(*CONV, {"w": normal(*kernel), "b": normal(6)}))


def bindings(mod):
    return [binding for block in mod["main"].body.blocks for binding in block.bindings]


def test_before_and_after():
    """One convolution becomes two; its bias and ReLU stay behind them."""
    net = conv_net()
    stages = (Stage(normal(2, 4, 3, 1), stride=(1, 1), padding=(1, 0, 1, 0)), Stage(normal(6, 2, 1, 3), padding=(0, 1, 0, 1)))
    after = Factorize({"block.conv": FactorChain(stages)})(net.mod)

    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType((1, 4, 8, 8), "float32"))
    with builder.function("main", [x], attrs={"num_input": 1}):
        with builder.dataflow():
            vertical = builder.emit(relax.op.nn.conv2d(x, relax.const(stages[0].weight), padding=(1, 0, 1, 0)))
            horizontal = builder.emit(relax.op.nn.conv2d(vertical, relax.const(stages[1].weight), padding=(0, 1, 0, 1)))
            biased = builder.emit(relax.op.add(horizontal, relax.const(normal(6).reshape(1, 6, 1, 1))))
            out = builder.emit_output(builder.emit(relax.op.nn.relu(biased)))
        builder.emit_func_output(out)
    tvm.ir.assert_structural_equal(after["main"], builder.get()["main"])
    assert [binding.var.name for binding in bindings(after)][:2] == ["block.conv.0", "block.conv.1"]
    relax.analysis.well_formed(after)


def test_the_module_given_is_not_changed():
    net = conv_net()
    before = net.mod.script()
    Factorize({"block.conv": truncated(net, "block.conv", "tucker2", (2, 3))})(net.mod)
    assert net.mod.script() == before
    assert Factorize({})(net.mod).script() == before


geometry = st.fixed_dictionaries(
    {
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
        "pads": st.tuples(*[st.integers(0, 3)] * 4),
        "channels": st.tuples(st.integers(2, 5), st.integers(2, 5)),
        "batch": st.integers(1, 2),
    }
)


@pytest.mark.quick(1)
@pytest.mark.parametrize("method", ["spatial_svd", "channel_svd", "tucker2"])
@given(geometry)
@settings(max_examples=6, deadline=None)
def test_a_full_rank_chain_is_the_convolution(method, case):
    (y, x), (c, f) = case["kernel"], case["channels"]
    options = f"strides = {list(case['stride'])}, dilations = {list(case['dilation'])}, pads = {list(case['pads'])}"
    text = f"[conv] y = Conv <{options}> (x, w, b)"
    net = load(graph(f"float[{case['batch']},{c},9,10] x => float y", text, {"w": normal(f, c, y, x), "b": normal(f)}))
    (layer,) = inventory(net.mod)
    if METHODS[method].check(layer) is not None:
        return
    data = normal(*net.inputs[0].shape)
    mod = Factorize({"conv": full_rank(net, "conv", method)})(net.mod)
    assert_close(run_relax(mod, [data])[0], net.reference({"x": data})[0])
    assert all(stage.name.startswith("conv.") for stage in inventory(mod))


@pytest.mark.parametrize("signature, text", [("float[3,5] x", "Gemm <transB = 1> (x, w, b)"), ("float[2,3,5] x", "MatMul (x, v)")])
def test_a_full_rank_chain_is_the_dense_layer(signature, text):
    net = load(graph(f"{signature} => float y", f"[fc] y = {text}", {"w": normal(7, 5), "v": normal(5, 7), "b": normal(7)}))
    mod = Factorize({"fc": full_rank(net, "fc", "svd")})(net.mod)
    data = normal(*net.inputs[0].shape)
    assert_close(run_relax(mod, [data])[0], net.reference({"x": data})[0])
    assert [layer.name for layer in inventory(mod)] == ["fc.0", "fc.1"]


@pytest.mark.parametrize(
    "chain, gathers",
    [(permuted_chain(False), 0), (permuted_chain(True), 1), (permuted_chain(False, bias=True), 0), (permuted_chain(True, bias=True), 1)],
)
def test_permutations_and_biases_of_a_chain(chain, gathers):
    net = load(graph("float[1,4,8,8] x => float y", '["block.conv"] y = Conv <pads = [1, 1, 1, 1]> (x, w)', {"w": normal(6, 4, 3, 3)}))
    mod = Factorize({"block.conv": chain})(net.mod)
    assert sum(getattr(getattr(b.value, "op", None), "name", "") == "relax.take" for b in bindings(mod)) == gathers
    data = normal(1, 4, 8, 8)
    assert_close(run_relax(mod, [data])[0], apply_chain(chain, data))


def test_a_permutation_between_groups_stays_a_gather():
    chain = chain_of_grouped_stages()
    assert push_permutations(chain).stages[1].input_permutation is not None
    net = load(graph("float[1,4,8,8] x => float y", "[conv] y = Conv (x, w)", {"w": normal(6, 4, 1, 1)}))
    data = normal(1, 4, 8, 8)
    assert_close(run_relax(Factorize({"conv": chain})(net.mod), [data])[0], apply_chain(chain, data))


def test_pushing_permutations_keeps_the_kernel():
    for chain in (permuted_chain(False), permuted_chain(True), chain_of_grouped_stages()):
        np.testing.assert_allclose(push_permutations(chain).reconstruct(), chain.reconstruct(), rtol=1e-6)


def test_what_is_refused():
    net = conv_net()
    chain = full_rank(net, "block.conv", "tucker2")
    with pytest.raises(TenfoldError, match="there is no layer 'block.con'; did you mean 'block.conv'") as caught:
        Factorize({"block.con": chain})(net.mod)
    assert "\n" not in str(caught.value)
    with pytest.raises(TenfoldError, match="there is no layer 'zzz'; the layers are block.conv"):
        Factorize({"zzz": chain})(net.mod)
    with pytest.raises(TenfoldError, match="the chain does not fit the layer 'block.conv'"):
        Factorize({"block.conv": FactorChain((Stage(normal(6, 4, 1, 1)), Stage(normal(5, 6, 1, 1))))})(net.mod)
    with pytest.raises(TenfoldError, match="the chain does not fit the layer 'block.conv'"):
        Factorize({"block.conv": FactorChain((Stage(normal(6, 3, 3, 3)),))})(net.mod)
    up = load(graph("float[1,4,8,8] x => float y", "[up] y = ConvTranspose (x, w)", {"w": normal(4, 6, 3, 3)}))
    with pytest.raises(TenfoldError, match="'up' is a nn.conv2d_transpose, which has no factored form"):
        Factorize({"up": chain})(up.mod)
    dense = load(graph("float[3,4] x => float y", "[fc] y = MatMul (x, w)", {"w": normal(4, 6)}))
    with pytest.raises(TenfoldError, match="the chain does not fit the layer 'fc': a dense layer takes 1 x 1 stages"):
        Factorize({"fc": chain})(dense.mod)
