"""The box for a GPU: packed here, and run as it is run there, by the emulator, without a compiler of networks."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.runner.devices.artifacts import load_on
from tenfold.runner.devices.emulated_cuda import EmulatedCuda
from tenfold.runner.tolerance import OPERANDS
from tenfold.runner.verify import TOLERANCE
from tenfold.runtime.cuda.code_file import CudaCode
from tenfold.runtime.cuda.launches import Launch
from tenfold.runtime.manifest import Manifest
from tenfold.runtime.weights import map_weights

GPU = Path(__file__).parent / "gpu"
sys.path.insert(0, str(GPU))

from box.case import FACTS, Case  # noqa: E402
from box.child import OUT_OF_TIME, run  # noqa: E402
from box.journal import UNFINISHED, Journal  # noqa: E402
from box.measure import ROUNDS, milliseconds  # noqa: E402
from box.network import OnGpu  # noqa: E402
from box.reference import TOLERANCES, Reference, chosen_images, images  # noqa: E402
from box.steps import Box, Differs, ratio, slowest  # noqa: E402
from box.table import table  # noqa: E402
from box.torch_graph import run_graph  # noqa: E402
from pack.cases import PRECISIONS, sources  # noqa: E402
from pack.graph import graph_of  # noqa: E402
from pack.networks import four_valued, with_batch  # noqa: E402

# What the machine with the GPU need not have.
WITHOUT = "import sys, runpy; sys.modules.update(dict.fromkeys(('tvm', 'tvm_ffi', 'onnx', 'onnxruntime', 'scipy'))); "


def row(name: str, step: str, ours: float, theirs: float) -> dict:
    return {"name": name, "step": step, "ms": {way: {"median": ms} for way, ms in
                                               (("graph", 2 * ours), ("kernels", ours), ("torch graph", theirs))}}


def a_case(**facts) -> Case:
    given = dict(name="a layer", step="layers", order=0, batch=1, lists=(), inputs=(), outputs=(), macs={}, choices={}, graph={})
    return Case(**{**given, **facts})


def test_images_are_the_same_here_and_there_and_all_differ():
    batch = images((20, 3, 4, 4), 0)
    np.testing.assert_array_equal(batch[[0, 10, 19]], images((20, 3, 4, 4), 0, [0, 10, 19]))
    assert len(np.unique(batch.reshape(20, -1), axis=0)) == 20


def test_a_reference_finds_a_wrong_number_at_an_edge_and_one_that_is_none(tmp_path):
    results = np.random.default_rng(0).standard_normal((5, 7, 9, 9)).astype("float32")
    Reference.of(results[chosen_images(5)]).write(tmp_path)
    reference = Reference.read(tmp_path)
    assert reference.error(results) == 0
    for position in ((0, 0, 0, 0), (4, 6, 8, 8)):
        wrong = results.copy()
        wrong[position] += 1
        assert reference.error(wrong) == pytest.approx(1 / np.abs(results[chosen_images(5)]).max(), rel=1e-5)
    wrong[position] = np.nan
    assert reference.error(wrong) == np.inf


def test_rounds_are_interleaved_and_medians_are_of_a_run():
    calls = []

    def way(name: str, ms: float):
        def runs(count: int) -> float:
            calls.append(name)
            return ms * count
        return runs

    found = milliseconds({"a": way("a", 2.0), "b": way("b", 8.0)})
    assert {name: each["median"] for name, each in found.items()} == {"a": 2.0, "b": 8.0}
    assert calls[-2 * ROUNDS:] == ["a", "b"] * ROUNDS and found["a"]["runs"] == 4 * found["b"]["runs"]


def test_layers_are_judged_by_their_kernels_and_networks_by_the_whole():
    rows = [row("slow", "layers", 2.0, 1.0), row("net", "networks", 1.0, 1.0), row("fast", "chains", 1.0, 4.0)]
    rows.append({"name": "e", "step": "layers", "error": "x"})
    assert [ratio(one) for one in rows] == [0.5, 0.5, 4.0, None]
    assert [one["name"] for one in slowest(rows, 3)] == ["slow", "net", "fast"]
    text = table({"machine": {"gpu": "none"}, "steps": {"layers": {"state": "done", "seconds": 1}}, "rows": rows})
    assert "0.50 x" in text and "FAILED e: x" in text


def test_a_row_that_fails_leaves_the_others(tmp_path):
    cases = [a_case(name="wrong"), a_case(name="right"), a_case(name="crashes")]
    box = Box(tmp_path, cases, Journal(tmp_path / "results.json"), emulated=False)

    def make(case: Case) -> dict:
        assert Journal(tmp_path / "results.json").rows()[-1]["error"] == UNFINISHED
        if case.name != "right":
            raise Differs("by much") if case.name == "wrong" else RuntimeError("the context is lost")
        return {"found": 1}

    with pytest.raises(SystemExit):  # another process goes on behind it
        box.rows("kernels", box.cases, make)
    rows = Journal(tmp_path / "results.json").rows("kernels")
    assert [(one["name"], one.get("error"), one.get("found")) for one in rows] == [
        ("wrong", "Differs: by much", None), ("right", None, 1), ("crashes", "RuntimeError: the context is lost", None)]
    box.rows("kernels", box.cases, lambda case: pytest.fail("it is there already"))


@pytest.mark.slow
def test_a_process_that_takes_too_long_leaves_none_behind(tmp_path):
    inner = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', {inner!r}])"
    code, said = run([sys.executable, "-c", outer], 3, capture=True)
    assert code == OUT_OF_TIME and said.startswith("begun") and "more than 3 s" in said
    assert run([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], 20)[0] == -11
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    end = time.monotonic() + 20
    while stat.exists() and " Z " not in stat.read_text():  # gone, or dead and not yet collected
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_on_a_gpu_the_kernels_alone_are_those_that_multiply(standin, gpu_artifact, image):
    """A stand-in for the driver runs them, so the times say nothing."""
    standin.gpu()
    standin.knows(gpu_artifact)
    manifest = Manifest.read(gpu_artifact / "manifest.json")
    ports = [tuple((port.name, port.shape, port.dtype) for port in each) for each in (manifest.inputs, manifest.outputs)]
    macs = {kernel["function"]: kernel["macs"] for kernel in manifest.kernels}
    network = OnGpu(a_case(inputs=ports[0], outputs=ports[1], macs=macs), gpu_artifact)
    expected = load_on(EmulatedCuda(), gpu_artifact)(image)
    np.testing.assert_allclose(network.run([image])[0], expected, rtol=1e-5, atol=1e-6)
    whole, launched = [launch.kernel for launch in launches_of(gpu_artifact)], {}
    for name, way in network.ways().items():
        standin.launched.clear()
        assert way(2) >= 0
        launched[name] = list(standin.launched)
    assert launched["graph"] == launched["launches"] == 2 * whole
    multiplying = [launch.kernel for launch in launches_of(gpu_artifact, macs)]
    assert launched["kernels"] == 2 * multiplying and 0 < len(multiplying) < len(whole)


def launches_of(folder: Path, macs: dict[str, int] | None = None) -> list[Launch]:
    """Those of an artifact, of all functions or of those that multiply."""
    code, steps = CudaCode.read(folder / "model.cuda"), map_weights(folder / "weights.bin").steps
    return [launch for step in steps if macs is None or macs[step.kernel] for launch in code.routines[step.kernel].launches]


def test_rows_that_were_broken_off_are_tried_again(tmp_path):
    journal = Journal(tmp_path / "results.json")
    journal.add("kernels", "a", error=UNFINISHED)
    journal.add("kernels", "b", found=1)
    journal.forget_unfinished()
    assert [one["name"] for one in Journal(tmp_path / "results.json").rows()] == ["b"]


def test_the_box_has_every_list_and_all_names_differ(tmp_path):
    found = list(sources(tmp_path))
    assert len({one.name for one in found}) == len(found) == len({a_case(name=one.name).folder for one in found})
    assert {name for one in found for name in one.lists} == {path.stem for path in (GPU.parent / "benchmarks" / "shapes").glob("*.txt")}
    assert {one.step for one in found} == {"layers", "chains", "flattened", "denton", "networks", "tf32", "fp16"}
    assert {(one.step, one.precision) for one in found if one.step in PRECISIONS} == {(precision, precision) for precision in PRECISIONS}
    assert {one.precision for one in found if one.step == "networks"} == {"float32", *PRECISIONS}


def test_each_precision_has_the_tolerance_of_the_compiler():
    assert TOLERANCES == {"float32": TOLERANCE, **dict.fromkeys(PRECISIONS, OPERANDS)}


def test_a_case_is_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", lambda path, text: (path.open("w").write(text[:9]), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        a_case().write(tmp_path)
    assert not (tmp_path / FACTS).exists()


def network(batch: int = 1) -> onnx.ModelProto:
    from tenfold.frontends import load

    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 3, 9, 9] x) => (float[1, 4] y)
      <float[8, 3, 3, 3] w, float[8] b, float[4, 8] f, int64[2] shape = {1, 8}> {
      c = Conv <strides = [2, 2], pads = [1, 1, 0, 0]> (x, w, b)
      r = Relu (c)
      p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
      s = Add (p, p)
      m = GlobalAveragePool (s)
      v = Reshape (m, shape)
      y = Gemm <transB = 1> (v, f)
    }"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in {"w": (8, 3, 3, 3), "b": (8,), "f": (4, 8)}.items():
        old = [tensor for tensor in model.graph.initializer if tensor.name == name]
        for tensor in old:
            model.graph.initializer.remove(tensor)
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape).astype("float32"), name))
    return with_batch(four_valued(load(model).onnx), batch)


def test_the_rival_computes_what_the_network_does_for_any_batch():
    import torch

    model, x = network(3), images((3, 3, 9, 9), 0)
    weights = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer}
    found = run_graph(json.loads(json.dumps(graph_of(model))), weights, torch.from_numpy(x).to(memory_format=torch.channels_last))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found.numpy(), session.run(None, {model.graph.input[0].name: x})[0], rtol=1e-4, atol=1e-5)


def test_weights_have_four_values():
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in network().graph.initializer}
    assert all(len(np.unique(array)) <= 4 for array in arrays.values() if array.ndim > 1 and array.dtype == np.float32)


@pytest.mark.slow
@pytest.mark.skipif(not finds_nvcc(), reason="nvcc is not installed: pip install tenfold[cuda]")
def test_a_small_box_is_packed_here_and_runs_there(tmp_path):
    box = tmp_path / "box"
    names = ["3-96 32 5x5", "96-128 15 5x5 tucker2 56,56", "64-64 56 1x1, tf32"]
    only = [word for name in names for word in ("--only", name)]
    subprocess.run([sys.executable, str(GPU / "run.py"), "--pack", str(box), "--archs", "sm_80", "--jobs", "2", *only],
                   check=True)
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    argv = ["run.py", "--emulated", "--step", "kernels"]
    alone = WITHOUT + f"sys.argv = {argv}; runpy.run_path({str(box / 'run.py')!r}, run_name='__main__')"
    subprocess.run([sys.executable, "-c", alone], check=True, env=elsewhere, cwd=tmp_path)
    command = [sys.executable, str(box / "run.py"), "--emulated"]
    done = subprocess.run(command, capture_output=True, text=True, env=elsewhere, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((box / "results.json").read_text())
    states = dict.fromkeys(("load", "kernels", "layers", "chains", "flattened", "denton", "tf32", "fp16", "networks"), "done")
    assert {step: one["state"] for step, one in content["steps"].items()} == states | dict.fromkeys(("sanitizer", "ncu"), "left out")
    errors = {(one["step"], one["name"]): one["error_over_largest"] for one in content["rows"]}
    assert errors.keys() >= {("kernels", names[0]), ("kernels", names[1]), ("layers", names[0]), ("chains", names[1])}
    assert all(1e-5 < error < 5.5e-3 if name.endswith("tf32") else error < 1e-5 for (_, name), error in errors.items())
    assert not any("ms" in one for one in content["rows"]) and "largest error" in done.stdout
    wrong = np.load(next((box / "cases").glob("3_96*")) / "reference.npz")
    np.savez(next((box / "cases").glob("3_96*")) / "reference.npz", **{**wrong, "values": wrong["values"] * np.float32(1.01)})
    (box / "results.json").unlink()
    done = subprocess.run([*command, "--steps", "kernels"], capture_output=True, text=True, env=elsewhere, cwd=tmp_path)
    assert done.returncode == 1 and "FAILED 3-96 32 5x5: Differs" in done.stdout
