"""Loading and running what was compiled."""
from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import threading

import numpy as np
import onnxruntime
import pytest
import tenfold
from conftest import tiny_network
from tenfold.runtime.loaded_network import aligned_empty
from tenfold.runtime.manifest import sha256_of
from tenfold.runtime.memory_plan import ALIGNMENT
from tenfold.support.errors import TenfoldError


@pytest.fixture
def copy(tiny_artifact, tmp_path):
    """The compiled network, to be spoilt."""
    return shutil.copytree(tiny_artifact, tmp_path / "copy")


def edit(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    for key, value in changes.items():
        manifest[key] = {**manifest[key], **value} if isinstance(value, dict) else value
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_it_computes_what_onnx_runtime_computes(tiny_artifact, tiny_file, image):
    expected = onnxruntime.InferenceSession(tiny_file).run(None, {"image": image})[0]
    net = tenfold.load(tiny_artifact)
    np.testing.assert_allclose(net(image), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(net({"image": image}), net(image))
    np.testing.assert_array_equal(net.run({"image": image})["scores"], net(image))


def test_results_belong_to_the_caller(tiny_artifact, image):
    net = tenfold.load(tiny_artifact)
    first = net(image)
    kept = first.copy()
    net(-image)
    np.testing.assert_array_equal(first, kept)


def test_buffers_are_aligned():
    for shape in ((1,), (3, 5), (), (1, 3, 224, 224)):
        array = aligned_empty(shape, "float32")
        assert array.ctypes.data % ALIGNMENT == 0 and array.shape == shape and array.dtype == "float32"


def test_two_threads_may_call_it(tiny_artifact, image):
    net = tenfold.load(tiny_artifact)
    inputs = [image * scale for scale in (1, 2, 3, 4)]
    expected = [net(x) for x in inputs]
    results = {}

    def work(index):
        for _ in range(20):
            results[index] = net(inputs[index])

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index in range(4):
        np.testing.assert_array_equal(results[index], expected[index])


@pytest.mark.parametrize("threads", [1, 2])
def test_it_runs_on_as_many_threads_as_asked_for(tiny_artifact, image, threads):
    code = f"""
import os, sys, numpy as np, tenfold
net = tenfold.load({str(tiny_artifact)!r}, threads={threads})
allowed, started = os.sched_getaffinity(0), len(os.listdir("/proc/self/task"))
net(np.zeros((1, 3, 8, 8), "float32"))
assert net.threads == {threads} > len(os.listdir("/proc/self/task")) - started
assert os.sched_getaffinity(0) == allowed
assert "tvm" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_threads_default_to_the_manifest_but_not_above_the_cores(tiny_artifact, copy):
    from tenfold.targets.detection import physical_cores

    assert tenfold.load(tiny_artifact).threads == physical_cores()
    edit(copy, threads=1)
    assert tenfold.load(copy).threads == 1
    edit(copy, threads=4096)
    assert tenfold.load(copy).threads == physical_cores()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x[0], r"shape \[3, 8, 8\].*\[1, 3, 8, 8\]"),
        (lambda x: x.astype("float64"), "float64.*float32"),
        (lambda x: x.astype(">f4"), ">f4.*float32"),
        (lambda x: np.where(np.arange(8) == 3, np.nan, x).astype("float32"), "NaN"),
        (lambda x: np.where(np.arange(8) == 3, -np.inf, x).astype("float32"), "infinity"),
        (lambda x: x.tolist(), "NumPy array or a torch tensor, not list"),
        (lambda x: {"photo": x}, "no input 'photo'.*'image'"),
        (lambda x: {"image": x, "photo": x}, "no input 'photo'"),
        (lambda x: {}, "'image' is missing"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tiny_artifact, image, make, words):
    net = tenfold.load(tiny_artifact)
    with pytest.raises(TenfoldError, match=words) as caught:
        net(make(image))
    assert "\n" not in str(caught.value)


def test_large_finite_inputs_are_no_infinities(tiny_artifact, image):
    net = tenfold.load(tiny_artifact)
    net(np.full_like(image, 3e38))


def test_no_folder_no_manifest_no_library(tmp_path, copy):
    for path, words in ((tmp_path / "none", "no such folder"), (copy / "model.so", "a file"), (tmp_path, "not an artifact")):
        with pytest.raises(TenfoldError, match=words):
            tenfold.load(path)


@pytest.mark.parametrize("name", ["model.so", "weights.bin"])
def test_a_file_that_is_missing_or_changed_is_refused(copy, name):
    with open(copy / name, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(TenfoldError, match=f"{name}: does not match its manifest"):
        tenfold.load(copy)
    with open(copy / name, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(TenfoldError, match=f"{name}: does not match its manifest"):
        tenfold.load(copy)
    (copy / name).unlink()
    with pytest.raises(TenfoldError, match=f"no {name}"):
        tenfold.load(copy)


def test_weights_that_are_none_are_refused(copy):
    (copy / "weights.bin").write_bytes(b"no weights, but long enough for a header")
    edit(copy, weights_sha256=sha256_of(copy / "weights.bin"))
    with pytest.raises(TenfoldError, match="not the weights of a compiled network") as caught:
        tenfold.load(copy)
    assert "\n" not in str(caught.value)


def test_two_copies_of_one_artifact_do_not_share_memory(tiny_artifact, image):
    first, second = tenfold.load(tiny_artifact), tenfold.load(tiny_artifact)
    expected = first(image)
    second(-image)
    np.testing.assert_array_equal(first(image), expected)


def test_a_folder_compiled_anew_is_loaded_anew(tmp_path, image):
    """Though this process holds the network that was there before: its shapes are the same, its code is not (no ReLU)."""
    model = tiny_network()
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    results = []
    for operator in ("Relu", "Identity", "Tanh"):
        relu.op_type = operator
        net = tenfold.load(tenfold.compile(model, "host", tmp_path / "net").folder)
        [expected] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": image})
        np.testing.assert_allclose(net(image), expected, rtol=1e-4, atol=1e-5)
        results.append((net, expected))
    for net, expected in results:  # and each goes on as it was
        np.testing.assert_allclose(net(image), expected, rtol=1e-4, atol=1e-5)


def test_a_library_that_is_none_is_refused(copy):
    (copy / "model.so").write_bytes(b"no library")
    edit(copy, library_sha256=sha256_of(copy / "model.so"))
    with pytest.raises(TenfoldError, match="can't be loaded") as caught:
        tenfold.load(copy)
    assert "\n" not in str(caught.value)


def test_an_artifact_for_a_cpu_with_more_features_is_refused(copy):
    edit(copy, target={"name": "future", "features": ["avx2", "avx2048f", "avx2048dq"]})
    with pytest.raises(TenfoldError, match="another CPU: future needs avx2048f, avx2048dq"):
        tenfold.load(copy)


def test_an_artifact_for_another_architecture_is_refused(copy):
    edit(copy, target={"name": "phone", "architecture": "aarch64"})
    with pytest.raises(TenfoldError, match=f"another CPU: phone is aarch64, this machine is {platform.machine()}"):
        tenfold.load(copy)


def test_no_threads_are_refused(tiny_artifact):
    with pytest.raises(TenfoldError, match="threads"):
        tenfold.load(tiny_artifact, threads=0)
