"""Readers of the original formats, on small files written here by the formats' descriptions, byte by byte."""
from __future__ import annotations

import gzip
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
from tenfold import TenfoldError
from tenfold.training.data import cifar, mnist, read_cifar10, read_cifar100, read_images, read_mnist

RNG = np.random.default_rng(0)
COUNT = 3  # images of a file


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """The layouts, with files of a few images."""
    for name in ("CIFAR10", "CIFAR100"):
        layout = getattr(cifar, name)
        small = {part: tuple((file, COUNT) for file, _ in getattr(layout, part)) for part in ("train", "test")}
        monkeypatch.setattr(cifar, name, replace(layout, **small))
    monkeypatch.setattr(mnist, "COUNTS", (3, 3, 2, 2))
    monkeypatch.setattr(mnist.read_mnist, "__defaults__", ((3, 3, 2, 2),))


def record(image, *labels):
    """Labels, then the red, the green and the blue plane, each row by row."""
    planes = [bytes(int(image[row, column, color]) for row in range(32) for column in range(32)) for color in range(3)]
    return bytes(labels) + b"".join(planes)


def cifar10_files(folder):
    images = RNG.integers(0, 256, (6, COUNT, 32, 32, 3), np.uint8)
    labels = RNG.integers(0, 10, (6, COUNT))
    for number, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        (folder / name).write_bytes(b"".join(record(image, label) for image, label in zip(images[number], labels[number], strict=True)))
    return images, labels


def test_cifar10(tmp_path):
    images, labels = cifar10_files(tmp_path)
    read = read_cifar10(tmp_path)
    np.testing.assert_array_equal(read.train_x, images[:5].reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(read.test_x, images[5].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(read.train_y, labels[:5].ravel())
    assert (read.name, read.classes, read.train_y.dtype) == ("cifar10", 10, np.int64)
    assert read_images(tmp_path).name == "cifar10"


def test_cifar100_has_two_labels_and_the_second_counts(tmp_path):
    folder = tmp_path / "cifar-100-binary"  # where its archive unpacks
    folder.mkdir()
    images, fine = RNG.integers(0, 256, (2, COUNT, 32, 32, 3), np.uint8), np.array([[99, 0, 42], [7, 8, 9]])
    for number, name in enumerate(("train.bin", "test.bin")):
        (folder / name).write_bytes(b"".join(record(x, 19, y) for x, y in zip(images[number], fine[number], strict=True)))
    read = read_cifar100(tmp_path)
    np.testing.assert_array_equal(read.train_x, images[0].transpose(0, 3, 1, 2))
    assert read.train_y.tolist() == [99, 0, 42] and read.test_y.tolist() == [7, 8, 9] and read.classes == 100
    assert read_images(tmp_path).name == "cifar100"


@pytest.mark.parametrize("layout, key", [("CIFAR10", b"labels"), ("CIFAR100", b"fine_labels")])
def test_the_version_for_python(tmp_path, layout, key):
    layout = getattr(cifar, layout)
    folder = tmp_path / layout.python
    folder.mkdir()
    (folder / ("batches.meta" if layout is cifar.CIFAR10 else "meta")).write_bytes(b"")
    data = RNG.integers(0, 256, (COUNT, 3072), np.uint8)
    for name, _ in (*layout.train, *layout.test):
        (folder / name).write_bytes(pickle.dumps({b"data": data, key: [1, 2, 3], b"batch_label": b"testing"}, protocol=2))
    read = read_images(tmp_path)
    np.testing.assert_array_equal(read.test_x.reshape(COUNT, -1), data)
    assert read.test_y.tolist() == [1, 2, 3] and len(read.train_x) == COUNT * len(layout.train)
    (folder / layout.test[0][0]).write_bytes(pickle.dumps({b"data": print}, protocol=2))
    with pytest.raises(TenfoldError, match=r"a pickle that asks for \w+\.print"):
        read_images(tmp_path)


def test_broken_files_of_cifar_are_named(tmp_path):
    with pytest.raises(TenfoldError, match=r"no data_batch_1\.bin"):
        read_cifar10(tmp_path)
    cifar10_files(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(TenfoldError, match=r"data_batch_3\.bin: cut short: 9,218 bytes instead of 9,219 \(3 images\): fetch it again"):
        read_cifar10(tmp_path)
    path.write_bytes(whole[: 2 * 3073])
    with pytest.raises(TenfoldError, match="cut short"):
        read_cifar10(tmp_path)
    path.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(TenfoldError, match=r"data_batch_3\.bin: label 10 is none of 10 classes"):
        read_cifar10(tmp_path)
    path.unlink()
    with pytest.raises(TenfoldError, match=r"data_batch_3.*No such file"):
        read_cifar10(tmp_path)


def idx(array):
    """Two zeros, the code of bytes, the number of dimensions, each size as 32 bits, the highest byte first; then the values."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mnist_files(folder, compressed=False):
    arrays = [RNG.integers(0, 256, (3, 28, 28)), np.array([9, 0, 4]), RNG.integers(0, 256, (2, 28, 28)), np.array([1, 2])]
    for name, array in zip(mnist.FILES, arrays, strict=True):
        content = idx(array)
        (folder / (f"{name}.gz" if compressed else name)).write_bytes(gzip.compress(content) if compressed else content)
    return arrays


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist(tmp_path, compressed):
    arrays = mnist_files(tmp_path, compressed)
    read = read_images(tmp_path)
    np.testing.assert_array_equal(read.train_x[:, 0], arrays[0])
    np.testing.assert_array_equal(read.test_x[:, 0], arrays[2])
    assert read.train_y.tolist() == [9, 0, 4] and read.test_y.tolist() == [1, 2] and read.name == "mnist"


def test_broken_files_of_mnist_are_named(tmp_path):
    mnist_files(tmp_path)
    path = tmp_path / mnist.FILES[0]
    whole = path.read_bytes()
    wrong = {whole[:-1]: "cut short: 2,351 bytes after its header, which says 2,352", whole + b"0": "too long", b"": "not an IDX",
             whole[:7]: "not an IDX", idx(np.zeros((2, 28, 28))): "holds 2 of 3 images"}  # fmt: skip
    for content, words in wrong.items():
        path.write_bytes(content)
        with pytest.raises(TenfoldError, match=rf"{path.name}: .*{words}"):
            read_mnist(tmp_path)
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(TenfoldError, match=r"\.gz: cut short"):
        read_mnist(tmp_path)


def test_a_folder_of_none_or_of_two(tmp_path):
    with pytest.raises(TenfoldError, match="holds none of CIFAR-10, CIFAR-100 and MNIST"):
        read_images(tmp_path)
    with pytest.raises(TenfoldError, match="is not there"):
        read_images(tmp_path / "absent")
    cifar10_files(tmp_path)
    mnist_files(tmp_path)
    with pytest.raises(TenfoldError, match="holds CIFAR-10 and MNIST"):
        read_images(tmp_path)
