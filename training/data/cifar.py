"""CIFAR-10 and CIFAR-100 as their authors publish them: the binary version, and the version for Python.

    binary     a record an image: 1 label (CIFAR-100: coarse, fine), then 1024 bytes of red, of green and of blue, row by row
    Python     a pickled dictionary a file: data (N, 3072) uint8 in the same order, and labels (CIFAR-100: fine_labels)

Source: Krizhevsky and Hinton, "Learning multiple layers of features from tiny images" (2009), and the page of the data sets.
"""
from __future__ import annotations

import importlib
import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...support.errors import TenfoldError
from ...support.files.regular import read_regular
from .images import Images

SIZE = 32
PIXELS = 3 * SIZE * SIZE
LARGEST = 1 << 30  # bytes of a file; the largest is of 185 MB
# All that an array is pickled with, by NumPy 1 and by NumPy 2. Any other name in a pickle could run code.
HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True)
class Layout:
    """How one of the two data sets lies on the disk.

    Attributes
    ----------
    name : str
    classes : int
    binary, python : str
        The folders in which its archives unpack.
    train, test : tuple of (str, int)
        Files, without ``.bin``, and how many images each holds.
    label_bytes : int
        Of a record of the binary version; the last of them is the class.
    key : bytes
        Of the classes in the version for Python.
    """

    name: str
    classes: int
    binary: str
    python: str
    train: tuple[tuple[str, int], ...]
    test: tuple[tuple[str, int], ...]
    label_bytes: int
    key: bytes

    def folder(self, folder: Path) -> Path | None:
        """The folder that holds the files: `folder`, or the archive's own folder in it."""
        first = self.train[0][0]
        for place in (folder, folder / self.binary, folder / self.python):
            if (place / f"{first}.bin").is_file() or self._is_python(place / first):
                return place
        return None

    def _is_python(self, path: Path) -> bool:
        # Both have a file "train" or "data_batch_1"; what tells them from other people's files is the list of names beside them.
        return path.is_file() and any((path.parent / name).is_file() for name in ("batches.meta", "meta"))


CIFAR10 = Layout(
    "cifar10", 10, "cifar-10-batches-bin", "cifar-10-batches-py",
    tuple((f"data_batch_{number}", 10_000) for number in range(1, 6)), (("test_batch", 10_000),), 1, b"labels",
)  # fmt: skip
CIFAR100 = Layout("cifar100", 100, "cifar-100-binary", "cifar-100-python", (("train", 50_000),), (("test", 10_000),), 2, b"fine_labels")


def read_cifar10(folder: Path) -> Images:
    """Read CIFAR-10, in either version, from the folder of its files or the one around it.

    Raises
    ------
    TenfoldError
        A file is missing, cut short, or is none of CIFAR-10.
    """
    return _read(folder, CIFAR10)


def read_cifar100(folder: Path) -> Images:
    """Read CIFAR-100 with its 100 fine classes, as `read_cifar10` reads CIFAR-10."""
    return _read(folder, CIFAR100)


def _read(folder: Path, layout: Layout) -> Images:
    found = layout.folder(folder)
    if found is None:
        raise TenfoldError(f"{folder}: no {layout.train[0][0]}.bin, nor the version for Python: this folder does not hold {layout.name}")
    train, test = ([_read_file(found / name, layout, count) for name, count in files] for files in (layout.train, layout.test))
    train_x, train_y = (np.concatenate(parts) for parts in zip(*train, strict=True))
    test_x, test_y = (np.concatenate(parts) for parts in zip(*test, strict=True))
    return Images(layout.name, train_x, train_y, test_x, test_y, layout.classes)


def _read_file(path: Path, layout: Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    binary = path.with_name(f"{path.name}.bin")
    x, y = _read_binary(binary, layout, count) if os.path.lexists(binary) else _read_python(path, layout, count)
    path = binary if os.path.lexists(binary) else path
    if y.size and not 0 <= y.min() <= y.max() < layout.classes:
        wrong = y[(y < 0) | (y >= layout.classes)][0]
        raise TenfoldError(f"{path}: label {wrong} is none of {layout.classes} classes: not a file of {layout.name}")
    return x.reshape(-1, 3, SIZE, SIZE), y


def _read_binary(path: Path, layout: Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    record, content = layout.label_bytes + PIXELS, read_regular(path, LARGEST)
    if len(content) != count * record:
        why = "cut short" if len(content) < count * record else "too long"
        raise TenfoldError(f"{path}: {why}: {len(content):,} bytes instead of {count * record:,} ({count:,} images): fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(count, record)
    return records[:, layout.label_bytes :], records[:, layout.label_bytes - 1].astype(np.int64)


def _read_python(path: Path, layout: Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    content = read_regular(path, LARGEST)
    try:
        entries = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        x, y = np.asarray(entries[b"data"]), np.asarray(entries[layout.key])
    except TenfoldError as error:
        raise TenfoldError(f"{path}: {error}") from None
    except Exception as error:  # of the unpickler, which raises a dozen kinds
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TenfoldError(f"{path}: cut short, or no file of {layout.name}: {line}") from None
    if x.dtype != np.uint8 or x.shape != (count, PIXELS) or y.shape != (count,) or y.dtype.kind not in "iu":
        raise TenfoldError(f"{path}: holds {x.dtype}{list(x.shape)} and {y.shape[0] if y.ndim else 0} labels instead of {count:,} images")
    return x, y.astype(np.int64)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only what arrays are made of."""
        if (module, name) not in HARMLESS:
            raise TenfoldError(f"a pickle that asks for {module}.{name}, which no file of CIFAR does: not read, it could run code")
        if name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # in whatever module this NumPy has it
        return getattr(importlib.import_module(module), name)
