"""ONNX -> Network: read, check, normalise. The model as it was given is the reference, in ONNX Runtime where that can run it."""
from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ...support.errors import TenfoldError
from ...support.files.regular import LARGEST_MESSAGE, read_regular
from ..network import Network, tensor_specs
from ..quiet import quiet
from ..reading import Reading
from ..reference import Reference
from .cut import cut, give_types
from .external_data import load_external_data
from .gate import check_model, check_tensors, tensors
from .normalize import normalize


def load_onnx(source: Path | onnx.ModelProto, reading: Reading) -> Network:
    """A network from an ONNX file or ModelProto.

    Parameters
    ----------
    source : Path or onnx.ModelProto
    reading : Reading

    Raises
    ------
    TenfoldError
        The file is not (all of) an ONNX model, its external data is missing, or a size is not fixed.
    """
    name = _name(source)
    if isinstance(source, onnx.ModelProto):
        part = cut(source, reading.outputs, name)
        check_model(part, name)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors(part)):
            raise TenfoldError(f"{name}: weights of this ModelProto are in a file outside it: give the path of the model instead")
        whole, sha256 = source, digest(source)
    else:
        whole, part, sha256 = _read(source, reading)
    with quiet("onnx_ir", "onnxscript"):  # they log what they can't infer or fold, with tracebacks
        normalised = normalize(part, reading, name)
    if part is not whole:
        give_types(part, normalised)
    return Network(
        name=name,
        onnx=normalised,
        inputs=tensor_specs(normalised.graph.input),
        outputs=tensor_specs(normalised.graph.output),
        sha256=sha256,
        run_reference=Reference.of_onnx(source if part is whole else part, part, lambda: _read(source, reading)[0]),
    )


def digest(proto: onnx.ModelProto) -> str:
    """SHA-256, in hex, of the deterministic serialization of a model."""
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


def _name(source: Path | onnx.ModelProto) -> str:
    return (source.graph.name or "model") if isinstance(source, onnx.ModelProto) else str(source)


def _read(path: Path, reading: Reading) -> tuple[onnx.ModelProto, onnx.ModelProto, str]:
    """The model in a file, the part of it that is asked for, checked, external data included, and the SHA-256 of all that was read."""
    name, data = str(path), read_regular(path, LARGEST_MESSAGE)
    try:
        whole = onnx.load_model_from_string(data)
    except DecodeError:
        raise TenfoldError(f"{path}: not an ONNX model, or cut short") from None
    part = cut(whole, reading.outputs, name)
    check_model(part, name)
    if part is not whole:
        check_tensors(whole, name)
    sha256 = hashlib.sha256(data)
    load_external_data(tensors(whole), path, sha256)  # of what is cut off too: it is one model, with one hash
    return whole, cut(whole, reading.outputs, name), sha256.hexdigest()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
