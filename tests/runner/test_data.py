"""Arrays to run networks on."""
from __future__ import annotations

import numpy as np
import pytest
from tenfold.runner.data import Data, random_inputs, read_arrays
from tenfold.runtime.manifest import Port
from tenfold.support.errors import TenfoldError

IMAGE = Port("image", (2, 3, 4, 4), "float32")


def test_random_inputs_have_the_shapes_and_dtypes_and_repeat():
    ports = [IMAGE, Port("mask", (5,), "bool"), Port("token", (1, 7), "int64")]
    first, again, other = random_inputs(ports), random_inputs(ports), random_inputs(ports, seed=1)
    for port in ports:
        assert first[port.name].shape == port.shape and first[port.name].dtype == port.dtype
        np.testing.assert_array_equal(first[port.name], again[port.name])
    assert (first["image"] != other["image"]).any()
    assert set(np.unique(first["token"])) <= {0, 1}


def test_arrays_are_read_from_both_kinds_of_file(tmp_path):
    x, y = np.ones((2, 3)), np.arange(4)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    np.testing.assert_array_equal(read_arrays(tmp_path / "x.npy"), x)
    assert read_arrays(tmp_path / "xy.npz").keys() == {"x", "y"}


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 half a zip"])
def test_what_is_no_array_file_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(TenfoldError, match=r"x\.npz"):
        read_arrays(tmp_path / "x.npz")


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object))
    with pytest.raises(TenfoldError, match=r"x\.npy"):
        read_arrays(tmp_path / "x.npy")


def test_no_such_file_and_a_folder_are_refused(tmp_path):
    for path, word in ((tmp_path / "none.npy", "no such file"), (tmp_path, "folder")):
        with pytest.raises(TenfoldError, match=word):
            read_arrays(path)


def test_batches_leave_a_rest_out():
    data = Data.of({"x": np.arange(7), "y": np.arange(7)})
    assert [(x.tolist(), y.tolist()) for x, y in data.batches(3)] == [([0, 1, 2], [0, 1, 2]), ([3, 4, 5], [3, 4, 5])]
    assert len(list(data.batches(1, limit=2))) == 2


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"images": np.ones(3)}, "'x'"),
        ({"x": np.ones((3, 2)), "y": np.ones(2)}, "label"),
        ({"x": np.ones((3, 2)), "y": np.ones((3, 1))}, "label"),
        ({"x": np.array([1.0, np.nan])}, "NaN"),
        ({"x": np.array([1.0, np.inf])}, "infinity"),
    ],
)
def test_data_that_makes_no_sense_is_refused(data, word):
    with pytest.raises(TenfoldError, match=word):
        Data.of(data)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.ones((4, 3, 5, 5), "float32"), r"\[4, 3, 5, 5\].*\[N, 3, 4, 4\]"),
        (np.ones((3, 4, 4), "float32"), "image"),
        (np.ones((4, 3, 4, 4)), "float64.*float32"),
        (np.ones((1, 3, 4, 4), "float32"), "1 images.*2"),
    ],
)
def test_data_that_does_not_fit_the_network_is_refused(x, words):
    with pytest.raises(TenfoldError, match=words):
        Data.of(x).check(IMAGE, "net.onnx")


def test_data_that_fits_is_taken():
    Data.of(np.ones((5, 3, 4, 4), "float32")).check(IMAGE, "net.onnx")
