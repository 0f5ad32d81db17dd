"""Networks that are cut: at a value, a node or a layer; what only the rest needed is gone, from the reference too."""
import numpy as np
import onnx
import pytest
from frontend_checks import assert_imported_right, assert_same, example, graph, normal
from tenfold.frontends import load
from tenfold.passes.inventory import inventory
from tenfold.support.errors import TenfoldError

BOXES = {"w1": normal(6, 3, 3, 3), "w2": normal(4, 6, 1, 1), "head.weight": normal(5, 6, 1, 1), "rows": np.array([1, 4, -1])}
BOXES |= {"score_rows": np.array([1, 5, -1]), "most": np.array([10]), "overlap": np.float32([0.5])}


def detector() -> onnx.ModelProto:
    """Ends in operators that make no output of a known size, and has an input that only they read."""
    model = graph(
        "float[n,3,8,8] image, float[n,1] size => int64 selected, float scaled",
        """
        [stem] c = Conv (image, w1) r = Relu (c) b = Conv (r, w2) s = Conv (r, "head.weight")
        raw = Reshape (b, rows) boxes = Transpose <perm = [0, 2, 1]> (raw) scores = Reshape (s, score_rows)
        [nms] selected = NonMaxSuppression (boxes, scores, most, overlap)
        [plugin] p = custom.Decode (boxes, size) scaled = Mul (p, size)
        """,
        BOXES,
    )
    model.opset_import.add(domain="custom", version=1)
    return model


def layers(net) -> list[str]:
    return [layer.name for layer in inventory(net.mod)]


def test_a_detector_before_its_suppression():
    with pytest.raises(TenfoldError, match="NonMaxSuppression|Decode"):
        load(detector(), batch=1)
    net = load(detector(), batch=1, outputs=("scores", "boxes"))
    assert [spec.name for spec in net.inputs] == ["image"]
    assert [(spec.name, spec.shape) for spec in net.outputs] == [("scores", (1, 5, 36)), ("boxes", (1, 36, 4))]
    assert layers(net) == ["stem", "w2", "head"]
    assert_imported_right(net)


def test_what_the_cut_does_not_need_is_gone():
    net = load(detector(), batch=1, outputs=("boxes",))
    assert layers(net) == ["stem", "w2"]
    assert {tensor.name for tensor in net.onnx.graph.initializer} == {"w1", "w2", "rows"}
    assert_imported_right(net)


@pytest.mark.parametrize(
    "outputs, values",
    [
        (["r"], ["r"]),  # a value
        (["stem"], ["c"]),  # a node
        (["head", "w2"], ["s", "b"]),  # layers, as inspect names them
        (["boxes", "c", "boxes", "stem"], ["boxes", "c"]),  # each once
    ],
)
def test_names(outputs, values):
    net = load(detector(), batch=1, outputs=tuple(outputs))
    assert [spec.name for spec in net.outputs] == values
    assert_imported_right(net)


def test_values_are_those_of_the_whole_network():
    nodes = "c = Conv (x, w1) r = Relu (c) y = Neg (r)"
    whole = load(graph("float[1,3,8,8] x => float c, float r, float y", nodes, BOXES))
    x = example(whole)
    part = load(graph("float[1,3,8,8] x => float y", nodes, BOXES), outputs=("r", "c"))
    c, r, _ = whole.reference(x)
    assert_same(part.reference(x), [r, c], ["r", "c"])


def test_a_batch_norm_behind_the_cut_is_not_folded_into_the_layer_before_it():
    weights = {"w1": BOXES["w1"], **{key: np.abs(normal(6, seed=i)) + np.float32(0.5) for i, key in enumerate("sbmv")}}
    model = graph("float[1,3,8,8] x => float y", "[conv] c = Conv (x, w1) y = BatchNormalization (c, s, b, m, v)", weights)
    assert_imported_right(load(model, outputs=("conv",)))
    assert_imported_right(load(model, outputs=("c", "y")))


def test_a_weight_behind_nodes_gives_its_name_to_a_layer():
    nodes = 'one_w = DequantizeLinear (q, s) a = Conv (x, one_w) two_w = Transpose <perm = [1, 0, 2, 3]> (v) y = Conv (a, two_w)'
    weights = {"q": np.ones((6, 3, 1, 1), "int8"), "s": np.float32(0.1), "v": normal(6, 2, 1, 1)}
    model = graph("float[1,3,8,8] x => float y", nodes, weights, 13)
    assert layers(load(model)) == ["one", "two"]
    assert [load(model, outputs=(name,)).outputs[0].name for name in ("one", "two")] == ["a", "y"]
    with pytest.raises(TenfoldError, match="'one_w' depend on no input"):
        load(model, outputs=("one_w",))


def test_a_branch_reads_values_from_outside_it():
    nodes = """
    r = Relu (x) k = Neg (x) big = ReduceSum <keepdims = 0> (r) yes = Greater (big, zero)
    y = If (yes) <then_branch = t () => (float a) { a = Add (k, r) }, else_branch = e () => (float b) { b = Neg (k) }> z = Abs (y)
    """
    model = graph("float[2] x => float z", nodes, {"zero": np.float32(0)})
    with pytest.raises(TenfoldError, match="operator If"):
        load(model, outputs=("y",)).mod  # noqa: B018
    assert load(model, outputs=("k",)).reference({"x": np.float32([1, 2])})[0].tolist() == [-1, -2]


@pytest.mark.parametrize(
    "name, message",
    [
        ("boxs", "there is no value, node or layer 'boxs' to end the network with; did you mean 'boxes'"),
        ("stm", "did you mean 'stem'"),
        ("hea", "did you mean 'head'"),
        ("zzz", "the network ends in 'selected', 'scaled'"),
        ("image", "'image' is an input or a constant of the network: name a value that a node makes"),
        ("rows", "'rows' is an input or a constant"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(TenfoldError, match=message):
        load(detector(), batch=1, outputs=(name,))


def test_the_file_stays_the_one_that_a_plan_is_for(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(graph("float[1,3,8,8] x => float y", "r = Conv (x, w1) y = Relu (r)", BOXES).SerializeToString())
    assert load(path, outputs=("r",)).sha256 == load(path).sha256


def test_weights_outside_the_file(tmp_path):
    path = tmp_path / "net.onnx"
    model = graph("float[1,3,8,8] x => float y", "r = Conv (x, w1) y = Relu (r)", BOXES)
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert_imported_right(load(path, outputs=("r",)))
