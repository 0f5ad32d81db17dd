"""What each command writes and prints."""
from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from conftest import tiny_network
from folder_names import names
from search_fakes import QUICK, ModelDevice, classifier, images, labels
from tenfold.runner.bench.disturbance import Usage


def test_help_is_instant():
    begin = time.process_time()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    code = "import sys; sys.argv = ['tenfold', '--help']\nfrom tenfold.cli import app\ntry: app()\nexcept SystemExit: pass\n"
    code += "assert not {'tvm', 'tvm_ffi', 'onnx', 'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 0.5
    assert time.process_time() - begin < 0.5
    for command in ("inspect", "compress", "compile", "verify", "run", "serve", "bench", "compare", "plot", "targets", "doctor"):
        assert command in done.stdout


def test_inspect(tenfold, work):
    code, out, _ = tenfold("inspect", "net.onnx", "--json", "layers.json")
    assert code == 0 and "conv" in out and "tucker2" in out
    assert [layer["name"] for layer in json.loads((work / "layers.json").read_text())["layers"]] == ["conv", "fc"]


def test_compress_compile_run(tenfold, work):
    code, out, _ = tenfold("compress", "net.onnx", "-o", "small", "--method", "channel_svd", "--energy", "0.5", "--target", "zen3")
    assert code == 0 and "channel_svd" in out and "conv2d layers only" in out
    assert names(work / "small") == ["model.onnx", "plan.json", "report.json"]
    code, out, _ = tenfold("compress", "net.onnx", "-o", "again", "--plan", "small/plan.json")
    assert code == 0 and (work / "again" / "model.onnx").read_bytes() == (work / "small" / "model.onnx").read_bytes()

    code, out, _ = tenfold("compile", "small/model.onnx", "-o", "fast", "--threads", 1)
    assert code == 0 and "threads   1" in out and "onnxruntime" in out
    assert names(work / "fast") == ["manifest.json", "model.so", "weights.bin"]

    code, out, _ = tenfold("run", "fast", "--input", "x.npy", "-o", "y.npz")
    assert code == 0 and "scores: float32[1, 5]" in out
    np.savez(work / "named.npz", image=np.load(work / "x.npy"))
    tenfold("run", "fast", "--input", "named.npz", "-o", "z.npz")
    with np.load(work / "y.npz") as y, np.load(work / "z.npz") as z:
        assert y.files == z.files == ["scores"]
        np.testing.assert_array_equal(y["scores"], z["scores"])


def test_a_dynamic_network_with_its_shape_given(tenfold, work):
    model = tiny_network(batch="N")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, work / "dynamic.onnx")
    code, out, _ = tenfold("inspect", "dynamic.onnx", "--input-shape", "image=2,3,8,8")
    assert code == 0 and "27.6 k" in out


def test_bench(tenfold, work, monkeypatch):
    monkeypatch.setattr("tenfold.runner.bench.measure.wait_until_quiet", lambda: None)
    np.savez(work / "d.npz", x=np.ones((4, 3, 8, 8), "float32"), y=np.zeros(4, "int64"))
    arguments = ["--against", "onnxruntime", "--data", "d.npz", "--runs", 2, "--threads", 1, "--json", "bench.json"]
    code, out, _ = tenfold("bench", "net.onnx", "net", *arguments)
    assert code == 0 and "onnxruntime" in out and "threads of every engine: 1" in out
    content = json.loads((work / "bench.json").read_text())
    pairs = [(row["model"], row["engine"]) for row in content["rows"]]
    assert pairs == [("net.onnx", "tenfold"), ("net.onnx", "onnxruntime"), ("net", "tenfold")]
    assert content["threads"] == 1 and all(row["peak_bytes"] > 0 for row in content["rows"])


def test_bench_on_a_machine_that_others_use(tenfold, work, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("tenfold.runner.bench.measure.wait_until_quiet", lambda: None)
    monkeypatch.setattr("tenfold.runner.bench.measure.usage", lambda: Usage(*[float(next(clock))] * 3, 0.0, 0))
    cases = ([], "the machine was disturbed: others took 1 of"), (["--until-stable", 0.01], "the machine never became stable: ")
    for options, words in cases:
        code, out, err = tenfold("bench", "net", "--runs", 1, "--threads", 1, "--json", "bench.json", *options)
        assert code == 0 and err.startswith(f"tenfold: warning: {words}") and err.count("\n") == 1
        assert json.loads((work / "bench.json").read_text())["disturbance"]["warning"] in err


def test_plot(tenfold, work):
    for kind, arguments in (("spectra", ["net.onnx"]), ("filters", ["net.onnx"]), ("parameters", [])):
        code, out, _ = tenfold("plot", kind, *arguments, "-o", f"{kind}.svg")
        assert code == 0 and f"{kind}.svg" in out and b"<svg" in (work / f"{kind}.svg").read_bytes()


@pytest.mark.slow
def test_compress_within_a_budget(tenfold, work, monkeypatch):
    """With a device that computes its times: those of this machine would make another choice every time."""
    monkeypatch.setattr("tenfold.runner.bench.timed_module.TimedModules", lambda target, device: ModelDevice())
    model, x = classifier(), images(400)
    onnx.save(model, work / "c.onnx")
    np.savez(work / "d.npz", x=x, y=labels(model, x))
    budget = ["--data", "d.npz", "--max-drop", "5", "--target", "zen3", "--cache", "cache", "--method", ",".join(QUICK)]
    code, out, err = tenfold("compress", "c.onnx", "-o", "small", *budget)
    assert code == 0, err
    for words in ("conv2", "before", "MACs", "ms predicted", "points lost on 200 held-out images", "plan.json"):
        assert words in out
    assert names(work / "small") == ["model.onnx", "plan.json", "report.json"]
    code, out, err = tenfold("compress", "c.onnx", "-o", "again", "--plan", "small/plan.json", "--data", "d.npz")
    assert code == 0, err
    assert (work / "again" / "model.onnx").read_bytes() == (work / "small" / "model.onnx").read_bytes()
    code, _, err = tenfold("compress", "c.onnx", "-o", "again", "--plan", "small/plan.json")
    assert code == 2 and "--data" in err


def test_targets(tenfold):
    code, out, _ = tenfold("targets")
    assert code == 0 and "sapphirerapids" in out and "host" in out
    for name in ("zen4", "host", '{"kind": "llvm", "mcpu": "znver4"}'):
        code, out, _ = tenfold("targets", name)
        assert code == 0 and "registers" in out
