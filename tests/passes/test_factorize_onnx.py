"""Factor chains in ONNX: a valid graph, the same interface, the same numbers as the factored Relax module."""
import numpy as np
import onnx
import pytest
from factor_checks import (
    apply_chain,
    assert_close,
    chain_of_grouped_stages,
    full_rank,
    graph,
    normal,
    permuted_chain,
    run_onnx,
    run_relax,
    truncated,
)
from tenfold.factorization import FactorChain, Stage
from tenfold.frontends import load
from tenfold.passes.factorize import Factorize
from tenfold.passes.factorize_onnx import factorize_onnx
from tenfold.support.errors import TenfoldError


@pytest.fixture
def net():
    model = graph(
        "float[1,4,8,8] x => float y",
        """
        ["a/conv"] c = Conv <strides = [2, 1], pads = [1, 0, 2, 1]> (x, w, b)
        r = Relu (c)
        [b] d = Conv (r, shared)
        [c] e = Conv (r, shared)
        s = Add (d, e)
        f = Flatten (s)
        [fc] y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (f, fcw, fcb)
        """,
        {"w": normal(6, 4, 3, 3), "b": normal(6), "shared": normal(5, 6, 1, 1), "fcw": normal(7, 175), "fcb": normal(7)},
    )
    model.metadata_props.add(key="classes", value="cat,dog")
    return load(model)


def test_the_graph_stays_valid_and_keeps_its_interface(net):
    chains = {
        "a/conv": truncated(net, "a/conv", "tucker2", (2, 3)),
        "b": truncated(net, "b", "channel_svd", (2,)),
        "fc": truncated(net, "fc", "svd", (3,)),
    }
    before = net.onnx.SerializeToString(deterministic=True)
    small = factorize_onnx(net.onnx, chains)
    onnx.checker.check_model(small, full_check=True)
    assert net.onnx.SerializeToString(deterministic=True) == before
    assert (small.graph.input, small.graph.output) == (net.onnx.graph.input, net.onnx.graph.output)
    assert (small.ir_version, small.opset_import, small.metadata_props) == (
        net.onnx.ir_version,
        net.onnx.opset_import,
        net.onnx.metadata_props,
    )
    names = {kind: [node.name for node in small.graph.node if node.op_type == kind] for kind in ("Conv", "Gemm")}
    assert names == {"Conv": ["a/conv.0", "a/conv.1", "a/conv.2", "b.0", "b.1", "c"], "Gemm": ["fc.0", "fc.1"]}
    made = {node.name: node.output[0] for node in small.graph.node}
    assert (made["a/conv.2"], made["b.1"], made["fc.1"]) == ("c", "d", "y")
    left = {tensor.name for tensor in small.graph.initializer}
    assert {"b", "shared", "fcb"} <= left and not {"w", "fcw"} & left  # layer c still reads the shared weight
    assert small.ByteSize() < net.onnx.ByteSize()


def test_onnx_and_relax_compute_the_same_factored_network(net):
    chains = {"a/conv": truncated(net, "a/conv", "spatial_svd", (3,)), "c": truncated(net, "c", "channel_svd", (2,))}
    chains["fc"] = truncated(net, "fc", "svd", (3,))
    x = normal(1, 4, 8, 8)
    (got,) = run_onnx(factorize_onnx(net.onnx, chains), {"x": x})
    assert_close(got, run_relax(Factorize(chains)(net.mod), [x])[0], 1e-5)
    assert np.abs(got - net.reference({"x": x})[0]).max() > 1e-3  # truncated: not the dense network


@pytest.mark.parametrize(
    "signature, text",
    [
        ("float[3,5] x", "Gemm (x, v, b)"),
        ("float[3,5] x", "Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)"),
        ("float[5,3] x", "Gemm <transA = 1> (x, v)"),
        ("float[3,5] x", "Gemm <beta = 0.5> (x, v, column)"),
        ("float[2,3,5] x", "MatMul (x, v)"),
    ],
)
def test_full_rank_dense_layers(signature, text):
    values = {"w": normal(7, 5), "v": normal(5, 7), "b": normal(7), "column": normal(3, 1)}
    net = load(graph(f"{signature} => float y", f"[fc] y = {text}", values))
    small = factorize_onnx(net.onnx, {"fc": full_rank(net, "fc", "svd")})
    onnx.checker.check_model(small, full_check=True)
    x = normal(*net.inputs[0].shape)
    assert_close(run_onnx(small, {"x": x})[0], net.reference({"x": x})[0], 1e-5)


@pytest.mark.parametrize("method", ["spatial_svd", "channel_svd", "tucker2"])
def test_full_rank_convolutions(net, method):
    x = normal(1, 4, 8, 8)
    small = factorize_onnx(net.onnx, {"a/conv": full_rank(net, "a/conv", method)})
    assert_close(run_onnx(small, {"x": x})[0], net.reference({"x": x})[0], 1e-5)


@pytest.mark.parametrize("bias", [False, True], ids=["", "layer_bias"])
@pytest.mark.parametrize("end", ["ungrouped", "grouped", "grouped_with_bias"])
def test_permutations_and_biases_of_a_chain(end, bias):
    chain = permuted_chain(end != "ungrouped", bias=end == "grouped_with_bias")
    b = normal(6, seed=9)
    text = f"[conv] y = Conv <pads = [1, 1, 1, 1]> (x, w{', b' if bias else ''})"
    net = load(graph("float[1,4,8,8] x => float y", text, {"w": normal(6, 4, 3, 3), "b": b}))
    small = factorize_onnx(net.onnx, {"conv": chain})
    onnx.checker.check_model(small, full_check=True)
    assert sum(node.op_type == "Gather" for node in small.graph.node) == (end != "ungrouped")
    x = normal(1, 4, 8, 8)
    assert_close(run_onnx(small, {"x": x})[0], apply_chain(chain, x) + (b[:, None, None] if bias else 0), 1e-5)


def test_a_permutation_between_groups_stays_a_gather():
    chain = chain_of_grouped_stages()
    net = load(graph("float[1,4,8,8] x => float y", "[conv] y = Conv (x, w)", {"w": normal(6, 4, 1, 1)}))
    small = factorize_onnx(net.onnx, {"conv": chain})
    assert [node.op_type for node in small.graph.node] == ["Conv", "Gather", "Conv"]
    x = normal(1, 4, 8, 8)
    assert_close(run_onnx(small, {"x": x})[0], apply_chain(chain, x), 1e-5)


def test_names_that_are_taken():
    text = '[conv] c = Conv (x, w) ["conv.0"] y = Conv (c, "conv.0.weight")'
    net = load(graph("float[1,4,8,8] x => float y", text, {"w": normal(6, 4, 3, 3), "conv.0.weight": normal(5, 6, 1, 1)}))
    small = factorize_onnx(net.onnx, {"conv": full_rank(net, "conv", "channel_svd")})
    onnx.checker.check_model(small, full_check=True)
    assert len({node.name for node in small.graph.node}) == 3
    x = normal(1, 4, 8, 8)
    assert_close(run_onnx(small, {"x": x})[0], net.reference({"x": x})[0], 1e-5)


def test_what_is_refused(net):
    chain = full_rank(net, "a/conv", "tucker2")
    with pytest.raises(TenfoldError, match="there is no layer 'a/con'; did you mean 'a/conv'"):
        factorize_onnx(net.onnx, {"a/con": chain})
    with pytest.raises(TenfoldError, match="the chain does not fit the layer 'fc'"):
        factorize_onnx(net.onnx, {"fc": FactorChain((Stage(normal(7, 175, 3, 3)),))})
