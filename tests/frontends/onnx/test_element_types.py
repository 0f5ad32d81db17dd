"""Element types that weights may be stored in, and those that a network can't be compiled in."""
import numpy as np
import onnx
import pytest
from frontend_checks import graph, normal
from onnx import TensorProto, helper, numpy_helper
from tenfold.frontends import load
from tenfold.frontends.relax.importer import import_relax
from tenfold.support.errors import TenfoldError


def stored(dtype: int, cast: bool) -> onnx.ModelProto:
    """A convolution whose weight is of `dtype`, cast to float32 or used as it is."""
    nodes = "v = Cast <to = 1> (w) y = Conv (x, v)" if cast else "y = Conv (x, w)"
    model = graph("float[1,4,8,8] x => float y", nodes, opset=22)
    model.graph.initializer.append(helper.make_tensor("w", dtype, [4, 4, 3, 3], normal(4, 4, 3, 3).ravel()))
    return model


@pytest.mark.parametrize("dtype", [TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.DOUBLE])
def test_weights_that_are_cast_become_float32(dtype):
    model = stored(dtype, cast=True)
    net = load(model)
    assert [node.op_type for node in net.onnx.graph.node] == ["Conv"]
    want = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float32)
    np.testing.assert_array_equal(numpy_helper.to_array(net.onnx.graph.initializer[0]), want)
    assert net.mod is not None


@pytest.mark.parametrize("dtype, word", [(TensorProto.FLOAT8E5M2, "float8e5m2"), (TensorProto.COMPLEX64, "complex64")])
def test_types_that_networks_are_not_compiled_in(dtype, word):
    with pytest.raises(TenfoldError, match=rf"tensor 'w' is {word}, which networks can't be compiled in: cast it to float32"):
        import_relax(load(stored(dtype, cast=False)).onnx, "net")
