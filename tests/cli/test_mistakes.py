"""Every mistake of the user is one line and exit code 2, and nothing is written."""
from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from conftest import tiny_network
from onnx import helper


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
