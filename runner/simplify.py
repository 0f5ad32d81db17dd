"""A trained network -> the same network with fewer nodes and multiply-adds, as ONNX, verified against the model as it was given."""
from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.errors import TenfoldError
from ..support.files.inputs import protect
from ..support.progress import Progress, reporter
from .check_reading import check_images, check_reading
from .data import Data
from .judgement import Verified
from .marked_file import check_output, write_marked

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
            check_output(Path(output), MARK, "simplify")
        say("reading the network")
        images = None if data is None else Data.of(data)
        network = load(model, **reading)
        if images is not None:
            check_images(images, network)
        say("merging")
        network = simplified(network, only, without)
        say("comparing with the model")
        verified = check_reading(network, images, tolerance)
        size = 0 if output is None else write_marked(network.onnx, Path(output), MARK, network.sha256)
    return Simplification(network.name, network.sha256, network.onnx, network.simplified, verified, size)
