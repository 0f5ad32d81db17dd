"""Whole classifiers: the networks that come with the `onnx` package, with random weights, compiled and held against ONNX Runtime.

Their own weights are constant fills, which make every output the same number whatever the convolutions do.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tenfold
from onnx import numpy_helper
from tenfold.frontends import load

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize("name", ["bvlc_alexnet", "zfnet512", "vgg19"])
def test_compiles_and_matches_onnxruntime(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_STRICT", "1")
    model = load(LIGHT / f"light_{name}.onnx").onnx
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        if len(shape) >= 2:
            # He et al. (2015): activations keep their size through the layers, so that errors don't drown.
            weight = rng.standard_normal(shape, "float32") * np.float32(np.sqrt(2 / np.prod(shape[1:])))
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    artifact = tenfold.compile(model, output=tmp_path / name)
    check = artifact.manifest.verification
    assert check["reference"] == "onnxruntime"
    assert 0 < check["max_rel_error"] < check["tolerance"]
    assert not artifact.manifest.unscheduled
