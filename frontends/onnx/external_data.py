"""Weights in files beside the model: where they may lie is decided before a byte is read."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx
from onnx import TensorProto

from ...support.errors import TenfoldError
from ...support.files.regular import LARGEST_MESSAGE, read_regular
from .tensors import bytes_of, count_of, describe

# ONNX Runtime takes this location for "at that address in memory".
MEMORY_ADDRESS = "_ORT_MEM_ADDR_"


@dataclass(frozen=True)
class Part:
    """Where the bytes of one tensor are."""

    tensor: onnx.TensorProto
    location: str
    file: Path
    offset: int
    length: int | None


def load_external_data(tensors: Iterable[onnx.TensorProto], model: Path, digest: Any) -> None:
    """Read what `tensors` have in other files into them.

    A location is a relative path without ``..``. With all links followed, it has to end at a regular file in the folder of the
    model, or in the folder in which the model file itself lies once its links are followed: download caches keep both as links
    into one store. That is what ONNX Runtime allows (``ValidateExternalDataPath``), which reads the same files as the reference.

    Parameters
    ----------
    tensors : iterable of onnx.TensorProto
        All of the model, in order; changed in place.
    model : Path
    digest : hashlib hash
        Updated with every file that is used, whole, in the order of their locations.

    Raises
    ------
    TenfoldError
        A location that may not be read or is not there, or a range or size that contradicts the tensor.
    """
    parts = [_part(tensor, model) for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
    if sum(bytes_of(part.tensor.data_type, count_of(part.tensor.dims)) for part in parts) > LARGEST_MESSAGE:
        raise TenfoldError(f"{model}: the weights are larger than 2 GiB, the most that a network may have here")
    for location in sorted({part.location for part in parts}):
        chosen = [part for part in parts if part.location == location]
        data = _read(chosen[0].file, f"{model}: the weights in {location}")
        digest.update(data)
        for part in chosen:
            _fill(part, data, model)


def _read(file: Path, what: str) -> bytes:
    try:
        return read_regular(file, 2 * LARGEST_MESSAGE)
    except TenfoldError as error:
        raise TenfoldError(f"{what}: {error}") from None


def _part(tensor: onnx.TensorProto, model: Path) -> Part:
    where = f"{model}: tensor {tensor.name!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    numbers: dict[str, int] = {}
    for key in ("offset", "length"):
        text = entries.get(key, "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 16):
            raise TenfoldError(f"{where}: {key} {text[:40]!r} of its external data is not a number of bytes")
        if text:
            numbers[key] = int(text)
    file = resolve_location(location, model, where)
    return Part(tensor, location, file, numbers.get("offset", 0), numbers.get("length"))


def resolve_location(location: str, model: Path, where: str) -> Path:
    """Find the file that a location of external data stands for, links followed.

    Parameters
    ----------
    location : str
        Path, as the tensor says it.
    model : Path
        The model file.
    where : str
        How messages name the tensor.

    Raises
    ------
    TenfoldError
        It is outside the folder of the model, or not there.
    """
    path = PurePosixPath(location.replace("\\", "/"))
    if not location or "\0" in location or path == PurePosixPath("."):
        raise TenfoldError(f"{where}: its data are in another file, but the model does not say in which")
    if path.is_absolute() or PureWindowsPath(location).drive or ".." in path.parts or MEMORY_ADDRESS in path.parts:
        raise TenfoldError(f"{where}: its data are in {location!r}, which is not a path within the model's folder: not read")
    try:
        file = (model.parent / path).resolve(strict=True)
        folders = (model.parent.resolve(), model.resolve().parent)
    except (OSError, RuntimeError):
        raise TenfoldError(f"{model}: the weights are in {location}, which is not there; put it beside the model") from None
    if not any(file.is_relative_to(folder) for folder in folders):
        raise TenfoldError(f"{where}: its data are in {location!r}, a link that leads out of the model's folder: not read")
    return file


def _fill(part: Part, data: bytes, model: Path) -> None:
    tensor, where = part.tensor, f"{model}: tensor {part.tensor.name!r}"
    if tensor.data_type == TensorProto.STRING:
        raise TenfoldError(f"{where}: strings can't be external data")
    needed = bytes_of(tensor.data_type, count_of(tensor.dims))
    if part.length is not None and part.length != needed:
        raise TenfoldError(f"{where}: {describe(tensor)} needs {needed} bytes, its external data are {part.length}")
    if part.offset + needed > len(data):
        raise TenfoldError(
            f"{where}: {describe(tensor)} is bytes {part.offset} to {part.offset + needed} of {part.location},"
            f" which has only {len(data)}: cut short?"
        )
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.DEFAULT
    tensor.raw_data = bytes(memoryview(data)[part.offset : part.offset + needed])
