"""Shapes that do not fit are told as they are: the node, its operator, the shapes of its inputs, and what is wrong with them."""
import numpy as np
import pytest
from frontend_checks import graph, normal
from tenfold.frontends import load
from tenfold.support.errors import TenfoldError

ROW, IMAGE, SIGNAL = "float[2,4] x", "float[2,4,6,6] x", "float[2,4,6] x"

CASES = {
    "conv channels": (IMAGE, "Conv (x, a)", [normal(5, 3, 3, 3)], "the input has 4 channels, the weight takes 3"),
    "conv groups": (IMAGE, "Conv <group = 3> (x, a)", [normal(6, 2, 3, 3)], r"has 4 channels, the weight takes 6 \(3 groups\)"),
    "conv outputs by group": (IMAGE, "Conv <group = 2> (x, a)", [normal(5, 2, 3, 3)], "4 channels to 5 can't be divided into 2 groups"),
    "conv bias": (IMAGE, "Conv (x, a, b)", [normal(5, 4, 3, 3), normal(4)], r"the bias must be of shape \[5\]"),
    "conv bias of one": (IMAGE, "Conv (x, a, b)", [normal(5, 4, 3, 3), normal(1)], r"the bias must be of shape \[5\]"),
    "conv dimensions": (SIGNAL, "Conv (x, a)", [normal(5, 4, 3, 3)], "the weight must have 3 dimensions"),
    "conv kernel": (IMAGE, "Conv <kernel_shape = [5, 5]> (x, a)", [normal(5, 4, 3, 3)], r"kernel_shape says \[5,5\]"),
    "conv too large": (IMAGE, "Conv (x, a)", [normal(5, 4, 7, 7)], "the kernel is larger than its input"),
    "up-conv channels": (IMAGE, "ConvTranspose (x, a)", [normal(5, 3, 3, 3)], "the input has 4 channels, the weight takes 5"),
    "up-conv bias": (IMAGE, "ConvTranspose (x, a, b)", [normal(4, 3, 3, 3), normal(4)], r"the bias must be of shape \[3\]"),
    "gemm": (ROW, "Gemm (x, a)", [normal(5, 3)], "the columns of the first are not the rows of the second"),
    "gemm transposed": (ROW, "Gemm <transB = 1> (x, a)", [normal(4, 3)], "not the rows of the second, transposed as they are"),
    "gemm c": (ROW, "Gemm (x, a, b)", [normal(4, 3), normal(4)], r"the third does not broadcast to the product, \[2,3\]"),
    "gemm large c": (ROW, "Gemm (x, a, b)", [normal(4, 3), normal(5, 2, 3)], "the third does not broadcast"),
    "gemm rank": (SIGNAL, "Gemm (x, a)", [normal(6, 3)], "expected to have rank 2"),
    "matmul": (ROW, "MatMul (x, a)", [normal(5, 3)], "Incompatible dimensions for matrix multiplication"),
    "matmul stacks": (SIGNAL, "MatMul (x, a)", [normal(3, 6, 3)], "Incompatible dimensions"),
    "add": (ROW, "Add (x, a)", [normal(3)], "Incompatible dimensions"),
    "concat": (ROW, "Concat <axis = 1> (x, a)", [normal(3, 3)], "Inferred=3 Declared=2"),
    "reshape": (ROW, "Reshape (x, a)", [np.array([3, 3])], r"8 elements don't make \[3,3\]"),
    "reshape rest": (ROW, "Reshape (x, a)", [np.array([3, -1])], "Dimension could not be inferred"),
    "batch norm": (IMAGE, "BatchNormalization (x, a, a, a, a)", [np.abs(normal(5))], "each parameter must have one value a channel"),
    "instance norm": (IMAGE, "InstanceNormalization (x, a, a)", [normal(5)], "each parameter must have one value a channel"),
    "layer norm": (ROW, "LayerNormalization (x, a)", [normal(3)], r"scale and bias must broadcast to \[4\]"),
    "slope": (IMAGE, "PRelu (x, a)", [normal(5, 1, 1)], "the slope does not broadcast to the input"),
    "transpose": (IMAGE, "Transpose <perm = [0, 1]> (x)", [], r"perm says \[0,1\]"),
    "squeeze": (IMAGE, "Squeeze (x, a)", [np.array([1])], "Dimension of input 1 must be 1 instead of 4"),
    "expand": (ROW, "Expand (x, a)", [np.array([2, 3])], "Incompatible dimensions"),
    "pool": (IMAGE, "MaxPool <kernel_shape = [7, 7]> (x)", [], "the kernel is larger than its input"),
    "pool rank": (SIGNAL, "MaxPool <kernel_shape = [3, 3]> (x)", [], "Attribute kernel_shape has incorrect size"),
    "resize": (ROW, "Resize (x, , a)", [np.float32([1, 2, 2])], "Number of elements of input 'scales'"),
    "pad": (ROW, "Pad (x, a)", [np.array([1, 1])], "Pads has incorrect number of values"),
    "slice": (ROW, "Slice (x, a, a, b)", [np.array([1]), np.array([5])], "Unexpected axis value: 5"),
    "depth to space": (IMAGE, "DepthToSpace <blocksize = 3> (x)", [], "4 channels can't be divided by 3 x 3"),
    "reduction": (IMAGE, "ReduceMean <axes = [5]> (x)", [], r"axis must be in \[-rank, rank-1\]"),
}  # fmt: skip


@pytest.mark.parametrize("signature, node, weights, reason", CASES.values(), ids=CASES)
def test_a_node_whose_inputs_do_not_fit(signature, node, weights, reason):
    nodes = f"r = Relu (x) [it] bad = {node.replace('(x', '(r')} y = Neg (bad)"
    model = graph(f"{signature} => float y", nodes, dict(zip("ab", weights, strict=False)))
    with pytest.raises(TenfoldError, match=reason) as caught:
        load(model)
    text, given = str(caught.value), signature[5:-2]
    assert text.startswith(f"g: operator {node.split()[0]} (node 'it') can't take inputs of shapes {given}")
    assert "\n" not in text and "input-shape" not in text


def test_sizes_that_were_chosen_are_told_too():
    model = graph("float[n,4,h,w] x => float y", "f = Flatten (x) [fc] y = MatMul (f, a)", {"a": normal(64, 5)})
    assert load(model, input_shapes={"x": (2, 4, 4, 4)}).outputs[0].shape == (2, 5)
    pattern = r"of shapes \[2,100\] and \[64,5\]: .*; with x=2,4,5,5, other sizes may fit \(--input-shape, --batch\)"
    with pytest.raises(TenfoldError, match=pattern):
        load(model, input_shapes={"x": (2, 4, 5, 5)})


def test_a_node_without_a_name_is_told_by_what_it_makes():
    with pytest.raises(TenfoldError, match=r"operator Add \(the node that makes 'y'\) can't take"):
        load(graph("float[2,4] x => float y", "y = Add (x, a)", {"a": normal(3)}))


def test_types_that_do_not_fit():
    with pytest.raises(TenfoldError, match=r"operator Add \(node 'it'\) can't be imported: .*float32.*int64") as caught:
        load(graph("float[2,4] x => float y", "[it] y = Add (x, a)", {"a": np.array([1])})).mod  # noqa: B018
    assert "Metadata" not in str(caught.value) and "T." not in str(caught.value)


def test_an_operator_that_nobody_knows_is_named():
    model = graph("float[2,4] x => float y", "r = Relu (x) [it] s = custom.Scale (r) y = Add (s, a)", {"a": normal(3)})
    model.opset_import.add(domain="custom", version=1)
    pattern = r"operator custom.Scale \(node 'it'\) can't be imported: cut the network before .* \(--outputs 'r'\)"
    with pytest.raises(TenfoldError, match=pattern):
        load(model)
