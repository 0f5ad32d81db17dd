"""A trained network -> the same network with fewer nodes and multiply-adds, as ONNX, verified against the model as it was given."""
from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.errors import TenfoldError
from ..support.files.inputs import protect
from ..support.files.whole import destination, whole_file
from ..support.progress import Progress, reporter
from .check_reading import check_images, check_reading
from .data import Data
from .judgement import Verified

if TYPE_CHECKING:
    import onnx

    from ..passes.simplify import Simplified

MARK = "tenfold.simplified_from"  # the metadata of a file that `simplify` wrote: the SHA-256 of the model


@dataclass(frozen=True)
class Simplification:
    """A simplified network.

    Attributes
    ----------
    model : str
        As it was given.
    sha256 : str
        Of the model as it was given.
    onnx : onnx.ModelProto
        The simplified network.
    simplified : Simplified
        What was merged, and what that saved.
    verified : Verified
        How it was compared with the model.
    bytes : int
        Of the file; 0 where none was asked for.
    """

    model: str
    sha256: str
    onnx: onnx.ModelProto
    simplified: Simplified
    verified: Verified
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        head = {"model": self.model, "sha256": self.sha256, "bytes": self.bytes}
        return {**head, **self.simplified.to_dict(), "verification": self.verified.to_dict()}


def simplify(
    model: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    data: Any = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> Simplification:
    """Merge what computes the same with fewer nodes and multiply-adds, verify the result, and write it as ONNX.

    Parameters
    ----------
    model : path, onnx.ModelProto, torch.export.ExportedProgram or torch.nn.Module
    output : path, optional
        The ONNX file to write. A file that `simplify` wrote before is replaced, any other one is an error.
    only : collection of str, optional
        The rewrites to do (`passes.simplify.rewrite_names`). Default: all.
    without : collection of str
        Rewrites to leave out.
    data : path, dict or ndarray, optional
        Real inputs ``x`` to verify on too, besides random ones.
    tolerance : float, optional
        As of `compile`.
    progress : callable, optional
        Called with a few words when a step begins.
    **reading
        How to read the model: the attributes of `frontends.Reading`, by name.

    Returns
    -------
    Simplification

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments; a network that can't be read.
    VerificationError
        The simplified network differs from the model. Nothing is written.
    """
    from ..frontends import Reading, load
    from ..passes.simplify import chosen
    from ..passes.simplify.network import simplified

    if not Reading.of("simplify", reading).simplify:
        raise TenfoldError("simplify=False (--no-simplify) leaves nothing to do: leave it out")
    chosen(only, without)  # a wrong name is told before the work
    say = reporter(progress)
    with protect(model, data):
        if output is not None:
            _check_output(Path(output))
        say("reading the network")
        images = None if data is None else Data.of(data)
        network = load(model, **reading)
        if images is not None:
            check_images(images, network)
        say("merging")
        network = simplified(network, only, without)
        say("comparing with the model")
        verified = check_reading(network, images, tolerance)
        size = 0 if output is None else _write(network.onnx, Path(output), network.sha256)
    return Simplification(network.name, network.sha256, network.onnx, network.simplified, verified, size)


def _check_output(path: Path) -> None:
    """Raise TenfoldError, before the work, unless the file can be written, and is new or of `simplify`."""
    import onnx
    from google.protobuf.message import DecodeError

    if path.suffix.lower() != ".onnx":
        raise TenfoldError(f"{path}: give a name that ends in .onnx")
    place = destination(path)
    if not place.is_file():
        return
    try:
        marks = {entry.key for entry in onnx.load(place, load_external_data=False).metadata_props}
    except DecodeError:
        marks = set()
    if MARK not in marks:
        raise TenfoldError(f"{path}: it is there already, and no result of tenfold simplify: give another name")


def _write(model: onnx.ModelProto, path: Path, sha256: str) -> int:
    """Write a network and check it; returns the bytes of the file."""
    import onnx

    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    kept = [entry for entry in model.metadata_props if entry.key != MARK]
    del marked.metadata_props[:]
    marked.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=MARK, value=sha256)])
    with whole_file(path) as new:
        onnx.save(marked, new)
        onnx.checker.check_model(new, full_check=True)
        return new.stat().st_size
