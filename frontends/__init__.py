"""Trained networks in: an ONNX file, a torch.export program or an nn.Module becomes a `Network`."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx as onnx_package

from ..support.errors import TenfoldError
from .foreign import check_model_path, hint
from .network import Network, TensorSpec
from .onnx.reader import load_onnx
from .reading import Reading

__all__ = ["Network", "Reading", "TensorSpec", "load"]


def load(model: Any, **reading: Any) -> Network:
    """Read a trained network.

    Parameters
    ----------
    model : path, onnx.ModelProto, torch.export.ExportedProgram or torch.nn.Module
        A path ends in ``.onnx`` or ``.pt2``.
    **reading
        The attributes of `Reading`, by name.

    Returns
    -------
    Network

    Raises
    ------
    TenfoldError
        No such file, not a model, a dynamic size left open, or a kind of model that Tenfold can't read.
    """
    options = Reading.of("load", reading)
    if isinstance(model, onnx_package.ModelProto):
        return load_onnx(model, options)
    if isinstance(model, (str, Path)):
        path = Path(model)
        suffix = path.suffix.lower()
        if suffix in (".onnx", ".pt2"):
            check_model_path(path)
        else:
            raise TenfoldError(f"{path}: {hint(path)}")
        if suffix == ".onnx":
            return load_onnx(path, options)
        model = path
    # Imported here: torch is an extra, and a network in ONNX never needs it.
    from .torch.reader import load_torch

    return load_torch(model, options)
