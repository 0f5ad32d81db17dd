"""Work and memory that a model asks for: refused before they are spent."""
import resource

import numpy as np
import psutil
import pytest
from frontend_checks import graph, normal
from onnx import helper
from tenfold.frontends import load
from tenfold.frontends.onnx import limits
from tenfold.support.errors import TenfoldError

INT = np.int64


GIBIBYTE = 1 << 30


@pytest.fixture
def peak(monkeypatch):
    """This process may take 1 GiB more during the test: what is refused is refused before that."""
    free, limits_before = limits.free_memory(), resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(limits, "free_memory", lambda: free)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + GIBIBYTE, limits_before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits_before)


CONSTANTS = {
    "Expand": ("Expand (k, s)", {"k": normal(1, 1), "s": INT([40000, 40000])}),
    "ConstantOfShape": ("ConstantOfShape (s)", {"s": INT([40000, 40000])}),
    "Tile": ("Tile (k, s)", {"k": normal(10, 10), "s": INT([4000, 4000])}),
    "Range": ("Range (a, b, c)", {"a": INT(0), "b": INT(10**10), "c": INT(1)}),
    "Range of fractions": ("Range (a, b, c)", {"a": np.float32(0), "b": np.float32(1), "c": np.float32(1e-12)}),
    "Pad": ("Pad (k, s)", {"k": normal(1, 1), "s": INT([0, 0, 40000, 40000])}),
    "Resize": ("Resize (k, , , s)", {"k": normal(1, 1, 2, 2), "s": INT([1, 1, 40000, 40000])}),
    "OneHot": ("OneHot (k, d, v)", {"k": INT(np.zeros((1000, 1000))), "d": INT(10**6), "v": np.float32([0, 1])}),
    "MatMul": ("MatMul (k, s)", {"k": normal(50000, 1), "s": normal(1, 50000)}),
    "Add": ("Add (k, s)", {"k": normal(50000, 1), "s": normal(1, 50000)}),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_that_are_too_large(name, peak):
    call, weights = CONSTANTS[name]
    nodes = f"[big] e = {call} f = Cast <to = 1> (e) t = ReduceMax <keepdims = 0> (f) y = Add (x, t)"
    with pytest.raises(TenfoldError, match=rf"operator {name.split()[0]} \(node 'big'\) makes a constant of [\d.e+]+ GB; more than 2 GiB"):
        load(graph("float[1] x => float y", nodes, weights))


@pytest.mark.slow
@pytest.mark.parametrize(
    "nodes",
    [
        "a0 = Identity (k) " + " ".join(f"a{i + 1} = Concat <axis = 0> (a{i}, a{i})" for i in range(33)) + " y = Cast <to = 1> (a33)",
        "s = Shape (x) q = Mul (s, s) p = Mul (q, q) z = ReduceMax <keepdims = 0> (p) r = Range (o, z, i) y = Cast <to = 1> (r)",
        "s = Shape (x) q = Mul (s, s) p = Mul (q, q) c = ConstantOfShape (p) g = Gather <axis = 0> (k, c) y = Cast <to = 1> (g)",
    ],
)
def test_values_that_shape_inference_would_follow(nodes, peak):
    """The lengths of shapes themselves can explode; onnx keeps every entry of them."""
    with pytest.raises(TenfoldError):
        load(graph("float[300] x => float y", nodes, {"k": INT([2, 3]), "o": INT(0), "i": INT(1)}))


def test_many_constants_that_are_too_large_together(monkeypatch):
    monkeypatch.setattr(limits, "MOST_FOLDED", 10_000_000)
    nodes = " ".join(f"e{i} = Expand (k, s) t{i} = ReduceMax <keepdims = 0> (e{i})" for i in range(4))
    weights = {"k": normal(1, 1), "s": INT([1000, 1000])}
    with pytest.raises(TenfoldError, match="the constants that the network computes take more than 0.0 GB"):
        load(graph("float[1] x => float y", f"{nodes} a = Add (t0, t1) b = Add (t2, t3) c = Add (a, b) y = Add (x, c)", weights))


def test_weights_that_the_file_computes_are_folded():
    nodes = "w = ConstantOfShape <value = float[1] {0.5}> (s) y = Conv (x, w)"
    model = graph("float[1,3,8,8] x => float y", nodes, {"s": INT([4, 3, 3, 3])})
    assert [node.op_type for node in load(model).onnx.graph.node] == ["Conv"]


def test_long_computations_are_left_to_the_network(monkeypatch):
    monkeypatch.setattr(limits, "MOST_WORK", 100)
    model = graph("float[1,8] x => float y", "m = MatMul (a, b) y = MatMul (x, m)", {"a": normal(8, 8), "b": normal(8, 8)})
    assert [node.op_type for node in load(model).onnx.graph.node] == ["MatMul", "MatMul"]


@pytest.mark.parametrize("shape", [(1000000, 3, 224, 224), (1, 3, 10**9, 10**9), (1, 3, 2**62, 4)])
def test_an_input_that_is_too_large(shape, peak):
    model = graph("float[n,3,h,w] x => float y", "y = Conv (x, k)", {"k": normal(4, 3, 3, 3)})
    with pytest.raises(TenfoldError, match=r"input 'x' of .*: needs [\d.e+]+ GB of memory, and [\d.]+ GB are free"):
        load(model, input_shapes={"x": shape})


@pytest.mark.parametrize(
    "nodes, weights, culprit",
    [
        ("y = Expand (x, s)", {"s": INT([10**9, 3, 8, 8])}, "Expand"),
        ("y = Tile (x, s)", {"s": INT([1, 1, 100000, 100000])}, "Tile"),
        ("y = Pad (x, s)", {"s": INT([0, 0, 0, 0, 0, 0, 1000000, 1000000])}, "Pad"),
        ("y = Resize (x, , s)", {"s": np.float32([1, 1, 100000, 100000])}, "Resize"),
        ("y = ConvTranspose <strides = [300000, 300000]> (x, s)", {"s": normal(3, 3, 1, 1)}, "ConvTranspose"),
        ("a = Flatten (x) b = Transpose (a) c = MatMul (b, a) d = Unsqueeze (c, s) e = Unsqueeze (d, s) f = Expand (e, t) y = Relu (f)",
         {"s": INT([0]), "t": INT([10**5, 10, 192, 192])}, "Expand"),
    ],
)  # fmt: skip
def test_a_network_that_needs_more_memory_than_there_is(nodes, weights, culprit, peak):
    words = rf"needs [\d.e+]+ GB of memory when it has come to operator {culprit}.*, and [\d.]+ GB are free"
    with pytest.raises(TenfoldError, match=words):
        load(graph("float[1,3,8,8] x => float y", nodes, weights))


def test_memory_is_that_of_the_values_alive(monkeypatch):
    """A chain of a hundred layers needs two values at a time, whatever its length."""
    chain = " ".join(f"v{i + 1} = Relu (v{i})" if i % 2 else f"v{i + 1} = Sigmoid (v{i})" for i in range(100))
    model = graph("float[1,1,1000,1000] v0 => float y", f"{chain} y = Neg (v100)")
    monkeypatch.setattr(limits, "free_memory", lambda: 20_000_000)
    load(model)
    monkeypatch.setattr(limits, "free_memory", lambda: 7_000_000)
    with pytest.raises(TenfoldError, match="needs 0.0 GB of memory"):
        load(model)


def test_free_memory_knows_the_limit_of_the_process():
    used = limits.free_memory()
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + (500 << 20)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        assert limits.free_memory() <= 500 << 20
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert used > 0


def test_a_tensor_split_into_millions():
    model = graph("float[1,3000000] x => float y", "s = SplitToSequence <axis = 1> (x) y = ConcatFromSequence <axis = 1> (s)")
    with pytest.raises(TenfoldError, match="operator SplitToSequence .* makes more than 10,000 pieces"):
        load(model)


def test_a_model_of_too_many_nodes():
    model = graph("float[1] x => float y", "y = Relu (x)")
    model.graph.node.extend(helper.make_node("Relu", ["x"], [f"v{i}"]) for i in range(20_000))
    with pytest.raises(TenfoldError, match="has 20,001 nodes; the most that is read is 20,000"):
        load(model)
