"""Layers on bfloat16: which they are, what lies between them, and that values are rounded where it is said, and nowhere else."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tenfold
from fusion_checks import conv, kernels, network
from host_model import named
from onnx import helper, numpy_helper
from tenfold.passes.bfloat16.round_layers import RoundLayers
from tenfold.passes.pipeline import lower
from tenfold.runner.compile import compile_network
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cpu.bfloat16.numbers import from_bfloat16, to_bfloat16
from tenfold.schedules.cpu.int8.isa import pair_dot_of
from tenfold.schedules.cpu.kernel_precision import kernel_precision
from tenfold.targets import CpuTarget, resolve

TARGET = named("zen4").with_precision("bfloat16")
HOST = resolve("host")


def relu(x: str, y: str):
    return helper.make_node("Relu", [x], [y])


def residual(outputs=("y",)):
    """Pointwise layers with a residual from the first behind the third, and one more."""
    nodes = [conv("a", ["x", "w0", "b0"], "a"), relu("a", "ar"), conv("b", ["ar", "w1", "b1"], "b"), relu("b", "br"),
             conv("c", ["br", "w2", "b2"], "c"), helper.make_node("Add", ["c", "ar"], ["s"]), relu("s", "sr"),
             conv("d", ["sr", "w3", "b3"], "y")]
    shapes = {name: size for i, size in enumerate([(256, 128), (128, 256), (256, 128), (128, 256)])
              for name, size in ((f"w{i}", (*size, 1, 1)), (f"b{i}", size[:1]))}
    return network(nodes, shapes, [1, 128, 14, 14], outputs)


def after(net, target: CpuTarget = TARGET):
    return lower(net.mod, backend_of(target), until="bfloat16")


def alone(names: list[str]) -> list[str]:
    """Kernels that do nothing but round or widen."""
    return [name for name in names if name.removeprefix("fused_").startswith(("round_", "widen_bfloat16"))]


def test_between_kernels_lies_bfloat16():
    found = kernels(residual(), TARGET)
    products = [name for name in found if kernel_precision(name) == "bfloat16"]
    # The input is rounded as it is put into NHWC; the last layer writes float32.
    assert len(products) == 4 and sum("round_bfloat16" in name for name in products) == 3 and not alone(found)
    assert [name for name in products if "widen_add" in name] and len(found) == 6


def test_a_second_time_nothing_changes():
    mod = after(residual())
    assert RoundLayers(backend_of(TARGET))(mod).same_as(mod)


def test_an_output_stays_float32():
    """`ar` is an output: the layers read it rounded, the residual as it is."""
    found = kernels(residual(("y", "ar")), TARGET)
    assert len(alone(found)) == 1 and not any("widen" in name for name in found)


def test_the_parts_of_a_concatenation_are_rounded():
    nodes = [conv("a", ["x", "w0"], "a"), relu("a", "ar"), conv("b", ["x", "w1"], "b"), relu("b", "br"),
             helper.make_node("Concat", ["ar", "br"], ["c"], axis=1), conv("d", ["c", "w2"], "y")]
    net = network(nodes, {"w0": (128, 128, 1, 1), "w1": (64, 128, 1, 1), "w2": (256, 192, 1, 1)}, [1, 128, 14, 14])
    dtypes = {str(binding.var.ty.dtype) for block in after(net)["main"].body.blocks for binding in block.bindings
              if "concat" in str(getattr(getattr(binding.value, "op", ""), "name", ""))}
    assert dtypes == {"uint16"}


def test_layers_that_gain_nothing_stay_as_they_are():
    """A 3 x 3 layer that Winograd's algorithm computes faster."""
    net = network([conv("a", ["x", "w"], "y", pads=[1] * 4)], {"w": (64, 64, 3, 3)}, [1, 64, 56, 56])
    assert all(kernel_precision(name) == "float32" for name in kernels(net, TARGET))
    assert not any("bfloat16" in name for name in kernels(residual(), named("zen4")))


def rounded(values: np.ndarray) -> np.ndarray:
    return from_bfloat16(to_bfloat16(values)).astype(np.float64)


@pytest.mark.skipif(pair_dot_of(HOST) is None, reason="no instructions for bfloat16")
def test_values_are_rounded_where_it_is_said(tmp_path):
    """Against float64 that rounds in the same places; a sum of float32 that goes to the other neighbour is rare, and one step."""
    net = residual()
    artifact = compile_network(net, HOST.with_precision("bfloat16"), tmp_path / "out", tune_log=False)
    assert [kernel["precision"] for kernel in artifact.manifest.kernels if kernel["macs"]] == ["bfloat16"] * 4
    x = np.random.default_rng(5).standard_normal((1, 128, 14, 14), "float32")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in net.onnx.graph.initializer}
    weights = [constants[f"w{i}"].reshape(constants[f"w{i}"].shape[:2]) for i in range(4)]
    biases = [constants[f"b{i}"].astype(np.float64) for i in range(4)]

    def computed(kept: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        def layer(value: np.ndarray, i: int) -> np.ndarray:
            return value @ kept(weights[i]).T + biases[i]

        first = kept(np.maximum(layer(kept(x[0].reshape(128, -1).T), 0), 0))
        inner = kept(np.maximum(layer(first, 1), 0))
        return layer(kept(np.maximum(layer(inner, 2) + first, 0)), 3)

    ours, wanted, exact = np.asarray(artifact(x))[0].reshape(128, -1).T, computed(rounded), computed(lambda value: value.astype(np.float64))
    assert np.linalg.norm(ours - wanted) < np.linalg.norm(exact - wanted) / 20  # what rounding in other places would give
    assert np.abs(ours - wanted).max() < 2.0**-9 * np.abs(wanted).max()


@pytest.mark.skipif(pair_dot_of(HOST) is None, reason="no instructions for bfloat16")
def test_a_network_with_everything(tmp_path):
    """Depthwise, grouped and strided layers, pools, a gate, an average: it compiles, which verifies it."""
    nodes = [conv("a", ["x", "w0"], "a", pads=[3] * 4, strides=[2, 2]), relu("a", "ar"),
             helper.make_node("MaxPool", ["ar"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
             conv("b", ["p", "w1"], "b"), helper.make_node("HardSwish", ["b"], ["br"]),
             conv("c", ["br", "w2"], "c", group=128, pads=[1] * 4), relu("c", "cr"),
             helper.make_node("GlobalAveragePool", ["cr"], ["g"]), conv("e", ["g", "w3"], "e"), helper.make_node("Sigmoid", ["e"], ["es"]),
             helper.make_node("Mul", ["cr", "es"], ["m"]), conv("f", ["m", "w4"], "f"), helper.make_node("Add", ["f", "p"], ["r"]),
             conv("h", ["r", "w5"], "h", group=4, pads=[1] * 4), relu("h", "hr"),
             helper.make_node("GlobalAveragePool", ["hr"], ["q"]), helper.make_node("Flatten", ["q"], ["v"]),
             helper.make_node("MatMul", ["v", "w6"], ["y"])]
    shapes = {"w0": (64, 3, 7, 7), "w1": (128, 64, 1, 1), "w2": (128, 1, 3, 3), "w3": (128, 128, 1, 1), "w4": (64, 128, 1, 1),
              "w5": (64, 16, 3, 3), "w6": (64, 10)}
    net = network(nodes, shapes, [2, 3, 64, 64])
    manifest = tenfold.compile(net.onnx, output=tmp_path / "out", precision="bfloat16").manifest
    assert manifest.target["precision"] == "bfloat16"
    assert any(kernel["precision"] == "bfloat16" for kernel in manifest.kernels)
