"""A network becomes an artifact, or nothing at all."""
from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from conftest import tiny_network
from device_checks import Server
from onnx import TensorProto, helper, numpy_helper
from tenfold.runner import build
from tenfold.runner.verify import TOLERANCE
from tenfold.support.errors import TenfoldError, VerificationError
from tenfold.targets.detection import physical_cores


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_manifest_says_what_was_done(tiny_artifact, tiny_file):
    from importlib import metadata

    manifest = json.loads((tiny_artifact / "manifest.json").read_text())
    assert names(tiny_artifact) == ["manifest.json", "model.so", "weights.bin"]
    assert manifest["inputs"] == [{"name": "image", "shape": [1, 3, 8, 8], "dtype": "float32"}]
    assert manifest["outputs"] == [{"name": "scores", "shape": [1, 5], "dtype": "float32"}]
    assert manifest["name"] == str(tiny_file) and manifest["plan"] is None and manifest["unscheduled"] == []
    assert manifest["target"]["name"] == "host" and manifest["target"]["tvm"]["kind"] == "llvm"
    assert manifest["threads"] == physical_cores()
    assert manifest["versions"]["tvm"] == metadata.version("apache-tvm")
    assert manifest["bytes"] == sum((tiny_artifact / name).stat().st_size for name in ("model.so", "weights.bin"))
    memory = manifest["memory"]
    assert memory["outputs"] == 4 * 5 and memory["weights"] >= 4 * manifest["params"]
    assert memory["activations"] >= 4 * 8 * 16  # after pooling, which some targets do within the kernel of the convolution
    assert memory["planned"] == sum(memory[key] for key in memory if key != "planned")
    assert manifest["macs"] == 8 * 8 * 8 * 27 + 5 * 128
    assert manifest["params"] == 8 * 27 + 8 + 5 * 128 + 5
    check = manifest["verification"]
    assert check["reference"] == "onnxruntime" and check["inputs"] >= 2
    assert 0 <= check["max_rel_error"] <= check["tolerance"] == TOLERANCE


def test_without_an_output_the_artifact_lasts_as_long_as_it_is_held(tiny_file, image):
    net = tenfold.compile(tiny_file, {"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 1})
    folder = net.folder
    assert net.threads == net.manifest.threads == 1
    assert net(image).shape == (1, 5) and folder.exists()
    del net
    assert not folder.exists()


def test_an_earlier_artifact_is_replaced(tiny_file, tmp_path, image):
    first = tenfold.compile(tiny_file, output=tmp_path / "out", threads=1)
    result = first(image)
    onnx.save(tiny_network(classes=3), tmp_path / "other.onnx")
    second = tenfold.compile(tmp_path / "other.onnx", output=tmp_path / "out", threads=1)
    assert second(image).shape == (1, 3) and tenfold.load(tmp_path / "out")(image).shape == (1, 3)
    np.testing.assert_array_equal(first(image), result)
    assert names(tmp_path) == ["other.onnx", "out"]


def test_real_inputs_are_verified_too(tiny_file):
    images = np.random.default_rng(0).random((5, 3, 8, 8), "float32")
    assert tenfold.compile(tiny_file, data={"x": images}).manifest.verification["inputs"] == 2 + 5
    with pytest.raises(TenfoldError, match=r"\[5, 3, 8\]"):
        tenfold.compile(tiny_file, data=images[..., 0])


def test_a_plan_is_applied_and_kept(tiny_file, tmp_path, image):
    done = tenfold.compress(tiny_file, tmp_path / "small", tenfold.Recipe("channel_svd", 0.5))
    assert list(done.plan.layers) == ["conv"]
    net = tenfold.compile(tiny_file, plan=tmp_path / "small" / "plan.json")
    assert net.manifest.plan["layers"]["conv"]["method"] == "channel_svd"
    assert net.manifest.macs == done.after.macs < done.before.macs
    expected = onnxruntime.InferenceSession(tmp_path / "small" / "model.onnx").run(None, {"image": image})[0]
    np.testing.assert_allclose(net(image), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_several_inputs_and_outputs(tmp_path):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in ("a", "b", "total", "product")]
    nodes = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Mul", ["a", "b"], ["product"])]
    graph = helper.make_graph(nodes, "two", ports[:2], ports[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    net = tenfold.compile(model)
    a, b = np.random.default_rng(0).standard_normal((2, 2, 4)).astype("float32")
    total, product = net({"b": b, "a": a})
    np.testing.assert_allclose(total, a + b, rtol=1e-6)
    np.testing.assert_allclose(product, a * b, rtol=1e-6)
    with pytest.raises(TenfoldError, match="2 inputs.*'a', 'b'"):
        net(a)


def test_a_torch_module_is_verified_against_torch(image):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 4)).eval()
    net = tenfold.compile(module, example_inputs=torch.from_numpy(image))
    assert net.manifest.verification["reference"] == "torch"
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(net(image), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def spoil(monkeypatch, change):
    """Compile something else than was asked for: `change` works on the Relax module."""
    from tenfold.passes import pipeline

    real = pipeline.lower
    monkeypatch.setattr(pipeline, "lower", lambda mod, target, **options: real(change(mod), target, **options))


def with_scaled_weight(model, name):
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), name))
    return model


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ("conv.weight", "from layer 'conv' on"),
        ("fc.weight", "from layer 'fc' on .*'conv' before it is right"),
        ("fc.bias", "after layer 'fc', the last one"),
    ],
)
def test_a_network_compiled_wrong_is_not_written(tmp_path, tiny_file, monkeypatch, weight, words):
    """The compiler is given a network in which one constant is 1.5 times too large."""
    from tenfold.frontends import load

    wrong = load(with_scaled_weight(onnx.load(tiny_file), weight)).mod
    spoil(monkeypatch, lambda mod: exposed_like(mod, wrong))
    with pytest.raises(VerificationError, match=rf"differs from onnxruntime by \d.*{words}") as caught:
        tenfold.compile(tiny_file, output=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_network_compiled_wrong_is_seen_on_a_device(tmp_path, tiny_file, monkeypatch):
    from tenfold.frontends import load

    wrong = load(with_scaled_weight(onnx.load(tiny_file), "fc.weight")).mod
    spoil(monkeypatch, lambda mod: exposed_like(mod, wrong))
    server = Server()
    try:
        with pytest.raises(VerificationError, match=r"differs from onnxruntime by \d.*from layer 'fc' on .*'conv' before it is right"):
            tenfold.compile(tiny_file, output=tmp_path / "out", device=server.address)
    finally:
        server.stop()
    assert names(tmp_path) == []


def exposed_like(mod, wrong):
    """`wrong`, returning its layers as well if `mod` does."""
    from tenfold.runner.first_difference import expose_relax
    from tvm import ir

    several = isinstance(mod["main"].ret_ty, ir.TupleType)
    return expose_relax(wrong, ["conv", "fc"])[0] if several else wrong


def test_a_device_that_is_named_must_be_able_to_run_it(tiny_file, tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: frozenset(["avx2"]))
    with pytest.raises(TenfoldError, match="device here: it can't run target zen4: zen4 needs .*, which this machine lacks"):
        tenfold.compile(tiny_file, "zen4", tmp_path / "out", device="here")
    assert names(tmp_path) == []


def test_without_a_linker_the_user_is_told(tiny_file, tmp_path, monkeypatch):
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tenfold.codegen.toolchain.shutil.which", lambda name: None)
    with pytest.raises(TenfoldError, match=r"g\+\+"):
        tenfold.compile(tiny_file, output=tmp_path / "out")
    assert names(tmp_path) == []


def test_an_interrupt_leaves_nothing(tiny_file, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("tenfold.runner.compile.build_library", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tenfold.compile(tiny_file, output=tmp_path / "out")
    assert names(tmp_path) == []


def test_functions_without_a_schedule_are_named_in_the_manifest(tiny_file, monkeypatch, tmp_path):
    import warnings

    from tenfold.passes import pipeline
    from tenfold.schedules.driver import Unscheduled, UnscheduledWarning

    real = pipeline.lower

    def warn(mod, target, **options):
        missed = Unscheduled("exotic", ("block",), "no rule is made for it")
        warnings.warn(str(missed), UnscheduledWarning, stacklevel=1)
        return real(mod, target, **options)

    monkeypatch.setattr(pipeline, "lower", warn)
    with pytest.warns(UnscheduledWarning, match="exotic"):
        net = tenfold.compile(tiny_file)
    assert net.manifest.unscheduled == ("exotic",)


def test_threads_must_be_positive(tiny_file):
    with pytest.raises(TenfoldError, match="threads"):
        tenfold.compile(tiny_file, threads=0)
    assert build.with_threads(tenfold.targets.resolve("zen4"), 3).tvm["num-cores"] == 3
