"""Comparisons: the rows, not the times."""
from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
import tenfold
from conftest import tiny_network
from device_checks import Server
from onnx import helper
from tenfold.runner.bench import compare as module
from tenfold.runner.bench.disturbance import Usage
from tenfold.support.errors import TenfoldError
from tenfold.targets import detection

pytestmark = pytest.mark.filterwarnings("ignore:the machine was disturbed")  # as it may well be while tests run


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without waiting for threads, and without a process for each row."""
    monkeypatch.setattr("tenfold.runner.bench.measure.wait_until_quiet", lambda: None)
    monkeypatch.setattr(module, "peak_bytes", lambda engine, path, inputs, threads: 1234)


@pytest.fixture
def data(tiny_file):
    """Twenty images, the labels being what the network says of all but five of them."""
    from tenfold.frontends import load

    x = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype("float32")
    network = load(tiny_file)
    y = np.array([network.reference({"image": image[None]})[0].argmax() for image in x])
    y[:5] = (y[:5] + 1) % 5
    return {"x": x, "y": y}


def test_one_row_for_each_network_and_engine(tiny_file, tiny_artifact, data):
    result = tenfold.bench([tiny_file, tiny_artifact], against=["onnxruntime"], data=data, runs=3, threads=1)
    assert [(row.model, row.engine) for row in result.rows] == [
        (str(tiny_file), "tenfold"),
        (str(tiny_file), "onnxruntime"),
        (str(tiny_artifact), "tenfold"),
    ]
    assert result.threads == 1 and result.skipped == []
    for row in result.rows:
        assert (row.macs, row.params) == (14464, 869)
        assert row.latency_ms.runs == 3 and 0 < row.latency_ms.min <= row.latency_ms.median <= row.latency_ms.p90
        assert row.accuracy == 0.75 and row.max_error < 1e-5 and row.peak_bytes == 1234
    assert result.rows[1].bytes == tiny_file.stat().st_size and result.rows[1].max_error == 0
    assert result.rows[2].bytes == sum((tiny_artifact / name).stat().st_size for name in ("model.so", "weights.bin"))


def test_json_has_the_fields_that_are_promised(tiny_artifact):
    content = json.loads(tenfold.bench(tiny_artifact, runs=2).to_json())
    assert content.keys() == {"machine", "threads", "disturbance", "rows", "skipped"}
    assert content["disturbance"].keys() == {"seconds", "cpus", "others", "stolen", "switches", "spread", "stable", "warning"}
    assert {"cpu", "physical_cores", "versions"} <= content["machine"].keys()
    (row,) = content["rows"]
    assert row.keys() == {"model", "engine", "latency_ms", "batch", "macs", "params", "bytes", "peak_bytes", "accuracy", "max_error"}
    assert row["latency_ms"].keys() == {"median", "p90", "min", "runs", "spread"}
    assert row["accuracy"] is None and row["max_error"] is None


@pytest.mark.parametrize(("until_stable", "words"), [(None, "was disturbed.*--until-stable"), (0.01, "never became stable")])
def test_a_machine_that_is_disturbed(tiny_artifact, monkeypatch, until_stable, words):
    """In which the others have all CPUs."""
    clock = iter(range(10**6))
    monkeypatch.setattr("tenfold.runner.bench.measure.usage", lambda: Usage(*[float(next(clock))] * 3, 0.0, 0))
    with pytest.warns(RuntimeWarning, match=words):
        result = tenfold.bench(tiny_artifact, runs=2, until_stable=until_stable)
    assert json.loads(result.to_json())["disturbance"]["stable"] is (None if until_stable is None else False)
    assert result.measurement.load.others >= 1


@pytest.mark.slow
def test_errors_are_against_the_first_network(tiny_file, tmp_path):
    onnx.save(tiny_network(seed=1), tmp_path / "other.onnx")
    onnx.save(tiny_network(classes=4), tmp_path / "fewer.onnx")
    result = tenfold.bench([tiny_file, tmp_path / "other.onnx", tmp_path / "fewer.onnx"], runs=1)
    same, other, fewer = (row.max_error for row in result.rows)
    assert same < 1e-5 and other > 0.1 and fewer is None


def test_a_network_with_a_dynamic_batch_runs_everywhere(tmp_path):
    onnx.save(tiny_network(batch="N"), tmp_path / "dynamic.onnx")
    result = tenfold.bench(tmp_path / "dynamic.onnx", against=["onnxruntime"], runs=1, input_shapes={"image": (4, 3, 8, 8)})
    assert [row.macs for row in result.rows] == [4 * 14464, 4 * 14464]
    assert result.rows[1].max_error == 0


def test_an_engine_that_can_not_run_a_network_is_skipped_with_the_reason(tmp_path):
    pytest.importorskip("torch")
    model = tiny_network()
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    pool.CopyFrom(helper.make_node("Einsum", ["r"], ["e"], name="odd", equation="nchw->nchw"))
    model.graph.node.insert(3, helper.make_node("MaxPool", ["e"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]))
    onnx.save(model, tmp_path / "odd.onnx")
    result = tenfold.bench(tmp_path / "odd.onnx", against=["torch"], runs=1)
    assert [row.engine for row in result.rows] == ["tenfold"]
    ((path, engine, reason),) = result.skipped
    assert (path, engine) == (str(tmp_path / "odd.onnx"), "torch") and "Einsum" in reason
    assert json.loads(result.to_json())["skipped"] == [{"model": path, "engine": engine, "reason": reason}]


def test_data_that_is_not_for_a_classifier_gives_no_accuracy(tmp_path):
    model = tiny_network()
    del model.graph.node[3:]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, [1, 8, 4, 4]))
    onnx.save(model, tmp_path / "maps.onnx")
    images = np.zeros((2, 3, 8, 8), "float32")
    (row,) = tenfold.bench(tmp_path / "maps.onnx", data={"x": images}, runs=1).rows
    assert row.accuracy is None and row.max_error is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"against": ["caffe"]}, "'caffe'"),
        ({"runs": 0}, "runs"),
        ({"threads": 0}, "threads"),
        ({"until_stable": 0}, "until-stable"),
        ({"until_stable": float("nan")}, "until-stable"),
        ({"data": {"x": np.zeros((1, 3, 9, 9), "float32")}}, "shape"),
        ({"data": {"y": np.zeros(1)}}, "'x'"),
    ],
)
def test_mistakes_are_refused(tiny_artifact, options, words):
    with pytest.raises(TenfoldError, match=words):
        tenfold.bench(tiny_artifact, **options)


def test_nothing_to_compare(tmp_path, tiny_artifact):
    with pytest.raises(TenfoldError, match="nothing to compare"):
        tenfold.bench([])
    with pytest.raises(TenfoldError, match="no such file"):
        tenfold.bench(tmp_path / "none.onnx")
    shutil.copytree(tiny_artifact, tmp_path / "bad")
    (tmp_path / "bad" / "model.so").write_bytes(b"")
    with pytest.raises(TenfoldError, match="does not match"):
        tenfold.bench(tmp_path / "bad")


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.stop()


def test_networks_are_timed_on_a_device(server, tiny_file, tiny_artifact, data, monkeypatch):
    monkeypatch.setattr(module, "peak_bytes", None)  # it is not asked for
    result = tenfold.bench([tiny_file, tiny_artifact], against=["onnxruntime"], data=data, runs=3, device=server.address)
    assert [(row.model, row.engine, row.latency_ms.runs, row.peak_bytes) for row in result.rows] == [
        (str(tiny_file), "tenfold", 3, None), (str(tiny_artifact), "tenfold", 3, None)
    ]  # fmt: skip
    assert all(row.accuracy == 0.75 and row.max_error < 1e-5 and 0 < row.latency_ms.min < 10_000 for row in result.rows)
    assert result.skipped == [(str(tiny_file), "onnxruntime", f"rivals are measured on this machine, not on {server.address}")]
    assert result.machine["cpu"] == f"{server.address}, {detection.cpu_model()}" and result.machine["system"] is None
    assert result.threads == detection.physical_cores() and result.measurement.load.others is None and not result.unverified
    assert json.loads(result.to_json())["machine"]["cache_bytes"]["l1"] > 0


def test_what_a_device_can_not_do_is_told(server, tiny_artifact, monkeypatch):
    with pytest.raises(TenfoldError, match=f"device {server.address}: kernels are profiled on this machine only"):
        tenfold.bench(tiny_artifact, device=server.address, profile=True)
    monkeypatch.setattr("tenfold.runner.devices.emulated.emulator_for", lambda architecture: "/bin/true")
    with pytest.raises(TenfoldError, match="device emulated:max: times under emulation say nothing"):
        tenfold.bench(tiny_artifact, device="emulated")


def test_a_model_for_another_cpu_has_no_row_here(tiny_file, monkeypatch):
    monkeypatch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: detection.cpu_flags() - {"avx2"})
    with pytest.raises(TenfoldError, match="device here: it can't run target x86-64-v3: x86-64-v3 needs avx2"):
        tenfold.bench(tiny_file, target="x86-64-v3")


def test_an_artifact_that_was_never_verified_is_named(tiny_artifact, tmp_path):
    shutil.copytree(tiny_artifact, tmp_path / "net")
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    (tmp_path / "net" / "manifest.json").write_text(json.dumps({**manifest, "verification": None}))
    assert tenfold.bench([tiny_artifact, tmp_path / "net"], runs=1).unverified == [str(tmp_path / "net")]
