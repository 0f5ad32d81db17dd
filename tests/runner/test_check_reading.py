"""A network that was read wrong: nothing is made of it. And what compiling says of how it verified."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import tenfold
from command_checks import tenfold as command
from conftest import tiny_network
from onnx import TensorProto, helper, numpy_helper
from tenfold.frontends import load
from tenfold.frontends.reference import Reference
from tenfold.runner.check_reading import check_reading
from tenfold.support.errors import TenfoldError, VerificationError


@pytest.fixture
def misread(monkeypatch):
    """Every network is read with a weight that is 1.5 times too large."""
    from tenfold.frontends.onnx import reader as frontend

    real = frontend.normalize

    def normalize(*arguments):
        model = real(*arguments)
        for tensor in model.graph.initializer:
            if tensor.name == "conv.weight":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
        return model

    monkeypatch.setattr(frontend, "normalize", normalize)


def consumers(model, folder, plan):
    """What makes something of a network that it did not compile as a whole: name -> call."""
    from tenfold.plots.command import plot

    half = tenfold.Recipe(energy=0.5)
    images = {"x": np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype("float32"), "y": np.arange(32) % 5}
    return {
        "by recipe": lambda: tenfold.compress(model, folder / "out", half),
        "by plan": lambda: tenfold.compress(model, folder / "out", plan),
        "with data": lambda: tenfold.compress(model, folder / "out", half, data=images),
        "by budget": lambda: tenfold.compress(model, folder / "out", tenfold.Budget(max_drop=50.0), data=images),
        "compiling a plan": lambda: tenfold.compile(model, output=folder / "out", plan=plan, threads=1),
        "compiling": lambda: tenfold.compile(model, output=folder / "out", threads=1),
        "benchmark": lambda: tenfold.bench(model, runs=1, threads=1),
        "a picture": lambda: plot("spectra", str(model), folder / "out.png"),
    }


CONSUMERS = ("by recipe", "by plan", "with data", "by budget", "compiling a plan", "compiling", "benchmark", "a picture")


@pytest.fixture(scope="module")
def plan(tiny_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    tenfold.compress(tiny_file, folder / "small", tenfold.Recipe("channel_svd", 0.5))
    return folder / "small" / "plan.json"


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", CONSUMERS)
def test_nothing_is_made_of_a_network_that_was_read_wrong(tiny_file, tmp_path, misread, plan, name):
    with pytest.raises(VerificationError, match="'scores' of the network as it was read differs from onnxruntime .*please report"):
        consumers(tiny_file, tmp_path, plan)[name]()
    assert not list(tmp_path.iterdir())


def test_a_reading_is_checked_once(tiny_file, monkeypatch):
    network = load(tiny_file)
    found = check_reading(network)
    monkeypatch.setattr(Reference, "__call__", lambda self, inputs: pytest.fail("checked again"))
    assert check_reading(network) is found and found.reference == "onnxruntime" and found.inputs == 2


def test_real_images_are_compared_too(tiny_file):
    from tenfold.runner.data import Data

    assert check_reading(load(tiny_file), Data(np.zeros((3, 3, 8, 8), "float32"))).inputs == 2 + 3


def test_the_report_says_how_the_reading_was_checked(tiny_file, tmp_path):
    done = tenfold.compress(tiny_file, tmp_path / "out", tenfold.Recipe(energy=0.5))
    assert done.reading["reference"] == "onnxruntime" and done.reading["max_rel_error"] <= done.reading["tolerance"]
    assert '"reading"' in (tmp_path / "out" / "report.json").read_text()


@pytest.mark.quick(1)
@pytest.mark.parametrize("error", [RuntimeError("no"), TenfoldError("no"), KeyError("c"), AttributeError("x"), AssertionError()])
def test_what_fails_in_looking_for_the_layer_hides_no_difference(tiny_file, tmp_path, monkeypatch, error):
    from tenfold.passes import pipeline
    from tenfold.runner import first_difference

    def fail(*arguments):
        raise error

    wrong = onnx.load(tiny_file)
    for tensor in wrong.graph.initializer:
        if tensor.name == "fc.bias":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(1), tensor.name))
    mod, real = load(wrong).mod, pipeline.lower
    monkeypatch.setattr(pipeline, "lower", lambda _, target, **options: real(mod, target, **options))
    monkeypatch.setattr(first_difference, "expose_relax", fail)
    with pytest.raises(VerificationError, match=r"'scores' of the compiled network differs .* at \[0, \d\] it is [-\d.]+, not [-\d.]+$"):
        tenfold.compile(tiny_file, output=tmp_path / "out", threads=1)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_in_looking_for_the_layer_is_one(tiny_file, monkeypatch):
    from tenfold.runner import first_difference

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(first_difference, "expose_onnx", interrupt)
    with pytest.raises(KeyboardInterrupt):
        first_difference.first_difference(type("V", (), {"onnx": None})(), None, None, {})


# What is said on the screen and in the manifest.


def dilated() -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], "c", kernel_shape=[3, 3], dilations=[2, 2], auto_pad="SAME_LOWER")
    return one_layer(node, TensorProto.FLOAT)


def one_layer(node: onnx.NodeProto, kind: int) -> onnx.ModelProto:
    weight = (np.random.default_rng(0).standard_normal((16, 8, 3, 3)) / 8).astype(helper.tensor_dtype_to_np_dtype(kind))
    ports = [helper.make_tensor_value_info("x", kind, [1, 8, 9, 9])], [helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph([node], "g", *ports, [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def plain(kind: int) -> onnx.ModelProto:
    return one_layer(helper.make_node("Conv", ["x", "w"], ["y"], "c"), kind)


@pytest.mark.parametrize(
    ("model", "reference", "tolerance", "reason", "dtype"),
    [
        (dilated(), "onnxruntime, with explicit pads", 1e-4, "float32 values", "float32"),
        (plain(TensorProto.FLOAT16), "onnxruntime", 2.0**-8, "float16 values", "float16"),
        (plain(TensorProto.DOUBLE), "onnx.reference", 1e-4, "float32 values", "float64"),
    ],
)
def test_the_reference_and_the_tolerance_are_named(tmp_path, model, reference, tolerance, reason, dtype):
    onnx.save(model, tmp_path / "m.onnx")
    outcome = command("compile", tmp_path / "m.onnx", "-o", tmp_path / "out", "--threads", 1, seconds=300)
    assert outcome.code == 0, outcome.err
    assert f"against {reference} on 2 inputs" in outcome.out and reason in outcome.out and not outcome.err
    manifest = tenfold.load(tmp_path / "out").manifest
    check = manifest.verification
    assert (check["reference"], check["tolerance"], check["tolerance_reason"]) == (reference, tolerance, reason)
    assert manifest.inputs[0].dtype == manifest.outputs[0].dtype == dtype
    assert manifest.macs == 16 * 8 * 9 * (81 if "pads" in reference else 49) and check["max_rel_error"] <= tolerance


def test_a_float16_network_is_factored(tmp_path):
    done = tenfold.compress(plain(TensorProto.FLOAT16), tmp_path / "out", tenfold.Recipe(energy=0.5))
    assert list(done.plan.layers) == ["c"]
    small = load(tmp_path / "out" / "model.onnx")
    assert small.inputs[0].dtype == small.outputs[0].dtype == "float16"
    net = tenfold.compile(plain(TensorProto.FLOAT16), plan=done.plan, threads=1)
    assert net.manifest.verification["reference"] == "onnxruntime, plan applied"
    x = np.random.default_rng(0).standard_normal((1, 8, 9, 9)).astype("float16")
    y = net(x)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, small.reference({"x": x})[0], rtol=0, atol=2.0**-9 * np.abs(y).max())


@pytest.mark.slow
def test_a_tolerance_may_be_asked_for(tiny_file, tmp_path):
    asked = command("compile", tiny_file, "-o", tmp_path / "out", "--threads", 1, "--tolerance", "0.25", seconds=300)
    assert asked.code == 0 and "(tolerance 2.5e-01, as asked)" in asked.out
    strict = command("compile", tiny_file, "-o", tmp_path / "strict", "--threads", 1, "--tolerance", "1e-12", seconds=300)
    assert strict.code == 1 and strict.complaint is None and "tolerance 1.0e-12, as asked" in strict.err
    assert not (tmp_path / "strict").exists()
    wrong = command("compile", tiny_file, "-o", tmp_path / "wrong", "--tolerance", "0")
    assert wrong.code == 2 and wrong.complaint is None and "tolerance must be" in wrong.err


def test_a_note_is_shown_and_kept(tmp_path, monkeypatch):
    """An engine that is off by 1e-7, where the outputs are 1e-4."""
    real = Reference.__call__
    monkeypatch.setattr(Reference, "__call__", lambda self, inputs: [y + np.float32(1e-7) for y in real(self, inputs)])
    model = tiny_network()
    model.graph.node[-1].output[0] = "logits"
    model.graph.node.append(helper.make_node("Sub", ["logits", "nine"], ["low"], "sub"))
    model.graph.node.append(helper.make_node("Sigmoid", ["low"], ["scores"], "sigmoid"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(30), "nine"))
    onnx.save(model, tmp_path / "m.onnx")
    outcome = command("compile", tmp_path / "m.onnx", "-o", tmp_path / "out", "--threads", 1, seconds=300)
    assert outcome.code == 0, outcome.err
    (note,) = tenfold.load(tmp_path / "out").manifest.verification["notes"]
    assert "Sigmoid" in note and "float64" in note and "itself is" in outcome.out
