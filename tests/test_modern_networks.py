"""The networks of today: that they are the published ones, their lists of layers, and float64. What is timed of them is never tested."""
from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import double  # noqa: E402
import errors  # noqa: E402
import shapes  # noqa: E402
import suite  # noqa: E402
import suites  # noqa: E402
import table  # noqa: E402
from modern import lists  # noqa: E402
from modern.catalogue import MODERN, Modern  # noqa: E402
from modern.graph import Graph  # noqa: E402
from tenfold.frontends.reference.retype import retyped  # noqa: E402

SMALL = 64


def sizes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of all values, as ONNX infers them."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)}


def macs(model: onnx.ModelProto, sizes: dict[str, tuple[int, ...]]) -> int:
    """Multiply-accumulates of a model of one image, counted from the file."""
    sizes = sizes | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        given, made = [sizes[name] for name in node.input if name], sizes[node.output[0]]
        if node.op_type == "Conv":
            total += math.prod(made) * math.prod(given[1][1:])
        elif node.op_type == "ConvTranspose":
            total += math.prod(given[0]) * math.prod(given[1][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            total += math.prod(made) * given[0][-1]
    return total


@pytest.mark.quick(5)
@pytest.mark.parametrize("name", MODERN)
def test_a_network_is_the_published_one(name):
    """Its parameters and operations, its list of layers, and shapes that ONNX finds too, at the suite's size."""
    net = MODERN[name]
    graph, model = net.graph(name)
    assert net.params in (None, graph.params)
    sizes = sizes_of(model)
    assert {value: graph.shapes[value] for value in sizes} == sizes
    assert macs(model, sizes) == graph.macs
    assert lists.list_of(name, graph) == (shapes.SHAPES / "modern" / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", [name for name, net in MODERN.items() if net.gmacs])
def test_operations_are_as_many_as_were_published(name):
    net = MODERN[name]
    published, step = net.gmacs, 0.05 if round(net.gmacs, 1) == net.gmacs else 0.0005  # to how many digits it is rounded
    found = net.graph(name, size=net.gmacs_size, weights=False)[0].macs / 1e9
    assert found == pytest.approx(published, rel=0.01, abs=step)


RUN = ("deeplabv3_mobilenet_v3_large", "yolov8n", "ppocr_det", "mobilevit_s", "mixnet_s", "googlenet", "repvgg_a0")


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", RUN)
def test_small_images_run(name):
    """In ONNX Runtime, to the digits of float32, and with outputs of a reasonable size; two images are as one and one."""
    model = MODERN[name].graph(name, batch=2, size=SMALL)[1]
    images = np.random.default_rng(0).standard_normal((2, 3, SMALL, SMALL), dtype="float32")
    (found,) = run(model, images)
    (exact,) = double.outputs_in_float64(MODERN[name].graph(name, size=SMALL)[1], {Graph.input: images[1:]})
    assert exact.dtype == np.float64 and 0.1 < np.abs(exact).max() < 1e4 and exact.std() > 0.01
    assert np.abs(found[1:] - exact).max() < 3e-5 * np.abs(exact).max()


def run(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {Graph.input: images})


def test_float64_is_that_of_the_reference_implementation():
    """All operators that are computed another way, against ONNX's own code: but Erf, which that computes in float32."""
    graph = Graph("small", 12, 2)
    x = graph.conv(graph.input, 8, 3, 2, "silu", pads=(0, 1, 1, 0))
    x = graph.conv(x, 8, 3, groups=2, dilation=2)
    x = graph.concat(graph.depthwise(x, 5), graph.max_pool(x, 3, 1, 1), graph.average_pool(x, 3, 1, 1))
    x = graph.max_pool(graph.resize(graph.resize(x, (10, 13), "linear"), (20, 26)), 3, 2, ceil=True)
    model = retyped(graph.model(graph.transposed(x, 3)), TensorProto.DOUBLE)
    onnx.checker.check_model(model, full_check=True)
    images = np.random.default_rng(1).standard_normal((2, 3, 12, 12))
    (ours,), (theirs,) = (made(model, {Graph.input: images}) for made in (double.outputs_in_float64, reference))
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-12
    graph = Graph("erf", 4)
    (found,) = double.outputs_in_float64(graph.model(graph.activation(graph.input, "gelu")), {Graph.input: images[:1, :, :4, :4]})
    wanted = [x * (math.erf(x / float(np.float32(2**0.5))) + 1) / 2 for x in images[0, :, :4, :4].flat]
    assert np.abs(found.ravel() - wanted).max() < 1e-15


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 1, 1)])
@pytest.mark.parametrize("included", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
def test_average_pools_in_float64_count_what_onnx_counts(pads, included, ceil):
    node = onnx.helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 2], pads=pads, count_include_pad=included,
                                 ceil_mode=ceil)
    x = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 10, 9])
    y = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "pool", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 19)],
                                   ir_version=9)
    images = np.random.default_rng(2).standard_normal((2, 3, 10, 9), dtype="float32")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": images})
    (found,) = double.outputs_in_float64(model, {"x": images})
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-6


def reference(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return ReferenceEvaluator(model).run(None, inputs)


def test_errors_are_those_of_the_first_image(tmp_path, monkeypatch):
    small = Modern(lambda graph: [graph.conv(graph.input, 4, 3)], 5, None, None)
    onnx.save(small.graph("small")[1], tmp_path / "one.onnx")
    model = small.graph("small", batch=3)[1]

    def off(feeds):
        (y,) = run(model, feeds[Graph.input])
        y[0, 0, 0, 0] += 0.5
        y[1] += 100.0
        return [y]

    inputs = [SimpleNamespace(name=Graph.input, shape=(3, 3, 5, 5), dtype="float32")]
    engines = {"exact": lambda feeds: run(model, feeds[Graph.input]), "off": off}
    entries = [SimpleNamespace(model="x8.onnx", engine=SimpleNamespace(run=made), engine_name=name, inputs=inputs)
               for name, made in engines.items()]
    found = errors.errors_of(SimpleNamespace(entries=entries), Path("x8.onnx"), tmp_path / "one.onnx")
    assert 0 < found["exact"] < 1e-6 and 0.05 < found["off"] < 0.5


def test_the_table_tells_errors():
    machine = {"cpu": "a CPU", "physical_cores": 2, "vector_bits": 256, "versions": {"tenfold": "0", "onnxruntime": "1"}}
    figures = {"macs": 10, "ms": {"tenfold": 1.0, "onnxruntime": 2.0}, "ratio": 2.0, "gflops": 1, "share_of_peak": 0.5,
               "kernels_share_of_peak": 0.6}
    rows = [{"name": name, "lists": [], "models": {"network": figures}, "errors": {"tenfold": ours, "onnxruntime": 3e-7}}
            for name, ours in (("near", 6e-7), ("far", 7e-7))]
    result = {"suite": "modern", "date": "2026-01-01", "machine": machine, "threads": 2, "rows": rows}
    text = table.section(result)
    assert "| error | ONNX Runtime's error |" in text and "| 6.0e-07 | 3.0e-07 |" in text
    assert "at most 2 times ONNX Runtime's error in 1 of 2" in text


def test_the_suites_have_every_network_and_every_layer(tmp_path):
    settings = suite.Settings((1, 8), tmp_path)
    rows = suites.modern_networks(settings)
    assert {row.name for row in rows} == {f"{name}{batch}" for name in MODERN for batch in ("", " x8")}
    assert all(row.one_image is not None for row in rows)
    layers = suites.modern_layers(suite.Settings((1,), tmp_path))
    assert "960-256 14 3x3 d36" in {row.name for row in layers}
    assert not {name for row in suites.layers(settings) for name in row.lists} & set(MODERN)  # lists of the old suite stay as they are


def test_a_layer_may_be_dilated(tmp_path):
    (tmp_path / "net.txt").write_text("8 16 14 3 1 12 1 12\n8 16 14 3 2 2 1 2\n")
    wide, strided = shapes.read(tmp_path / "net.txt")
    assert wide.name == "8-16 14 3x3 d12" and wide.layer.output_size == (14, 14) and wide.stages()[0].dilation == (12, 12)
    assert strided.layer.output_size == (7, 7) and strided.layer.macs == 16 * 8 * 9 * 49
