"""Whole networks with random weights, compiled for a GPU and held against ONNX Runtime under emulation."""
from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import onnx
import pytest
import tenfold
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.runner.devices.emulated_cuda import EmulatedCuda

sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks"), str(Path(__file__).parents[2] / "benchmarks" / "arm")]

import networks as dense_networks  # noqa: E402

SMALL = 64  # pixels: a GPU is emulated slowly
EXAMPLES = Path(tenfold.__file__).parent / "examples" / "models"


def light(name: str, folder: Path, monkeypatch) -> Path:
    model = dense_networks.light(name)
    last = model.graph.node[-1]
    if last.op_type == "Softmax":  # of large numbers, all but one result would be zero
        del model.graph.node[-1]
        model.graph.output[0].name = last.input[0]
    onnx.save(model, folder / "network.onnx")
    return folder / "network.onnx"


def small(name: str, folder: Path, monkeypatch) -> Path:
    import importlib.util

    monkeypatch.setattr(dense_networks, "SIZE", SMALL)
    makers = {"resnet18": dense_networks.resnet18, "resnet50": dense_networks.resnet50}
    if name == "mobilenet_v2":
        spec = importlib.util.spec_from_file_location("arm_networks", Path(dense_networks.__file__).parent / "arm" / "networks.py")
        arm_networks = importlib.util.module_from_spec(spec)
        sys.modules["arm_networks"] = arm_networks
        spec.loader.exec_module(arm_networks)
        makers[name] = arm_networks.mobilenet_v2
    dense_networks.write_module(makers[name], folder / "network.onnx")
    return folder / "network.onnx"


NETWORKS = {
    "the bundled network": lambda folder, monkeypatch: EXAMPLES / "cifar10_jin_baseline.onnx",
    "SqueezeNet": partial(light, "squeezenet"), "ShuffleNet": partial(light, "shufflenet"), "Inception v1": partial(light, "inception_v1"),
    "DenseNet-121": partial(light, "densenet121"), "AlexNet": partial(light, "bvlc_alexnet"), "ZFNet": partial(light, "zfnet512"),
    "ResNet-18": partial(small, "resnet18"), "ResNet-50": partial(small, "resnet50"), "MobileNet-v2": partial(small, "mobilenet_v2"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not finds_nvcc(), reason="no nvcc")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name == "the bundled network" else [pytest.mark.long]) for name in NETWORKS
])
def test_networks_are_those_of_onnxruntime(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_STRICT", "1")
    with EmulatedCuda() as device:
        artifact = tenfold.compile(NETWORKS[name](tmp_path, monkeypatch), "sm_80", tmp_path / "artifact", device=device)
    check = artifact.manifest.verification
    assert check["reference"] == "onnxruntime"
    assert 0 < check["max_rel_error"] < check["tolerance"]
    assert not artifact.manifest.unscheduled
