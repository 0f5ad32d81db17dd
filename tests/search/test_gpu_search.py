"""`compress` for a GPU: refused in a line where there is none; where there is one (a stand-in), a network that runs on it.

The stand-in runs every kernel, so what the search compiles is right; what it takes is made up: more launches and more memory take longer.
"""
from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import tenfold
from command_checks import tenfold as command
from cuda_standin import StandIn
from onnx import helper, numpy_helper
from search_fakes import ModelDevice, images, labels
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.factorization import Layer
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices import here
from tenfold.runner.devices.choose import device_of
from tenfold.runtime.cuda.machine import GpuMachine
from tenfold.runtime.weights import Contents
from tenfold.search.timing import latency_table
from tenfold.search.timing.latency_table import LatencyTable
from tenfold.search.timing.timer import open_timer
from tenfold.targets import resolve


@pytest.fixture
def files(tmp_path: Path) -> Path:
    model = _classifier()
    onnx.save(model, tmp_path / "classifier.onnx")
    x = images(400)
    np.savez(tmp_path / "data.npz", x=x, y=labels(model, x))
    return tmp_path


def _classifier() -> onnx.ModelProto:
    """A 3 x 3 convolution that can be factored, and a dense layer: x (1, 4, 8, 8) -> scores (1, 6)."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((16, 4)), rng.standard_normal((4, 36))
    constants = {"w": (left @ right / 6).reshape(16, 4, 3, 3), "v": rng.standard_normal((6, 256)) / 16}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["scores"], name="fc", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 8, 8])]
    outputs = [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 6])]
    weights = [numpy_helper.from_array(array.astype("float32"), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("options", "words"), [
    (["--target", "cuda"], "target cuda: it is for a GPU: .*: candidates can't be timed here; give --device HOST:PORT .* or --energy E"),
    (["--device", "cuda"], "target cuda: it is for a GPU: .*: candidates can't be timed on cuda:0, or --energy E"),
    (["--device", "emulated:cuda"], "device emulated:cuda: nothing models what a network takes on a GPU, .*: give here, cuda:N or HOST"),
    (["--device", "emulated:sm_90"], "device emulated:sm_90: nothing models what a network takes on a GPU, .*: give here, cuda:N or HOST"),
    (["--target", "cuda", "--threads", 2], "threads are for CPUs: leave --threads out"),
])
def test_without_a_gpu_it_says_what_to_do(standin: StandIn, files: Path, options: list, words: str):
    done = command("compress", files / "classifier.onnx", "-o", files / "small", "--data", files / "data.npz", "--speedup", 1.1, *options)
    assert done.code == 2 and done.complaint is None, done
    assert not (files / "small").exists()
    assert re.search(words, done.err)


def test_without_a_gpu_energy_is_enough(standin: StandIn, files: Path):
    done = tenfold.compress(files / "classifier.onnx", files / "small", tenfold.Recipe("channel_svd", 0.9), target="cuda")
    assert done.plan.target == "cuda" and list(done.plan.layers) == ["conv"]


def test_a_gpu_that_is_named_is_the_target(standin: StandIn):
    standin.gpu("Old", (7, 5))
    standin.gpu("New", (9, 0))
    for name, archs in (("cuda", ("sm_75",)), ("cuda:1", ("sm_90",))):
        with open_timer(name, None, tenfold.Settings()) as (target, timer):
            assert target.archs == archs and timer.gpu == f"{target.description} ({archs[0]})"  # type: ignore[attr-defined]


def test_times_are_kept_by_the_gpu_that_took_them(standin: StandIn, tmp_path: Path):
    """Machine code of one runs on others of its generation."""
    standin.gpu("Large", (8, 0))
    standin.gpu("Small", (8, 6))
    target, keys = resolve("cuda:sm_80"), []
    for name in ("cuda:0", "cuda:1"):
        table = LatencyTable(target, TimedModules(target, device_of(name)), tmp_path)
        keys.append(table._context["machine"])
    assert [key["gpu"] for key in keys] == ["Large (sm_80)", "Small (sm_86)"]
    assert "gpu" not in LatencyTable(target, ModelDevice(), tmp_path)._context["machine"]


@pytest.mark.slow
@pytest.mark.skipif(not finds_nvcc(), reason="no nvcc of CUDA 13: pip install tenfold[cuda]")
def test_with_a_gpu_the_result_runs_on_it(standin: StandIn, files: Path, monkeypatch: pytest.MonkeyPatch):
    standin.gpu()
    standin.follow(monkeypatch)
    _by_weights(monkeypatch)
    monkeypatch.setattr(latency_table, "YARDSTICK", Layer("yardstick", "conv2d", (8, 8, 1, 1), input_size=(4, 4), output_size=(4, 4)))
    settings = tenfold.Settings(methods=("channel_svd",), cache=files / "cache")
    done = tenfold.compress(files / "classifier.onnx", files / "small", tenfold.Budget(speedup=1.05, max_drop=20), data=files / "data.npz",
                            settings=settings, device="cuda:0")
    assert standin.launched and done.plan.layers and done.plan.target == "cuda"
    report = json.loads((files / "small" / "report.json").read_text())
    assert "modelled" not in report["search"] and report["before"]["ms"] / report["after"]["ms"] >= 1.05
    [records] = (files / "cache" / "latencies").glob("*.jsonl")
    assert all(json.loads(line)["machine"]["gpu"] == "Stand-in (sm_80)" for line in records.read_text().splitlines())
    artifact = tenfold.compile(files / "small" / "model.onnx", output=files / "out", device="cuda:0")
    verified = artifact.manifest.verification
    assert verified is not None and verified["device"] == "cuda:0" and verified["max_rel_error"] < 1e-4
    x = images(1)
    np.testing.assert_allclose(artifact(x), _reference(files / "small" / "model.onnx", x), rtol=1e-3, atol=1e-3)


def _by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a network take the longer, the more launches and weights it has."""
    start, ms = GpuMachine.__init__, {}

    def begin(machine: GpuMachine, path: Path, contents: Contents, *ports: Any) -> None:
        start(machine, path, contents, *ports)
        ms[id(machine)] = 0.001 * sum(map(len, machine.steps)) + 1e-5 * sum(weight.nbytes for weight in contents.weights)

    monkeypatch.setattr(GpuMachine, "__init__", begin)
    monkeypatch.setattr(here, "time_network", lambda machine, arrays, runs: SimpleNamespace(kernels=[ms[id(machine)]] * runs))


def _reference(model: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
