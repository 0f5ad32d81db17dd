"""Whole classifiers: the networks that come with the `onnx` package, with random weights, compiled and held against ONNX Runtime.

Their own weights are constant fills, which make every output the same number whatever the convolutions do.
"""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tenfold

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from networks import light  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bvlc_alexnet", "zfnet512", "vgg19"])
def test_compiles_and_matches_onnxruntime(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_STRICT", "1")
    artifact = tenfold.compile(light(name), output=tmp_path / name)
    check = artifact.manifest.verification
    assert check["reference"] == "onnxruntime"
    assert 0 < check["max_rel_error"] < check["tolerance"]
    assert not artifact.manifest.unscheduled
