"""Sparse initializers: written out, right in ONNX Runtime's eyes, and bounded."""
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tenfold.frontends import load
from tenfold.support.errors import TenfoldError


def model(places: np.ndarray, values: np.ndarray, sizes: list[int]) -> onnx.ModelProto:
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(values, "w"), numpy_helper.from_array(places, "places"), sizes)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [1, 3, 6, 7]), ("y", None))]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "g", ports[:1], ports[1:], sparse_initializer=[sparse])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("by_axis", [False, True])
def test_weights_are_written_out(by_axis):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 3, 3, 3)).astype("float32") * (rng.random((8, 3, 3, 3)) < 0.3)
    flat = np.flatnonzero(weight)
    places = np.stack(np.unravel_index(flat, weight.shape), axis=1) if by_axis else flat
    given = model(places.astype("int64"), weight.reshape(-1)[flat].astype("float32"), list(weight.shape))
    before = given.SerializeToString()
    network = load(given)
    (found,) = (tensor for tensor in network.onnx.graph.initializer)
    assert np.array_equal(numpy_helper.to_array(found), weight) and not network.onnx.graph.sparse_initializer
    assert given.SerializeToString() == before
    assert [binding.var.name for binding in network.mod["main"].body.blocks[0].bindings][0] == "conv"


def test_what_would_be_too_large_is_refused():
    with pytest.raises(TenfoldError, match="2 GiB"):
        load(model(np.int64([5]), np.float32([1]), [40000, 3, 100, 100]))
    one = model(np.int64([5]), np.float32([1]), [20000, 3, 50, 100])
    for name in ("a", "b", "c"):
        copy = one.graph.sparse_initializer.add()
        copy.CopyFrom(one.graph.sparse_initializer[0])
        copy.values.name = name
    with pytest.raises(TenfoldError, match="its sparse weights, written out, are larger than 2 GiB"):
        load(one)
