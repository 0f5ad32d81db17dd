"""Commands that rewrite a network: `tenfold quantize` and `tenfold simplify`."""
from __future__ import annotations

import json

import numpy as np
import onnx
from folder_names import names


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
    assert code == 0 and "quantized 2 of 2 layers to int8, ranges by minmax from 24 images, accuracy" in out and "verified" in out
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
