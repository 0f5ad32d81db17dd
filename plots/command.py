"""``tenfold plot``: the picture that is asked for, in a file."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ..support.errors import TenfoldError
from ..support.files.whole import destination
from . import filters, learned, parameters, spectra
from .canvas import check_suffix, require_matplotlib, save

KINDS = ("spectra", "filters", "learned", "parameters")


def plot(kind: str, model: str | None, output: Path, colors: int | None = None, **reading: Any) -> None:
    """Draw a picture of a network or, for ``parameters``, of a formula.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    model : str or None
        The file of the network; none for ``parameters``.
    output : Path
        A .png or .svg.
    colors : int, optional
        Colours of the monochromatic form, for ``filters``.
    **reading
        How the model is read: attributes of `Reading`.

    Raises
    ------
    TenfoldError
        An unknown kind, no network where one is needed, one that has nothing to show, or a file that can't be written.
    VerificationError
        The network as it was read is not the one in the file.
    """
    if kind not in KINDS:
        raise TenfoldError(f"there is no picture {kind!r}: it is one of {', '.join(KINDS)}")
    require_matplotlib()
    check_suffix(output)
    destination(output)
    if kind == "parameters":
        save(parameters.draw(), [output])
        return
    if model is None:
        raise TenfoldError(f"a picture of {kind} needs a network: tenfold plot {kind} MODEL -o {output}")
    from ..passes.inventory import inventory, weights
    from ..passes.simplify.network import load
    from ..runner.build import require_compiler
    from ..runner.check_reading import check_reading

    require_compiler()
    if kind == "learned":  # a flattened layer as it was trained, not merged into one convolution
        reading = {**reading, "simplify": False}
    network = load(model, **reading)
    check_reading(network)
    if kind == "learned":
        save(learned.draw(network.onnx), [output])
        return
    layers, arrays = inventory(network.mod), weights(network.mod)
    if kind == "spectra":
        save(spectra.draw(layers, arrays), [output])
        return
    layer = filters.first_layer(layers)
    save(filters.draw(layer, arrays[layer.name], colors), [output])
