"""MNIST in its original format: four IDX files, as they are or compressed by gzip.

    images   0x00000803, count, rows, columns (32 bits each, the highest byte first), then a byte a pixel, row by row
    labels   0x00000801, count, then a byte a label

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits" (1998).
"""
from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from ...support.errors import TenfoldError
from ...support.files.regular import read_regular
from .images import Images

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
COUNTS = (60_000, 60_000, 10_000, 10_000)
IMAGES, LABELS = 0x803, 0x801
CLASSES = 10
LARGEST = 1 << 28  # bytes of a file; the largest is of 47 MB


def mnist_folder(folder: Path) -> Path | None:
    """The folder that holds the files: `folder`, or one in it, as some programs unpack them."""
    for place in (folder, folder / "mnist", folder / "MNIST" / "raw"):
        if _path(place, FILES[0]) is not None:
            return place
    return None


def read_mnist(folder: Path, counts: tuple[int, int, int, int] = COUNTS) -> Images:
    """Read MNIST.

    Parameters
    ----------
    folder : Path
        Of the four files, or around it.
    counts : tuple of int
        Training images and labels, test images and labels. Sets in the same format may have others.

    Raises
    ------
    TenfoldError
        A file is missing, cut short, or is none of MNIST.
    """
    found = mnist_folder(folder)
    if found is None:
        raise TenfoldError(f"{folder}: no {FILES[0]}, nor {FILES[0]}.gz: this folder does not hold MNIST")
    train_x, train_y, test_x, test_y = (_read(found, name, count) for name, count in zip(FILES, counts, strict=True))
    return Images("mnist", train_x[:, None], train_y.astype(np.int64), test_x[:, None], test_y.astype(np.int64), CLASSES)


def _path(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")  # as some archives spell it
    return next((path for stem in (name, dotted) for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def _read(folder: Path, name: str, count: int) -> np.ndarray:
    path = _path(folder, name)
    if path is None:
        raise TenfoldError(f"{folder / name}: no such file, nor with .gz: MNIST has four")
    content = read_regular(path, LARGEST)
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TenfoldError(f"{path}: cut short, or not compressed by gzip: {error}") from None
    magic = IMAGES if "images" in name else LABELS
    words = 1 + (magic & 0xFF)
    header = np.frombuffer(content[: 4 * words].ljust(4 * words, b"\xff"), ">u4")
    if len(content) < 4 * words or header[0] != magic:
        raise TenfoldError(f"{path}: not an IDX file of {'images' if magic == IMAGES else 'labels'}: it begins with {content[:4].hex()}")
    shape, pixels = tuple(int(size) for size in header[1:]), content[4 * len(header) :]
    if len(pixels) != prod(shape):
        why = "cut short" if len(pixels) < prod(shape) else "too long"
        raise TenfoldError(f"{path}: {why}: {len(pixels):,} bytes after its header, which says {prod(shape):,}: fetch it again")
    if shape[0] != count:
        raise TenfoldError(f"{path}: holds {shape[0]:,} of {count:,} {'images' if magic == IMAGES else 'labels'}")
    values = np.frombuffer(pixels, np.uint8).reshape(shape)
    if magic == LABELS and values.size and values.max() >= CLASSES:
        raise TenfoldError(f"{path}: label {values.max()} is none of {CLASSES} classes: not a file of MNIST")
    return values
