"""The reader for a folder: by the files that it holds."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...support.errors import TenfoldError
from . import cifar
from .images import Images
from .mnist import mnist_folder, read_mnist


def read_images(folder: Path) -> Images:
    """Read whichever of CIFAR-10, CIFAR-100 and MNIST a folder holds.

    Raises
    ------
    TenfoldError
        It holds none of them, more than one, or files that are broken.
    """
    readers: dict[str, Callable[[Path], Images]] = {}
    if cifar.CIFAR10.folder(folder) is not None:
        readers["CIFAR-10"] = cifar.read_cifar10
    if cifar.CIFAR100.folder(folder) is not None:
        readers["CIFAR-100"] = cifar.read_cifar100
    if mnist_folder(folder) is not None:
        readers["MNIST"] = read_mnist
    if not readers:
        what = "holds none of CIFAR-10, CIFAR-100 and MNIST" if folder.is_dir() else "is not there"
        raise TenfoldError(f"{folder}: {what}: examples/data.py fetches CIFAR-10 and MNIST")
    if len(readers) > 1:
        raise TenfoldError(f"{folder}: holds {' and '.join(readers)}: name the folder of one of them")
    return next(iter(readers.values()))(folder)
