"""ONNX -> Network: read, check, normalise. The model as it was given is the reference, in ONNX Runtime where that can run it."""
from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..errors import TenfoldError
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
        proto, sha256 = source, digest(source)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(proto)):
            raise TenfoldError(f"{name}: weights of this ModelProto are in a file outside it: give the path of the model instead")
    else:
        proto, sha256 = _read(source)
    _check(proto, name)
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
    """The model in a file, external data included, and the SHA-256 of all that was read."""
    data = path.read_bytes()
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError:
        raise TenfoldError(f"{path}: not an ONNX model, or cut short") from None
    sha256 = hashlib.sha256(data)
    outside = sorted({_location(tensor) for tensor in _tensors(proto) if tensor.data_location == onnx.TensorProto.EXTERNAL})
    for location in outside:
        file = path.parent / location
        if not file.is_file():
            raise TenfoldError(f"{path}: the weights are in {location}, which is not there; put it beside the model")
        sha256.update(file.read_bytes())
    if outside:
        try:
            onnx.load_external_data_for_model(proto, str(path.parent))
        except Exception as error:
            raise TenfoldError(f"{path}: the weights in {', '.join(outside)} can't be read: {_line(error)}") from None
    return proto, sha256.hexdigest()


def _tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [*proto.graph.initializer, *(a.t for node in proto.graph.node for a in node.attribute if a.HasField("t"))]


def _location(tensor: onnx.TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _check(proto: onnx.ModelProto, name: str) -> None:
    """Raise TenfoldError for what can't be an ONNX model: any few bytes may happen to parse as an empty one."""
    if not proto.graph.node or not proto.graph.output or not proto.opset_import:
        raise TenfoldError(f"{name}: not an ONNX model, or cut short")
    for value in proto.graph.input:
        if not value.type.HasField("tensor_type"):
            raise TenfoldError(f"{name}: input {value.name!r} is not a tensor")
    # Not onnx.checker: it refuses much that every engine runs, such as an output without a shape.
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    domains = {"", "ai.onnx", *(entry.domain for entry in proto.opset_import)}
    known = {tensor.name for tensor in proto.graph.initializer} | {value.name for value in proto.graph.input}
    known |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    for node in proto.graph.node:
        if node.domain in ("", "ai.onnx") and not (opset and onnx.defs.has(node.op_type, opset, "")):
            raise TenfoldError(f"{name}: operator {node.op_type} ({_where(node)}) is not in opset {opset} of ONNX")
        if node.domain not in domains:
            raise TenfoldError(f"{name}: operator {node.domain}.{node.op_type} ({_where(node)}): the model does not import that domain")
        for value in node.input:
            if value and value not in known:
                raise TenfoldError(f"{name}: operator {node.op_type} ({_where(node)}) reads {value!r}, which nothing before it computes")
        for value in node.output:
            if value and value in known:
                raise TenfoldError(f"{name}: operator {node.op_type} ({_where(node)}) makes {value!r}, which is there already")
        known.update(node.output)
    for value in proto.graph.output:
        if value.name not in known:
            raise TenfoldError(f"{name}: nothing computes the output {value.name!r}")


def _where(node: onnx.NodeProto) -> str:
    return f"node {node.name!r}" if node.name else f"the node that makes {node.output[0]!r}"


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
