"""manifest.json."""
from __future__ import annotations

import hashlib
import json

import pytest
from tenfold.runtime.manifest import Manifest, Port, sha256_of
from tenfold.support.errors import TenfoldError

MANIFEST = Manifest(
    name="net.onnx",
    model_sha256="ab",
    inputs=(Port("image", (1, 3, 8, 8), "float32"),),
    outputs=(Port("scores", (1, 5), "float32"),),
    target={"name": "host", "tvm": {"kind": "llvm"}, "architecture": "x86_64", "features": ["avx2"]},
    threads=2,
    versions={"tenfold": "0"},
    plan=None,
    library_sha256="cd",
    weights_sha256="ef",
    bytes=10,
    memory={"weights": 4, "planned": 4},
    kernels=({"function": "conv2d_add", "layers": ("conv",), "output": (1, 8, 8, 8), "macs": 20},),
    choices={"conv2d 1x8x8x4": {"pixels": 6, "flat": True, "stage0": [1, 2]}},
    pieces=1,
    macs=20,
    params=30,
    source={"path": "/models/net.onnx", "input_shapes": {"image": (1, 3, 8, 8)}, "batch": None, "outputs": ("scores",), "tolerance": 1e-3},
    reference={"sha256": "01", "engine": "onnxruntime", "inputs": 2, "tolerance": 1e-3, "tolerance_reason": "as asked", "rms": None},
    verification={
        "device": "here", "reference": "onnxruntime", "inputs": 2, "max_abs_error": 1e-6, "max_rel_error": 1e-6, "tolerance": 1e-3,
        "tolerance_reason": "as asked", "notes": ("a note",),
    },
    unscheduled=("conv2d",),
    tuning={
        "kernels": {"conv2d 1x8x8x4": {"by": "record", "log": "a.jsonl", "how": "measured", "ms": 1.0}, "dense": {"by": "model"}},
        "stale": {"dense": "pixels can't be 9"}, "of_other_processors": 2,
    },
    simplified={
        "before": {"nodes": 9, "macs": 30, "params": 20}, "after": {"nodes": 5, "macs": 20, "params": 25},
        "merges": [{"rewrite": "branches", "into": "conv", "nodes": 4, "macs": 10, "params": -5}],
    },
)


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "manifest.json").write_text(MANIFEST.to_json())
    assert Manifest.read(tmp_path / "manifest.json") == MANIFEST


def test_older_ones_say_nothing_of_tuning_and_of_merged_layers(tmp_path):
    content = {name: value for name, value in json.loads(MANIFEST.to_json()).items() if name not in ("tuning", "simplified")}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    found = Manifest.read(tmp_path / "manifest.json")
    assert found.tuning is None and found.simplified is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"inputs": [{"name": "image", "shape": [1, "wide"], "dtype": "float32"}]},
        {"inputs": [{"name": "image", "shape": [1], "dtype": "float31"}]},
        {"inputs": [{"shape": [1], "dtype": "float32"}]},
        {"inputs": 3},
        {"target": {"name": "host"}},
        {"target": None},
        {"threads": "many"},
        {"unscheduled": None},
        {"tuning": {"kernels": {}}},
        {"tuning": {**MANIFEST.tuning, "kernels": {"dense": {"by": "record", "log": "a.jsonl", "how": ["measured"]}}}},
        {"tuning": {**MANIFEST.tuning, "kernels": {"dense": {}}}},
        {"tuning": {**MANIFEST.tuning, "of_other_processors": "two"}},
        {"simplified": {}},
        {"simplified": {**MANIFEST.simplified, "before": {"nodes": -1, "macs": 30, "params": 20}}},
        {"simplified": {**MANIFEST.simplified, "merges": [{"rewrite": "branches", "into": "conv", "nodes": "4", "macs": 0, "params": 0}]}},
        {"source": None},
        {"source": {**MANIFEST.source, "path": 3}},
        {"source": {**MANIFEST.source, "batch": 0}},
        {"source": {**MANIFEST.source, "tolerance": 1}},
        {"source": {**MANIFEST.source, "input_shapes": {"image": ["wide"]}}},
        {"reference": {}},
        {"reference": {**MANIFEST.reference, "inputs": 0}},
        {"reference": {**MANIFEST.reference, "tolerance": 2.0}},
        {"verification": {}},
        {"verification": True},
        {"verification": {**MANIFEST.verification, "max_rel_error": "small"}},
        {"verification": {**MANIFEST.verification, "notes": "none"}},
    ],
)
def test_malformed_entries_are_refused(tmp_path, change):
    (tmp_path / "manifest.json").write_text(json.dumps({**json.loads(MANIFEST.to_json()), **change}))
    with pytest.raises(TenfoldError, match=r"manifest\.json") as caught:
        Manifest.read(tmp_path / "manifest.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["format", "outputs", "library_sha256", "weights_sha256", "memory", "threads", "verification"])
def test_a_missing_field_is_named(tmp_path, field):
    content = json.loads(MANIFEST.to_json())
    del content[field]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(TenfoldError, match=field):
        Manifest.read(tmp_path / "manifest.json")


@pytest.mark.parametrize("text", ["", "[1", "[]", "3", "{}", '{"format": 1}'])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(TenfoldError, match=r"manifest\.json"):
        Manifest.read(tmp_path / "manifest.json")


def test_no_manifest_means_no_artifact(tmp_path):
    with pytest.raises(TenfoldError, match="not an artifact"):
        Manifest.read(tmp_path / "manifest.json")


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 10000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
