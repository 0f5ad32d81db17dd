"""Resize in all its modes against ONNX Runtime or ONNX's reference: what TVM computes, and what becomes matrices or gathers."""
import numpy as np
import onnx
import pytest
from frontend_checks import assert_imported_right, assert_same, example, graph, operators, run_relax
from onnx.reference import ReferenceEvaluator
from tenfold.frontends import load
from tenfold.support.errors import TenfoldError

COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
SCALES = {"double": [1, 1, 2, 2], "odd": [1, 1, 1.5, 0.6], "uneven": [1, 1, 1.25, 1.3]}
SIZES = {"other": [1, 2, 4, 15], "row": [1, 2, 1, 5]}


@pytest.mark.slow
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


RANKS = {"sequence": "1,4,5", "plane": "4,6", "volume": "1,2,3,4,5"}
FRACTIONS = {2: [2.5, 0.6], 3: [1, 1, 2.5], 5: [1, 1, 1.5, 0.7, 1.3]}


@pytest.mark.quick(9)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("rank", RANKS)
def test_any_number_of_axes_by_fractions(rank, mode, coordinates):
    shape = [int(size) for size in RANKS[rank].split(",")]
    scales = np.array(FRACTIONS[len(shape)], "float32")
    if coordinates == "align_corners":  # of a length that is no whole number ONNX and ONNX Runtime think differently
        scales = np.array([int(size * scale) / size for size, scale in zip(shape, scales, strict=True)], "float32")
    text = f'y = Resize <mode = "{mode}", coordinate_transformation_mode = "{coordinates}"> (x, , scales)'
    model = graph(f"float[{RANKS[rank]}] x => float y", text, {"scales": scales})
    net = load(model)
    x = example(net)
    # ONNX Runtime has linear up to volumes, and cubic for images only.
    want = ReferenceEvaluator(model).run(None, x)[0]
    assert_same(run_relax(net.mod, list(x.values())), [want], ["y"], 2e-5)


def _keeping(policy: str, sizes: list[int]) -> onnx.ModelProto:
    text = f'y = Resize <keep_aspect_ratio_policy = "{policy}", mode = "linear", axes = [2, 3]> (x, , , sizes)'
    return graph("float[1,2,8,10] x => float y", text, {"sizes": np.array(sizes)}, opset=18)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_a_policy_that_keeps_the_aspect_ratio(policy):
    assert_imported_right(load(_keeping(policy, [4, 3])))


def test_a_policy_that_rounds_up_is_refused():
    with pytest.raises(TenfoldError, match="operator Resize.*keep_aspect_ratio_policy with a size that is rounded up"):
        load(_keeping("not_larger", [3, 4])).mod  # noqa: B018 - the width would be 3.75


def test_channels_are_resized_too():
    text = 'y = Resize <mode = "nearest"> (x, , channels)'
    assert_imported_right(load(graph("float[1,2,8,8] x => float y", text, {"channels": np.array([1, 2, 1, 1], "float32")}, opset=18)))


def test_what_lies_outside_of_a_crop():
    options = 'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 10.0'
    weights = {"sizes": np.array([1, 2, 5, 3]), "roi": np.array([0, 0, -0.4, 0.2, 1, 1, 0.9, 1.7], "float32")}
    net = load(graph("float[1,2,8,8] x => float y", f"y = Resize <{options}> (x, roi, , sizes)", weights, opset=18))
    assert (run_relax(net.mod, list(example(net).values()))[0] == 10).any()
    assert_imported_right(net)
