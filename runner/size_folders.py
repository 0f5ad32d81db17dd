"""Artifacts of several sizes, made from ordinary ones, and taken apart again."""
from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..runtime.manifest import MANIFEST, REFERENCE, WEIGHTS, Manifest, sha256_of
from ..runtime.sizes import DIFFERS, SIZES, Sizes, numbered, read_manifests
from ..runtime.weights import map_weights, write_together, write_weights
from ..support.errors import TenfoldError


def join(folders: Sequence[Path], output: Path, independent: bool) -> Sizes:
    """Make one artifact of several.

    Parameters
    ----------
    folders : sequence of Path
        Ordinary artifacts of the same network for the same CPU, the one that others see first. Their libraries are moved.
    output : Path
        An empty folder.
    independent : bool
        As of `Sizes`.
    """
    numbers = range(1, len(folders) + 1)
    weights = [output / numbered(WEIGHTS, number) for number in numbers]
    contents = [map_weights(folder / WEIGHTS) for folder in folders]
    saved = write_together(weights, contents)
    files = []
    for number, folder, path in zip(numbers, folders, weights, strict=True):
        manifest = replace(Manifest.read(folder / MANIFEST), weights_sha256=sha256_of(path))
        for name in (manifest.library, REFERENCE):
            if (folder / name).exists():
                shutil.move(folder / name, output / numbered(name, number))
        (output / numbered(MANIFEST, number)).write_text(manifest.to_json(), encoding="utf-8")
        files.append((manifest.library_sha256, manifest.weights_sha256))
    sizes = Sizes(tuple(files), independent, saved)
    (output / SIZES).write_text(sizes.to_json(), encoding="utf-8")
    return sizes


def extract(folder: Path, number: int, output: Path) -> Path:
    """Make an ordinary artifact of one size.

    Parameters
    ----------
    folder : Path
        An artifact of several sizes.
    number : int
        Which, counted from 1.
    output : Path
        The folder to make.

    Raises
    ------
    TenfoldError
        The folder is no such artifact, or a file in it is not the one of its manifest.
    """
    manifests = read_manifests(folder)
    manifest, store = manifests[number - 1], _checked(folder / WEIGHTS, manifests[0].weights_sha256)
    table = _checked(folder / numbered(WEIGHTS, number), manifest.weights_sha256)
    library = _checked(folder / numbered(manifest.library, number), manifest.library_sha256)
    contents = map_weights(table, store=map_weights(store).mapping)
    output.mkdir(parents=True)
    shutil.copyfile(library, output / manifest.library)
    if (folder / numbered(REFERENCE, number)).exists():
        shutil.copyfile(folder / numbered(REFERENCE, number), output / REFERENCE)
    write_weights(output / WEIGHTS, contents.weights, contents.places, contents.destinations, contents.steps, contents.pieces)
    own = replace(manifest, weights_sha256=sha256_of(output / WEIGHTS))
    (output / MANIFEST).write_text(own.to_json(), encoding="utf-8")
    return output


def _checked(path: Path, stated: str) -> Path:
    """A file, whose SHA-256 is the one stated; TenfoldError if it is not there, or another."""
    if not path.is_file():
        raise TenfoldError(f"{path.parent}: not an artifact: there is no {path.name} in it")
    if sha256_of(path) != stated:
        raise TenfoldError(f"{path}: {DIFFERS}")
    return path
