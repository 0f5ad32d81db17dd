"""ONNX files that a command wrote: marked, so that it may replace them, and nothing else is replaced."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..support.errors import TenfoldError
from ..support.files.whole import destination, whole_file

if TYPE_CHECKING:
    import onnx


def check_output(path: Path, mark: str, command: str) -> None:
    """Raise TenfoldError, before the work, unless the file can be written, and is new or has the mark.

    Parameters
    ----------
    path : Path
    mark : str
        The key of metadata that files of the command have.
    command : str
        Its name.
    """
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
    if mark not in marks:
        raise TenfoldError(f"{path}: it is there already, and no result of tenfold {command}: give another name")


def write_marked(model: onnx.ModelProto, path: Path, mark: str, value: str) -> int:
    """Write a network and check it; returns the bytes of the file.

    Parameters
    ----------
    model : onnx.ModelProto
        Not modified.
    path : Path
    mark, value : str
        Of its metadata.
    """
    import onnx

    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    kept = [entry for entry in model.metadata_props if entry.key != mark]
    del marked.metadata_props[:]
    marked.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=mark, value=value)])
    with whole_file(path) as new:
        onnx.save(marked, new)
        onnx.checker.check_model(new, full_check=True)
        return new.stat().st_size
