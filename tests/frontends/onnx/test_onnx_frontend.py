"""Reading ONNX files: what is refused and how, fixed sizes, hashes, the reference."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from frontend_checks import assert_same, example, graph, normal
from tenfold.frontends import TensorSpec, load
from tenfold.passes.inventory import inventory
from tenfold.support.errors import TenfoldError

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.fixture
def model():
    nodes = "a = Conv <pads = [1, 1, 1, 1]> (x, w) y = Relu (a)"
    return graph("float[batch,3,h,8] x, float[batch,5] other => float y, float z", nodes + " z = Relu (other)", {"w": normal(4, 3, 3, 3)})


def refused(pattern: str, *args, **options) -> None:
    with pytest.raises(TenfoldError, match=pattern) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path):
    refused("absent.onnx: no such file", tmp_path / "absent.onnx")
    refused("model.h5: can't tell what this is", tmp_path / "model.h5")
    (tmp_path / "folder.onnx").mkdir()
    refused("folder.onnx: this is a folder", tmp_path / "folder.onnx")


@pytest.mark.parametrize("keep", [0, 1, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, model, keep):
    data = model.SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    refused(r"cut.onnx: not an ONNX model, or cut short", path)


@pytest.mark.parametrize("data", [b"not a model at all", b"PK\x03\x04" + bytes(100), bytes(50)])
def test_not_onnx(tmp_path, data):
    path = tmp_path / "other.onnx"
    path.write_bytes(data)
    refused(r"other.onnx: not an ONNX model, or cut short", str(path))


def test_broken_graphs(model):
    model.graph.node[0].input[0] = "nowhere"
    refused("reads 'nowhere', which nothing before it computes", model)
    refused("makes 'a', which is there already", graph("float[1] x => float y", "a = Relu (x) a = Abs (x) y = Abs (a)"))
    refused(r"operator Relux \(node 'r'\) is not in opset 17", graph("float[1] x => float y", "[r] y = Relux (x)"))


def test_external_data(tmp_path, model):
    path = tmp_path / "big.onnx"
    outside = onnx.ModelProto.FromString(model.SerializeToString())  # onnx.save empties the model that it is given
    onnx.save(outside, path, save_as_external_data=True, location="big.data", size_threshold=0)
    shapes = {"x": (1, 3, 4, 8)}
    net = load(path, input_shapes=shapes)
    x = example(net)
    assert_same(net.reference(x), load(model, input_shapes=shapes).reference(x), ["y", "z"])
    data = (tmp_path / "big.data").read_bytes()
    (tmp_path / "big.data").write_bytes(data[:-4] + b"\0\0\0\0")
    assert load(path, input_shapes=shapes).sha256 != net.sha256
    refused("in a file outside it", onnx.load(path, load_external_data=False), input_shapes=shapes)
    os.remove(tmp_path / "big.data")
    refused("big.onnx: the weights are in big.data, which is not there", path, input_shapes=shapes)


def test_a_dynamic_size_must_be_fixed(model):
    refused(r"input 'x' has a dynamic size: dimension 2 of \[batch,3,h,8\]; fix it with --input-shape x=1,3,224,8", model)
    refused(r"input 'other' has a dynamic size", graph("float[5,?] other => float y", "y = Relu (other)"))
    refused(r"there is no input 'image' to give a shape to; the inputs are 'x', 'other'", model, input_shapes={"image": (1, 3, 8, 8)})
    refused(r"dimension 1 is 3 in the model, 1 in the shape 1,1,8,8", model, input_shapes={"x": (1, 1, 8, 8)})
    refused(r"input 'x' is of shape \[batch,3,h,8\]: the given shape 3,8,8 has 3 dimensions", model, input_shapes={"x": (3, 8, 8)})
    refused(r"sizes are at least 1", model, input_shapes={"x": (0, 3, 8, 8)})


def test_a_size_given_for_one_input_holds_for_the_symbol(model):
    net = load(model, input_shapes={"x": (2, 3, 6, 8)})
    assert net.inputs == [TensorSpec("x", (2, 3, 6, 8), "float32"), TensorSpec("other", (2, 5), "float32")]
    assert net.outputs == [TensorSpec("y", (2, 4, 6, 8), "float32"), TensorSpec("z", (2, 5), "float32")]


def test_an_output_of_unknown_size_is_refused():
    model = graph("float[4] x => int64 y", "[nz] y = NonZero (x)")
    refused(r"operator NonZero \(node 'nz'\) gives as many rows as it finds in the data", model)
    model = graph("int64[2] x => float y", "[cs] y = ConstantOfShape (x)")
    refused(r"size of output 'y' is not known before the network runs, because of operator ConstantOfShape \(node 'cs'\)", model)


def test_hash_is_of_the_file_or_of_the_serialized_model(tmp_path, model):
    shapes = {"x": (1, 3, 4, 8)}
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert load(path, input_shapes=shapes).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load(model, input_shapes=shapes).sha256 == hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def test_the_reference_is_not_the_normalised_graph(model):
    net = load(model, input_shapes={"x": (1, 3, 4, 8)})
    x = example(net)
    before = net.reference(x)
    for tensor in net.onnx.graph.initializer:
        tensor.ClearField("raw_data")
    assert_same(net.reference(x), before, ["y", "z"])
    assert net.reference_name == "onnxruntime"


def test_a_network_that_no_reference_can_run():
    net = load(graph("float[1,4,6,6] x => float y", "y = Add <broadcast = 1, axis = 1> (x, b)", {"b": normal(4)}, opset=6))
    with pytest.raises(TenfoldError, match="g: no reference can run this model.*onnxruntime: .*Add.*onnx.reference: .* opset 6"):
        net.reference(example(net))


def test_loading_does_not_import_tvm_or_torch(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(graph("float[1,4] x => float y", "y = Relu (x)"), path)
    code = f"import sys, tenfold.frontends as f; f.load({str(path)!r}); assert not {{'tvm', 'torch'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, layers, gigamacs",
    # the multiply-accumulates that torchvision's documentation states for squeezenet1_1, resnet50 and densenet121
    [("squeezenet", 26, 0.35), ("resnet50", 54, 4.09), ("densenet121", 121, 2.83)],
)
def test_networks_of_the_onnx_package(name, layers, gigamacs):
    net = load(LIGHT / f"light_{name}.onnx")
    assert {node.op_type for node in net.onnx.graph.node}.isdisjoint({"ConstantOfShape", "BatchNormalization", "Dropout"})
    found = inventory(net.mod)
    assert len(found) == len({layer.name for layer in found}) == layers
    assert round(sum(layer.macs for layer in found) / 1e9, 2) == gigamacs


def test_numbers_survive_a_real_network():
    """Random weights, for those in the package are all alike, in the graph of ShuffleNet."""
    model = onnx.load(LIGHT / "light_shufflenet.onnx")
    rng = np.random.default_rng(0)
    shapes = {node.output[0]: node for node in model.graph.node if node.op_type == "ConstantOfShape"}
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    made = []
    for name, node in shapes.items():
        shape = values[node.input[0]]
        fan = np.prod(shape[1:]) if len(shape) > 1 else 1
        array = np.abs(rng.standard_normal(shape)) + 0.5 if len(shape) == 1 else rng.standard_normal(shape) / np.sqrt(fan)
        made.append(onnx.numpy_helper.from_array(array.astype("float32"), name))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(made)
    net = load(model)
    x = example(net)
    import onnxruntime

    got = onnxruntime.InferenceSession(net.onnx.SerializeToString()).run(None, x)
    want = net.reference(x)
    assert np.ptp(want[0]) > 1e-3  # not the same number for every class
    assert_same(got, want, ["probabilities"], 1e-4)
