"""One artifact for several sizes: the folder is that of an ordinary artifact, its first size, with more files beside.

    model.so, weights.bin, manifest.json           the first size
    model.2.so, weights.2.bin, manifest.2.json     the second, and so on
    sizes.json                                     which files belong together

Every manifest is an ordinary one. The weights of all sizes lie in weights.bin, those of the same bytes once: it is mapped once.
weights.2.bin is the table of the second size alone, whose offsets point into weights.bin (`weights.write_together`). So whatever reads one
artifact reads the first size, and `runner.size_folders` makes an ordinary artifact of any. sizes.json names the SHA-256 of each library
and each file of weights, which have to be those of the manifests: files of another compilation are found out.
"""
from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..support.errors import TenfoldError
from ..support.files.json_text import read_json
from .manifest import CUDA_LIBRARY, LIBRARY, MANIFEST, REFERENCE, WEIGHTS, Manifest
from .manifest_fields import mapping, sequence, text, whole

SIZES = "sizes.json"
SIZES_FORMAT = 1
MOST_SIZES = 32
DIFFERS = "does not match its manifest (the SHA-256 differs): changed or cut short; compile the network again"


@dataclass(frozen=True)
class Sizes:
    """What is in sizes.json.

    Attributes
    ----------
    files : tuple of (str, str)
        SHA-256 of the library and of the file of weights of each size.
    independent : bool
        Whether an image's outputs are the same whatever else is in its batch, so that a batch may be cut into others or filled up.
    saved : int
        Bytes that folders for each size would have more.
    """

    files: tuple[tuple[str, str], ...]
    independent: bool
    saved: int

    def to_json(self) -> str:
        """Indented JSON."""
        files = [{"library_sha256": library, "weights_sha256": weights} for library, weights in self.files]
        content = {"format": SIZES_FORMAT, "independent": self.independent, "saved_bytes": self.saved, "sizes": files}
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Sizes | None:
        """What a folder says of its sizes; None for an ordinary artifact.

        Raises
        ------
        TenfoldError
            The file is there, but is not what `to_json` writes.
        """
        path = folder / SIZES
        if not os.path.lexists(path):
            return None
        content = read_json(path)
        try:
            if mapping(content)["format"] != SIZES_FORMAT:
                raise ValueError(f"format {str(content['format'])[:40]}, this Tenfold reads {SIZES_FORMAT}")
            files = sequence(content["sizes"], lambda each: (text(mapping(each)["library_sha256"]), text(each["weights_sha256"])))
            if not 2 <= len(files) <= MOST_SIZES:
                raise ValueError(f"it lists {len(files)} sizes, not 2 to {MOST_SIZES}")
            if not isinstance(content["independent"], bool):
                raise TypeError("'independent' is neither true nor false")
            return cls(files, content["independent"], whole(content["saved_bytes"]))
        except KeyError as error:
            raise TenfoldError(f"{path}: not the sizes of an artifact: {error} is missing; compile the network again") from None
        except (TypeError, ValueError) as error:
            raise TenfoldError(f"{path}: not the sizes of an artifact: {error}; compile the network again") from None


def numbered(name: str, number: int) -> str:
    """The file of a size, counted from 1: ``model.so``, ``model.2.so``."""
    stem, suffix = name.split(".")
    return name if number == 1 else f"{stem}.{number}.{suffix}"


def all_names() -> tuple[str, ...]:
    """All files that an artifact of several sizes may consist of."""
    names = (LIBRARY, CUDA_LIBRARY, WEIGHTS, REFERENCE, MANIFEST)
    return (SIZES, *(numbered(name, number) for number in range(1, MOST_SIZES + 1) for name in names))


def read_manifests(folder: Path) -> list[Manifest]:
    """The manifest of each size of an artifact; of an ordinary one there is one.

    Raises
    ------
    TenfoldError
        One can't be read, or is of another compilation than the others.
    """
    manifests, sizes = [Manifest.read(folder / MANIFEST)], Sizes.read(folder)
    if sizes is None:
        return manifests
    manifests += [Manifest.read(folder / numbered(MANIFEST, number)) for number in range(2, len(sizes.files) + 1)]
    first = manifests[0]
    for number, (manifest, files) in enumerate(zip(manifests, sizes.files, strict=True), 1):
        if (manifest.library_sha256, manifest.weights_sha256) != files:
            raise TenfoldError(f"{folder / numbered(MANIFEST, number)}: it is not the one that {SIZES} names: compile the network again")
        ports = [[(port.name, port.dtype, len(port.shape)) for port in (*each.inputs, *each.outputs)] for each in (first, manifest)]
        if ports[0] != ports[1] or len(manifest.inputs) != len(first.inputs) or manifest.target != first.target:
            raise TenfoldError(f"{folder / numbered(MANIFEST, number)}: it is for another network or target than {MANIFEST}")
        if manifest.on_gpu:
            raise TenfoldError(f"{folder}: several sizes in one artifact are for CPUs")
    if len({tuple(port.shape for port in manifest.inputs) for manifest in manifests}) < len(manifests):
        raise TenfoldError(f"{folder}: two of its sizes have the same inputs: compile the network again")
    return manifests


def shapes_text(manifest: Manifest) -> str:
    """The inputs of a size, in a few words: ``image 4x3x32x32``."""
    return ", ".join(f"{port.name} {'x'.join(map(str, port.shape))}" for port in manifest.inputs)
