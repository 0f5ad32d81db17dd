"""ONNX -> Network: read, check, normalise. The model as it was given is the reference, in ONNX Runtime where that can run it."""
from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..errors import TenfoldError
from .external_data import load_external_data
from .files import LARGEST_MESSAGE, read_regular
from .gate import check_model, tensors
from .network import Network, tensor_specs
from .normalize import normalize
from .quiet import quiet
from .reading import Reading
from .reference import Reference


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
        check_model(source, name)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors(source)):
            raise TenfoldError(f"{name}: weights of this ModelProto are in a file outside it: give the path of the model instead")
        proto, sha256 = source, digest(source)
    else:
        proto, sha256 = _read(source)
    with quiet("onnx_ir", "onnxscript"):  # they log what they can't infer or fold, with tracebacks
        normalised = normalize(proto, reading, name)
    return Network(
        name=name,
        onnx=normalised,
        inputs=tensor_specs(normalised.graph.input),
        outputs=tensor_specs(normalised.graph.output),
        sha256=sha256,
        run_reference=Reference.of_onnx(source, proto),
    )


def digest(proto: onnx.ModelProto) -> str:
    """SHA-256, in hex, of the deterministic serialization of a model."""
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


def _name(source: Path | onnx.ModelProto) -> str:
    return (source.graph.name or "model") if isinstance(source, onnx.ModelProto) else str(source)


def _read(path: Path) -> tuple[onnx.ModelProto, str]:
    """The model in a file, checked, external data included, and the SHA-256 of all that was read."""
    data = bytes(read_regular(path, str(path), most=LARGEST_MESSAGE))
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError:
        raise TenfoldError(f"{path}: not an ONNX model, or cut short") from None
    check_model(proto, str(path))
    sha256 = hashlib.sha256(data)
    load_external_data(tensors(proto), path, sha256)
    return proto, sha256.hexdigest()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
