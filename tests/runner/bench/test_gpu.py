"""Comparisons and profiles of networks on a GPU: the rows, not the times. The driver is a stand-in, so the kernels run on the CPU."""
from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import tenfold
from cuda_standin import StandIn
from tenfold.runner.bench import measure
from tenfold.runner.bench.gpu_engines import GPU_ENGINES
from tenfold.runner.bench.profile_report import profile_table
from tenfold.runner.report import comparison_table, console
from tenfold.support.errors import TenfoldError
from tenfold.support.listing import Listing

pytestmark = pytest.mark.filterwarnings("ignore:the machine was disturbed")


@pytest.fixture
def gpu(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    standin.gpu()
    standin.follow(monkeypatch)
    monkeypatch.setattr(measure, "wait_until_quiet", lambda: None)
    return standin


def text(listing: Listing) -> str:
    stream = io.StringIO()
    console(stream).print(listing, crop=False)
    return stream.getvalue()


def test_an_artifact_is_timed_by_the_clock_of_its_gpu(gpu: StandIn, gpu_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tenfold.runner.bench.engines.time_network", lambda *_: SimpleNamespace(kernels=[3.0, 5.0]))
    result = tenfold.bench(gpu_artifact, runs=2)
    row = result.rows[0]
    assert result.machine["gpu"] == {"name": "Stand-in (sm_80)", "driver": "CUDA 13", "precision": "float32"}
    assert "Stand-in (sm_80), CUDA 13" in text(comparison_table(result))
    assert row.engine == "tenfold" and row.latency_ms.median == 4.0 and row.peak_bytes is None


def test_a_profile_has_registers_and_spills(gpu: StandIn, gpu_artifact: Path):
    result = tenfold.bench(gpu_artifact, runs=2, profile=True)
    profile = result.rows[0].profile
    assert profile is not None and profile.peak_gflops is None
    facts = {fact["kernel"]: fact for fact in json.loads((gpu_artifact / "model.cuda").read_text())["facts"]}
    first = [kernel.launches[0] for kernel in profile.kernels]
    assert [each.registers for each in first] == [facts[each.kernel]["registers"] for each in first]
    assert all(kernel.ms > 0 for kernel in profile.kernels)
    shown = text(profile_table(profile, "tiny"))
    assert "registers" in shown and "spills" in shown and "peak" not in shown
    convolution = first[1]
    assert re.search(rf"conv2d_add_relu .*\b{convolution.registers} +{convolution.spill_bytes} *\n", shown)


@pytest.mark.slow
def test_a_model_is_compiled_for_the_gpu_and_rivals_without_one_have_no_row(gpu: StandIn, tiny_file: Path):
    result = tenfold.bench(tiny_file, target="cuda:sm_80", runs=2, against=list(GPU_ENGINES), device="cuda:0")
    assert [row.engine for row in result.rows] == ["tenfold"] and result.rows[0].max_error < 1e-4
    reasons = {engine: reason for _, engine, reason in result.skipped}
    assert reasons.keys() == GPU_ENGINES.keys()  # this machine has no GPU
    assert "CUDAExecutionProvider" in reasons["onnxruntime"] and "has no GPU" in reasons["torch"]
    assert "tenfold" in text(comparison_table(result))


@pytest.mark.quick(2)
@pytest.mark.parametrize(("options", "message"), [
    ({"threads": 2}, "threads are for CPUs: leave --threads out where a network runs on a GPU"),
    ({"against": ["openvino"]}, "engine 'openvino' does not run on NVIDIA's GPUs: those that do are onnxruntime, tensorrt, torch"),
    ({"against": ["torch"], "precision": "fp8"}, "precision must be one of float32, tf32, not 'fp8'"),
    ({"device": "cuda:7"}, "it is for a GPU: there is no GPU 7"),
    ({"device": "cuda:x"}, "device cuda:x: name a GPU as cuda:N"),
    ({"device": "emulated:cuda"}, "times under emulation say nothing of a GPU"),
])
def test_options_that_do_not_fit(gpu: StandIn, gpu_artifact: Path, options: dict, message: str):
    with pytest.raises(TenfoldError, match=message):
        tenfold.bench(gpu_artifact, runs=2, **options)
