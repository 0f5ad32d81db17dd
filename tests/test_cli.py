"""The command line: what it writes and prints, and every mistake in one line with exit code 2."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
from conftest import tiny_network
from onnx import helper
from record_samples import other_pixels, record
from search_fakes import QUICK, ModelDevice, classifier, images, labels
from tenfold import cli
from tenfold.runner.bench.disturbance import Usage
from tenfold.runner.devices.here import Here
from tenfold.runner.tuning_records.tune_log import TuneLog
from tenfold.support import interrupts
from tenfold.targets import resolve


@pytest.fixture
def tenfold(monkeypatch, capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tenfold", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run


@pytest.fixture
def work(tmp_path, monkeypatch, tiny_file, tiny_artifact):
    """A folder to work in, with the network, an artifact and a plan of it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_file, tmp_path / "net.onnx")
    shutil.copytree(tiny_artifact, tmp_path / "net")
    np.save(tmp_path / "x.npy", np.ones((1, 3, 8, 8), "float32"))
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_help_is_instant():
    begin = time.process_time()
    import resource

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


def test_compile_by_tuning_logs(tenfold, work):
    choices = json.loads((work / "net" / "manifest.json").read_text())["choices"]
    log = TuneLog(work / "logs", resolve("host"), Here())
    [(workload, point)] = other_pixels(choices).items()
    log.append(record(workload, processor=log.processor, cores=log.cores, choice=point))
    code, out, err = tenfold("compile", "net.onnx", "-o", "tuned", "--tune-log", "logs", "--json", "said.json")
    assert code == 0 and f"1 of {len(choices)} kernels are built by records of the tuner (1 measured)" in out and "warning" not in err
    assert json.loads((work / "said.json").read_text())["manifest"]["choices"][workload] == point
    assert "1 measured" in tenfold("inspect", "tuned")[1]
    code, out, _ = tenfold("compile", "net.onnx", "-o", "plain", "--no-tune-log")
    assert code == 0 and "tuner" not in out
    assert json.loads((work / "plain" / "manifest.json").read_text())["choices"] == choices
    log.append(record("dense 1x128 filters 5", processor=replace(log.processor, model="Another CPU"), cores=log.cores))
    os.rename(log.file.with_name("another-cpu-" + log.file.name.rpartition("-")[2]), log.file)  # of another CPU only
    code, out, _ = tenfold("compile", "net.onnx", "-o", "other", "--tune-log", "logs")
    assert code == 0 and "no kernel: 1 record of other processors" in out


def test_tuning_logs_that_can_not_be(tenfold, work):
    code, _, err = tenfold("compile", "net.onnx", "-o", "out", "--tune-log", "nowhere")
    assert code == 2 and err.count("\n") == 1 and "nowhere: tuning logs can't be read: there is no such folder" in err
    code, _, err = tenfold("compile", "net.onnx", "-o", "out", "--tune-log", ".", "--no-tune-log")
    assert code == 2 and "give one of them" in err
    assert not (work / "out").exists()


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


def spoil_nan(work):
    x = np.load(work / "x.npy")
    x[0, 1, 2, 3] = np.nan
    np.save(work / "x.npy", x)


def spoil_output(work):
    shutil.copytree(work / "net", work / "out")
    (work / "out" / "thesis.tex").write_text("years of work")


def spoil_library(work):
    (work / "net" / "model.so").write_bytes(b"\x7fELF, but changed")


def spoil_cpu(work):
    manifest = json.loads((work / "net" / "manifest.json").read_text())
    manifest["target"].update(name="future", features=["avx2048f"])
    (work / "net" / "manifest.json").write_text(json.dumps(manifest))


def make_truncated(work):
    (work / "cut.onnx").write_bytes((work / "net.onnx").read_bytes()[:-500])


def make_unknown_operator(work):
    model = tiny_network()
    model.graph.node[1].op_type, model.graph.node[1].domain = "Frobnicate", "custom"
    model.opset_import.append(helper.make_opsetid("custom", 1))
    onnx.save(model, work / "odd.onnx")


def make_dynamic(work):
    model = tiny_network(batch="N")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, work / "dynamic.onnx")


def plan(work, model=None, **layers):
    from tenfold.frontends import load

    content = {"version": 1, "model": model or load(work / "net.onnx").sha256, "target": "zen3", "layers": layers, "refused": {}}
    (work / "plan.json").write_text(json.dumps(content))


def make_data(work, size=8, classes=5, count=64):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((count, 3, size, size), "float32"), np.arange(count) % classes
    np.savez(work / "d.npz", x=x, y=y)


NET = ["net.onnx", "-o", "out"]
SMALL = ["compress", *NET]
DATA = [*SMALL, "--data", "d.npz"]
RUN = ["run", "net", "--input", "x.npy", "-o", "y.npz"]
CONV = {"method": "channel_svd", "ranks": [2], "metric": "frobenius"}

MISTAKES = {
    "no such file": (None, ["compile", "none.onnx", "-o", "out"], ["none.onnx", "no such file"]),
    "no such pt2": (None, ["inspect", "none.pt2"], ["none.pt2", "no such file"]),
    "not a model": (lambda w: (w / "a.onnx").write_text("hello"), ["compile", "a.onnx", "-o", "out"], ["a.onnx", "not an ONNX model"]),
    "a folder as model": (None, ["compile", "net", "-o", "out"], ["net"]),
    "truncated": (make_truncated, ["compress", "cut.onnx", "-o", "out"], ["cut.onnx", "cut short"]),
    "unknown operator": (make_unknown_operator, ["compile", "odd.onnx", "-o", "out"], ["odd.onnx", "Frobnicate", "'relu'"]),
    "dynamic size": (make_dynamic, ["compile", "dynamic.onnx", "-o", "out"], ["'image'", "dynamic", "--input-shape image="]),
    "input shape": (make_dynamic, ["inspect", "dynamic.onnx", "--input-shape", "image=1,x"], ["image=1,x", "NAME=1,3,224,224"]),
    "input shape without name": (make_dynamic, ["inspect", "dynamic.onnx", "--input-shape", "1,3,8,8"], ["NAME="]),
    "input shape of no input": (None, ["inspect", "net.onnx", "--input-shape", "photo=1,3,8,8"], ["'photo'", "'image'"]),
    "unknown target": (None, ["compile", *NET, "--target", "zen44"], ["'zen44'", "zen4", "host"]),
    "a precision of a CPU": (None, ["compile", *NET, "--target", "zen4", "--precision", "tf32"], ["tf32", "zen4", "float32"]),
    "a precision that the GPU lacks": (None, ["compile", *NET, "--target", "sm_75", "--precision", "tf32"], ["sm_75", "tf32", "fp16"]),
    "an unknown precision": (None, ["compile", *NET, "--target", "cuda", "--precision", "int3"], ["'int3'", "tf32", "fp16"]),
    "bad JSON target": (None, ["compress", *NET, "--target", '{"kind":'], ["JSON"]),
    "unknown target to show": (None, ["targets", "zx81"], ["'zx81'", "host"]),
    "unknown method": (None, ["compress", *NET, "--method", "magic"], ["'magic'", "tucker2"]),
    "energy": (None, ["compress", *NET, "--energy", "1.5"], ["energy 1.5"]),
    "a budget of nothing": (make_data, [*DATA, "--max-drop", "0"], ["--max-drop 0"]),
    "a speed-up of less": (make_data, [*DATA, "--speedup", "0.5"], ["--speedup 0.5"]),
    "a latency below zero": (make_data, [*DATA, "--latency", "-1"], ["--latency -1"]),
    "a size of nothing": (make_data, [*DATA, "--size", "0"], ["--size 0"]),
    "a budget without data": (None, [*SMALL, "--max-drop", "1"], ["--data"]),
    "a budget with data that is not there": (None, [*SMALL, "--max-drop", "1", "--data", "none.npz"], ["none.npz", "no such file"]),
    "data of another shape": (lambda w: make_data(w, size=9), [*DATA, "--max-drop", "1"], ["d.npz", "[64, 3, 9, 9]"]),
    "labels out of range": (lambda w: make_data(w, classes=99), [*DATA, "--max-drop", "1"], ["d.npz", "classes 0 to 4"]),
    "too few images": (lambda w: make_data(w, count=9), [*DATA, "--max-drop", "1"], ["d.npz", "9 images"]),
    "a budget and energy": (make_data, [*DATA, "--max-drop", "1", "--energy", "0.9"], ["budget", "--energy"]),
    "a budget for another machine": (make_data, [*DATA, "--max-drop", "1", "--target", "zen9"], ["'zen9'"]),
    "a device without a budget": (None, [*SMALL, "--device", "board"], ["--device", "--max-drop"]),
    "a device that is no address": (make_data, [*DATA, "--max-drop", "1", "--device", "board:x"], ["--device board:x", "HOST:PORT"]),
    "a device that does not answer": (make_data, [*DATA, "--max-drop", "1", "--device", "127.0.0.1:1"], ["127.0.0.1:1", "tenfold serve"]),
    "a limit on silence without a budget": (None, [*SMALL, "--silence", "9"], ["--device", "--max-drop"]),
    "a limit on silence without a device": (make_data, [*DATA, "--max-drop", "1", "--silence", "9"], ["--silence", "--device"]),
    "a limit on silence of nothing": (None, ["serve", "--silence", "0"], ["--silence 0", "0.5"]),
    "a stable machine in no time": (None, ["bench", "net", "--until-stable", "0"], ["until-stable", "more than 0"]),
    "a curve without a budget": (None, [*SMALL, "--pareto"], ["--pareto", "--max-drop"]),
    "too few images to correct with": (lambda w: make_data(w, count=9), DATA, ["d.npz", "9 images"]),
    "images of another shape to correct with": (lambda w: make_data(w, size=9), DATA, ["d.npz", "[64, 3, 9, 9]"]),
    "an unknown picture": (None, ["plot", "portrait", "net.onnx", "-o", "p.png"], ["'portrait'", "spectra"]),
    "a picture of nothing": (None, ["plot", "spectra", "-o", "p.png"], ["needs a network"]),
    "colours that do not divide": (None, ["plot", "filters", "net.onnx", "-o", "p.png", "--colors", "3"], ["8 filters", "3 clusters"]),
    "an unknown kind of picture": (None, ["plot", "parameters", "-o", "p.bmp"], ["p.bmp", ".png"]),
    "plan and method": (plan, ["compress", *NET, "--plan", "plan.json", "--method", "svd"], ["--plan", "--method"]),
    "no plan": (None, ["compile", *NET, "--plan", "none.json"], ["none.json"]),
    "malformed plan": (lambda w: (w / "plan.json").write_text("{"), ["compress", *NET, "--plan", "plan.json"], ["plan.json"]),
    "unknown layer": (lambda w: plan(w, conv9=CONV), ["compress", *NET, "--plan", "plan.json"], ["'conv9'"]),
    "plan for another model": (lambda w: plan(w, "0" * 64, conv=CONV), ["compile", *NET, "--plan", "plan.json"], ["000000", "model"]),
    "rank out of range": (lambda w: plan(w, conv={**CONV, "ranks": [99]}), ["compress", *NET, "--plan", "plan.json"], ["'conv'", "99"]),
    "a folder of other things": (spoil_output, ["compile", *NET], ["thesis.tex"]),
    "unknown engine": (None, ["bench", "net.onnx", "--against", "onnxruntime,caffe"], ["'caffe'", "openvino"]),
    "no such data": (None, ["bench", "net", "--data", "d.npz"], ["d.npz", "no such file"]),
    "bench of nothing": (None, ["bench", "none.onnx"], ["none.onnx"]),
    "no artifact": (None, ["run", "none", "--input", "x.npy"], ["none", "no such folder"]),
    "a folder that is no artifact": (lambda w: (w / "empty").mkdir(), ["run", "empty", "--input", "x.npy"], ["empty", "manifest.json"]),
    "changed library": (spoil_library, RUN, ["model.so", "manifest"]),
    "another CPU": (spoil_cpu, RUN, ["another CPU", "avx2048f"]),
    "no input": (None, ["run", "net", "--input", "none.npy"], ["none.npy", "no such file"]),
    "wrong shape": (lambda w: np.save(w / "x.npy", np.ones((3, 8, 8), "float32")), RUN, ["[3, 8, 8]"]),
    "wrong dtype": (lambda w: np.save(w / "x.npy", np.ones((1, 3, 8, 8))), RUN, ["float64", "float32"]),
    "NaN": (spoil_nan, RUN, ["NaN"]),
    "wrong name": (lambda w: np.savez(w / "x.npz", photo=np.ones(1)), ["run", "net", "--input", "x.npz"], ["'photo'", "'image'"]),
    "wrong output name": (None, ["run", "net", "--input", "x.npy", "-o", "y.txt"], ["y.txt", ".npz"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(tenfold, work, mistake):
    prepare, arguments, words = MISTAKES[mistake]
    if prepare is not None:
        prepare(work)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    code, out, err = tenfold(*arguments)
    assert code == 2, err
    assert err.startswith("tenfold: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before


def test_an_engine_that_is_not_installed(tenfold, work, monkeypatch):
    monkeypatch.setattr("tenfold.runner.bench.engines.importlib.util.find_spec", lambda name: None)
    code, _, err = tenfold("bench", "net", "--against", "openvino")
    assert code == 2 and 'openvino is not installed: pip install "tenfold[rivals]"' in err


def test_a_wrong_option_is_exit_code_2(tenfold, work):
    assert tenfold("compile", "net.onnx", "-o", "out", "--thread", 2)[0] == 2
    assert tenfold("compile", "net.onnx")[0] == 2
    assert tenfold("compile", "net.onnx", "-o", "out", "--threads", 0)[0] == 2
    assert tenfold("frobnicate")[0] == 2


def test_a_network_that_differs_is_exit_code_1(tenfold, work, monkeypatch):
    from tenfold.support.errors import VerificationError

    def differ(*args, **keywords):
        raise VerificationError("net.onnx differs")

    monkeypatch.setattr("tenfold.runner.compile.compile", differ)
    code, _, err = tenfold("compile", "net.onnx", "-o", "out")
    assert (code, err) == (1, "tenfold: net.onnx differs\n")


def test_an_interrupt_is_exit_code_130_and_leaves_nothing(tenfold, work, monkeypatch):
    def interrupt(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("tenfold.runner.compile.build_library", interrupt)
    before = names(work)
    code, _, err = tenfold("compile", "net.onnx", "-o", "out")
    assert code == 130 and "Traceback" not in err and names(work) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_inside_tvm_is_no_traceback(tenfold, work, monkeypatch, number):
    """TVM turns whatever a Python callback raises into a RuntimeError."""

    def interrupt(*args, **keywords):
        try:
            interrupts.stop(number, None)
        except KeyboardInterrupt:
            raise RuntimeError("a page of C++") from None

    monkeypatch.setattr(interrupts, "caught", [])
    monkeypatch.setattr("tenfold.runner.compile.build_library", interrupt)
    before = names(work)
    code, _, err = tenfold("compile", "net.onnx", "-o", "out")
    assert code == 128 + number and "Traceback" not in err and names(work) == before


def test_warnings_are_one_line(tenfold, work, monkeypatch):
    import warnings

    loud = lambda: warnings.warn("two\nlines", UserWarning, stacklevel=1) or "a CPU"  # noqa: E731
    monkeypatch.setattr("tenfold.targets.detection.cpu_model", loud)
    code, _, err = tenfold("targets")
    assert code == 0 and err == "tenfold: warning: two lines\n"


@pytest.mark.parametrize(("arguments", "words"), [
    (["compile", "net.onnx", "--threads", "0"], "--threads"),
    (["compile", "net.onnx", "--wings", "2"], "--wings"),
    (["compile"], "MODEL"),
    (["fly"], "fly"),
    (["--wings"], "--wings"),
])
def test_options_that_are_not_understood(tenfold, work, arguments, words):
    before = names(work)
    code, out, err = tenfold(*arguments)
    assert code == 2 and not out and err.count("\n") == 1 and err.startswith("tenfold: ") and words in err and "--help" in err
    assert names(work) == before


def test_without_a_word_it_says_what_it_can_do(tenfold):
    code, out, err = tenfold()
    assert code == 2 and "compress" in out + err


def test_quantize(tenfold, work):
    """A table of layers and what was lost; the file; an int8 artifact, a small one; and each mistake in one line."""
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.standard_normal((24, 3, 8, 8)).astype("float32"), y=np.arange(24) % 5)
    np.savez("nan.npz", x=np.full((24, 3, 8, 8), np.nan, "float32"))
    options = ("--json", "q.json", "--keep", "fc", "--calibration", "kl")
    code, out, _ = tenfold("quantize", "net.onnx", "--data", "d.npz", "-o", "q.onnx", *options)
    assert code == 0 and "as asked" in out and "accuracy" in out and "ranges by kl from 24 images" in out and "wrote" in out
    content = json.loads((work / "q.json").read_text())
    assert [layer["reason"] for layer in content["layers"]] == [None, "as asked"] and content["settings"]["calibration"] == "kl"
    assert content["after"]["bytes"] == (work / "q.onnx").stat().st_size
    code, out, _ = tenfold("compile", "net.onnx", "-o", "int8", "--precision", "int8", "--data", "d.npz", "--json", "int8.json")
    assert code == 0 and "quantized 2 of 2 layers to int8, ranges by mse from 24 images, accuracy" in out and "verified" in out
    assert json.loads((work / "int8.json").read_text())["manifest"]["quantization"]["precision"] == "int8"
    code, out, _ = tenfold("compile", "net.onnx", "-o", "small", "--size", "4:round")
    assert code == 0 and "indices of 4 bits by round" in out and "verified" in out
    for arguments, words in (
        (("quantize", "net.onnx", "-o", "y.onnx"), "--data"),
        (("quantize", "net.onnx", "-o", "y.onnx", "--data", "nan.npz"), "nan.npz: x holds NaN or infinity"),
        (("quantize", "net.onnx", "-o", "net.onnx", "--data", "d.npz"), "net.onnx"),
        (("quantize", "q.onnx", "-o", "y.onnx", "--data", "d.npz"), "q.onnx: it is quantized already"),
        (("quantize", "net.onnx", "-o", "y.onnx", "--data", "d.npz", "--keep", "dense"), "no layer 'dense' to keep"),
        (("quantize", "net.onnx", "-o", "y.onnx", "--data", "d.npz", "--calibration", "best"), "calibration 'best': choose mse, minmax"),
        (("compile", "net.onnx", "-o", "y", "--precision", "int8"), "--data"),
        (("compile", "net.onnx", "-o", "y", "--size", "1"), "size '1'"),
    ):
        code, _, err = tenfold(*arguments)
        assert code == 2 and words in err and len(err.strip().splitlines()) == 1, err
    assert not {"y.onnx", "y"} & set(names(work))


def test_simplify(tenfold, work):
    """A table of what was merged, or a line that says that there is nothing; the file; and each mistake in one line."""
    from simplify_checks import Builder

    b = Builder(1, 4, 8, 8)
    y = b.add("Add", b.conv("x", "wide", 4, 4, pads=[1] * 4), b.conv("x", "point", 4, 4, (1, 1)), name="sum")
    onnx.save(b.model(b.add("Relu", y, name="relu")), "branches.onnx")
    code, out, _ = tenfold("simplify", "branches.onnx", "-o", "small.onnx", "--json", "small.json")
    assert code == 0 and "wide" in out and "branches" in out and "4 -> 2 nodes" in out and "verified" in out and "wrote" in out
    content = json.loads((work / "small.json").read_text())
    assert content["before"]["macs"] - content["after"]["macs"] == 1024 and content["merges"][0]["into"] == "wide"
    code, out, _ = tenfold("simplify", "small.onnx", "-o", "smaller.onnx")
    assert code == 0 and out.startswith("nothing to do") and (work / "smaller.onnx").exists()
    code, out, _ = tenfold("simplify", "branches.onnx", "-o", "same.onnx", "--without", "branches,chains")
    assert code == 0 and "nothing to do" in out
    code, out, _ = tenfold("inspect", "branches.onnx")
    assert code == 0 and "merged    1 layers" in out
    code, out, _ = tenfold("inspect", "branches.onnx", "--no-simplify")
    assert code == 0 and "merged" not in out and "point" in out
    for arguments, words in (
        (("branches.onnx", "-o", "net.onnx"), "net.onnx: it is there already"),
        (("branches.onnx", "-o", "branches.onnx"), "branches.onnx: "),
        (("branches.onnx", "-o", "y.onnx", "--only", "chain"), "there is no rewrite 'chain'"),
        (("branches.onnx", "-o", "y.onnx", "--no-simplify"), "leave it out"),
        (("none.onnx", "-o", "y.onnx"), "none.onnx: no such file"),
    ):
        code, _, err = tenfold("simplify", *arguments)
        assert code == 2 and words in err and len(err.strip().splitlines()) == 1, err
    assert "y.onnx" not in names(work)
    code, _, err = tenfold("inspect", "net", "--no-simplify")
    assert code == 2 and "--no-simplify" in err
