"""One artifact for several sizes: loaded and run."""
from __future__ import annotations

import json
import shutil
import threading
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from conftest import tiny_network
from hypothesis import given, settings
from hypothesis import strategies as st
from session_folder import made_once
from tenfold.runner.size_folders import extract
from tenfold.runtime.manifest import Manifest, sha256_of
from tenfold.runtime.sizes import SIZES, Sizes, numbered, read_manifests
from tenfold.support.errors import TenfoldError, TenfoldWarning

BATCHES = 1, 4, 16


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_once(tmp_path_factory, "dynamic.onnx", lambda path: onnx.save(tiny_network(batch="N"), path))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """`tiny_network` for several batches. Not to be changed: copy it."""
    return made_once(tmp_path_factory, "sized", lambda path: tenfold.compile(model, "host", path, batch=BATCHES))


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "net"))


@pytest.fixture(scope="module")
def reference(model):
    session = onnxruntime.InferenceSession(model)
    return lambda x: session.run(None, {"image": x})[0]


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype("float32")


def close(actual, expected):
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_any_batch_is_right(folder, reference):
    net = tenfold.load(folder)
    assert [size.inputs[0].shape[0] for size in net.sizes] == list(BATCHES)
    for count in range(1, 41):
        x = images(count, count)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TenfoldWarning)
            close(net(x), reference(x))
        if count in BATCHES:
            size = net.sizes[BATCHES.index(count)]
            np.testing.assert_array_equal(size(x), net(x))
    assert set(net.run(images(4))) == {"scores"}


def test_batches_that_are_put_together_are_told_once(folder):
    net = tenfold.load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in BATCHES:
            net(images(batch))
    with pytest.warns(TenfoldWarning, match=r"a batch of 7 runs as 4 \+ 3 x 1") as told:
        net(images(7))
        net(images(9))
    assert len(told) == 1 and told[0].filename == __file__


def test_weights_are_on_disk_and_in_memory_once(folder, model, tmp_path):
    weights = {number: folder / numbered("weights.bin", number) for number in (1, 2, 3)}
    alone = [extract(folder, number, tmp_path / str(number)) / "weights.bin" for number in weights]
    together = sum(path.stat().st_size for path in weights.values())
    assert together < sum(path.stat().st_size for path in alone)
    sizes = Sizes.read(folder)
    assert sizes.independent and sizes.saved > 0
    net = tenfold.load(folder)
    assert len(net.sizes) == 3
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(f" {weights[1].resolve()}")]
    assert len(mapped) == 1


def test_each_size_is_the_artifact_that_it_would_be_alone(folder, model, tmp_path):
    tenfold.compile(model, "host", tmp_path / "alone", batch=4)
    extract(folder, 2, tmp_path / "extracted")
    for name in ("model.so", "weights.bin"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "extracted" / name).read_bytes()
    alone, extracted = (Manifest.read(tmp_path / name / "manifest.json") for name in ("alone", "extracted"))
    assert alone == extracted
    assert tenfold.load(tmp_path / "extracted").inputs[0].shape == (4, 3, 8, 8)


def test_a_single_batch_makes_an_ordinary_artifact(model, tmp_path):
    net = tenfold.compile(model, "host", tmp_path / "out", batch=(2,))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "model.so", "weights.bin"]
    assert len(net.sizes) == 1 and net.manifest.source["batch"] == 2


def test_the_first_size_is_an_ordinary_artifact_to_older_readers(copy, reference):
    (copy / SIZES).unlink()
    net = tenfold.load(copy)
    assert len(net.sizes) == 1
    close(net(images(1)), reference(images(1)))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 3, 9, 8), "f"), "it was not compiled for image 2x3x9x8, but for: image 1x3x8x8; image 4x3x8x8; image 16x3x8x8"),
        (np.zeros((0, 3, 8, 8), "f"), "it was not compiled for image 0x3x8x8"),
        (np.zeros((3, 8, 8), "f"), "it was not compiled for image 3x8x8"),
        (np.zeros((4, 3, 8, 8)), "input 'image' has dtype float64"),
        (np.zeros((5, 3, 8, 8)), "input 'image' has dtype float64"),
        (np.full((5, 3, 8, 8), np.nan, "f"), "input 'image' holds NaN or infinity"),
        ([1.0], "input 'image' must be a NumPy array"),
        ({"photo": np.zeros((1, 3, 8, 8), "f")}, "there is no input 'photo'"),
    ],
)
@pytest.mark.filterwarnings("ignore::tenfold.support.errors.TenfoldWarning")
def test_what_it_can_not_take(folder, x, words):
    with pytest.raises(TenfoldError) as error:
        tenfold.load(folder)(x)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_calls_of_several_threads(folder, reference):
    net, wrong = tenfold.load(folder), []

    def call(count):
        x = images(count, count)
        expected = net(x)
        for _ in range(20):
            if not np.array_equal(net(x), expected):
                wrong.append(count)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TenfoldWarning)
        threads = [threading.Thread(target=call, args=(count,)) for count in (1, 4, 6, 16, 19)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_tensors(folder, reference):
    torch = pytest.importorskip("torch")
    net = tenfold.load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TenfoldWarning)
        for count in (4, 6):
            y = net(torch.from_numpy(images(count)))
            assert isinstance(y, torch.Tensor)
            close(y.numpy(), reference(images(count)))


def test_calls_are_recorded_for_a_size(folder):
    net = tenfold.load(folder)
    assert {name for name, *_ in net.record(images(4))} >= {fact["function"] for fact in net.sizes[1].manifest.kernels}
    with pytest.raises(TenfoldError, match="it was not compiled for image 5x3x8x8"):
        tenfold.load(folder).record(images(5))


@pytest.mark.parametrize("name", ["model.so", "model.2.so", "weights.bin", "weights.3.bin"])
def test_a_file_that_was_changed(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(TenfoldError, match=rf"{name}: does not match its manifest"):
        tenfold.load(copy)


@pytest.mark.parametrize("name", ["model.2.so", "weights.2.bin", "manifest.3.json"])
def test_a_file_that_is_not_there(copy, name):
    (copy / name).unlink()
    with pytest.raises(TenfoldError, match=f"not an artifact: there is no {name} in it"):
        tenfold.load(copy)


def test_files_of_another_compilation(copy):
    """Whose manifest fits them, but not the other sizes: their offsets would point elsewhere."""
    content = json.loads((copy / "manifest.2.json").read_text())
    table = bytearray((copy / "weights.2.bin").read_bytes())
    table += bytes(8)
    (copy / "weights.2.bin").write_bytes(table)
    content["weights_sha256"] = sha256_of(copy / "weights.2.bin")
    (copy / "manifest.2.json").write_text(json.dumps(content))
    with pytest.raises(TenfoldError, match="manifest.2.json: it is not the one that sizes.json names"):
        tenfold.load(copy)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["library_sha256", "weights_sha256", "x"]), inner),
    max_leaves=6,
)


@given(st.sampled_from(["format", "independent", "saved_bytes", "sizes"]), VALUES)
@settings(deadline=None)
def test_any_other_sizes_are_refused_in_one_line(folder, tmp_path_factory, field, value):
    content = json.loads((folder / SIZES).read_text())
    place = tmp_path_factory.mktemp("sizes")
    (place / SIZES).write_text(json.dumps({**content, field: value}))
    try:
        assert isinstance(Sizes.read(place), Sizes)
    except TenfoldError as error:
        assert str(error).startswith(str(place / SIZES)) and "\n" not in str(error)


def test_every_size_has_its_manifest(folder):
    manifests = read_manifests(folder)
    assert [manifest.source["batch"] for manifest in manifests] == list(BATCHES)
    assert all(manifest.verification["reference"] == "onnxruntime" for manifest in manifests)
    assert [manifest.macs for manifest in manifests] == [manifests[0].macs * batch for batch in BATCHES]
