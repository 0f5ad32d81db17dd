"""Resize in all its modes against ONNX Runtime: the cases that TVM computes, and those that become matrices or gathers."""
import numpy as np
import pytest
from frontend_checks import assert_imported_right, graph, normal, operators
from tenfold.errors import TenfoldError
from tenfold.frontends import load

COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
SCALES = {"double": [1, 1, 2, 2], "odd": [1, 1, 1.5, 0.6], "uneven": [1, 1, 1.25, 1.3]}
SIZES = {"other": [1, 2, 4, 15], "row": [1, 2, 1, 5]}


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_every_mode_and_coordinate(mode):
    nodes, weights = [], {}
    for name, values in (SCALES | SIZES).items():
        weights[name] = np.array(values, "float32" if name in SCALES else "int64")
        for coordinates in COORDINATES:
            for rounding in ("round_prefer_floor", "floor") if mode == "nearest" else ("floor",):
                options = f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}", nearest_mode = "{rounding}"'
                nodes.append(f"y{len(nodes)} = Resize <{options}> (x, , {name if name in SCALES else f', {name}'})")
    outputs = ", ".join(f"float y{i}" for i in range(len(nodes)))
    assert_imported_right(load(graph(f"float[1,2,6,9] x => {outputs}", " ".join(nodes), weights)), tolerance=2e-5)


def test_what_tvm_has_no_operator_for():
    nodes = """
        a = Resize <mode = "linear", antialias = 1, axes = [2, 3]> (x, , , small)
        b = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (x, roi, , sizes)
    """
    weights = {"small": np.array([3, 4]), "sizes": np.array([1, 2, 5, 3]), "roi": np.array([0, 0, 0.1, 0.2, 1, 1, 0.9, 0.7], "float32")}
    net = load(graph("float[1,2,8,8] x => float a, float b", nodes, weights, opset=18))
    assert set(operators(net)) == {"relax.matmul"}
    assert_imported_right(net)


@pytest.mark.parametrize("opset, operator, mode", [(7, "Upsample", "nearest"), (9, "Upsample", "linear"), (10, "Resize", "linear")])
def test_old_opsets(opset, operator, mode):
    scales = "scales = [1.0, 1.0, 2.0, 2.0]" if opset == 7 else ""
    inputs = "x" if opset == 7 else "x, s"
    text = f'y = {operator} <mode = "{mode}"{", " if scales else ""}{scales}> ({inputs})'
    weights = None if opset == 7 else {"s": np.array([1, 1, 2, 2], "float32")}
    assert_imported_right(load(graph("float[1,2,5,6] x => float y", text, weights, opset)))


def test_the_common_cases_stay_one_operator():
    nodes = """
        a = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , double)
        b = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"> (a, , , sizes)
    """
    weights = {"double": np.array([1, 1, 2, 2], "float32"), "sizes": np.array([1, 2, 21, 21])}
    assert operators(load(graph("float[1,2,8,8] x => float b", nodes, weights))) == ["relax.image.resize2d"] * 2


@pytest.mark.parametrize(
    "text, message",
    [
        ('y = Resize <keep_aspect_ratio_policy = "not_larger", axes = [2, 3]> (x, , , small)', "keep_aspect_ratio_policy"),
        ("y = Resize (x, , channels)", "only the two image axes"),
    ],
)
def test_what_is_refused(text, message):
    weights = {"small": np.array([3, 4]), "channels": np.array([1, 2, 1, 1], "float32"), "unused": normal(1)}
    with pytest.raises(TenfoldError, match=f"operator Resize.*{message}"):
        load(graph("float[1,2,8,8] x => float y", text, weights, opset=18)).mod  # noqa: B018
