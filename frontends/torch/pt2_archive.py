"""``.pt2`` archives of torch.export, read without unpickling anything of theirs.

``torch.export.load`` unpickles sample inputs, weights of special classes and custom objects, loads libraries that AOTInductor made, and
evaluates texts in the JSON. Here the archive is looked at with `zipfile` alone, and torch is given another one, made of the parts that
are data: the program, once `safe_program` has passed it, and weights as raw bytes. Nothing else is needed.
"""
from __future__ import annotations

import io
import json
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...support.errors import TenfoldError
from ...support.files.regular import LARGEST_MESSAGE, read_regular
from ..foreign import archive_kind, hint
from ..quiet import quiet
from .pickles import strange_globals
from .pt2_program import Unsafe, safe_config, safe_program

if TYPE_CHECKING:
    from torch.export import ExportedProgram

PROGRAM = "models/model.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
# Folder, table of what is in it, and the pickle that torch 2.8 kept it all in.
TABLES = (
    ("data/weights/", "model_weights_config.json", "model.pt"),
    ("data/constants/", "model_constants_config.json", "model.pt"),
)
# Copied as they are: a word or a number each.
MARKS = ("archive_format", "archive_version", "byteorder", ".data/version")
LONGEST_MARK = 100  # bytes
LARGEST_PROGRAM = 256 << 20  # bytes of JSON; of a large network it is a few million
LARGEST_ARCHIVE = 2 * LARGEST_MESSAGE
RAW = re.compile(r"(weight|tensor)_\d{1,9}", re.ASCII)
# What zipfile, json and the checks of the program raise for an archive that is damaged, or none.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError)
# The exporter logs each operator of torchvision that is not installed, and more.
CHATTY = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")
TRUST = "if you trust whoever made the file, read it with --trust (trust=True)"


def load_program(path: Path, trust: bool = False) -> tuple[ExportedProgram, bytes]:
    """The program in a ``.pt2`` file, and the bytes of the file.

    Parameters
    ----------
    path : Path
    trust : bool
        Read it with ``torch.export.load``, and let it run whatever code it holds.

    Raises
    ------
    TenfoldError
        Not (all of) a program, or one that can't be read without running code that it holds.
    """
    import torch

    data = read_regular(path, LARGEST_ARCHIVE)
    if archive_kind(path) in ("TorchScript", "weights"):
        raise TenfoldError(f"{path}: {hint(path)}")
    archive = data if trust else safe_archive(data, str(path))
    try:
        with quiet(*CHATTY):
            return torch.export.load(io.BytesIO(archive)), data
    except Exception as error:
        raise TenfoldError(f"{path}: not a torch.export program, or cut short ({type(error).__name__})") from None


def safe_archive(data: bytes, name: str) -> bytes:
    """An archive of the same program in which nothing can run.

    Raises
    ------
    TenfoldError
        It isn't an archive of torch.export, or a part of it would run code; the message says which.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _rebuilt(_Parts(archive))
    except Unsafe as error:
        raise TenfoldError(f"{name}: {error}; {TRUST}") from None
    except DAMAGE as error:
        raise TenfoldError(f"{name}: not a torch.export program, or cut short ({type(error).__name__})") from None


class _Parts:
    """The parts of an archive by their names below its one root folder, bounded in size."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        self._found: dict[str, zipfile.ZipInfo] = {}
        names = archive.namelist()
        if "serialized_exported_program.json" in names:
            raise Unsafe("saved by torch 2.7 or older, which pickled the weights: export it again with a newer one")
        for info in archive.infolist():
            root, slash, inner = info.filename.partition("/")
            if not slash or root != names[0].partition("/")[0] or inner in self._found:
                raise ValueError(f"a part {info.filename!r}")
            self._found[inner] = info
        if sum(info.file_size for info in self._found.values()) > LARGEST_ARCHIVE:
            raise Unsafe(f"larger than {LARGEST_ARCHIVE / 1e9:.1f} GB when it is unpacked")

    def __contains__(self, inner: str) -> bool:
        return inner in self._found

    def read(self, inner: str, most: int = LARGEST_ARCHIVE) -> bytes:
        if self._found[inner].file_size > most:
            raise Unsafe(f"{inner} is larger than {most} bytes")
        return self._archive.read(self._found[inner])

    def any_below(self, folder: str) -> bool:
        return any(inner.startswith(folder) for inner in self._found)


def _rebuilt(parts: _Parts) -> bytes:
    if PROGRAM not in parts:
        if parts.any_below("data/aotinductor/"):
            raise Unsafe("a library compiled by AOTInductor, and no program: save the program with torch.export.save")
        raise KeyError(PROGRAM)
    if SAMPLE_INPUTS in parts:
        _check_pickle(parts.read(SAMPLE_INPUTS), "its sample inputs")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:

        def write(inner: str, data: bytes) -> None:
            archive.writestr(f"program/{inner}", data)

        for mark in MARKS:
            if mark in parts:
                write(mark, parts.read(mark, LONGEST_MARK))
        write(PROGRAM, safe_program(parts.read(PROGRAM, LARGEST_PROGRAM)))
        write(SAMPLE_INPUTS, b"")
        for folder, table, pickled in TABLES:
            if folder + pickled in parts:
                write(folder + pickled, _only_tensors(parts.read(folder + pickled), folder + pickled))
                continue
            config = safe_config(parts.read(folder + table, LARGEST_PROGRAM))
            write(folder + table, json.dumps({"config": config}).encode())
            for inner in _raw_tensors(config):
                write(folder + inner, parts.read(folder + inner))
            _check_sizes(config, {inner: len(parts.read(folder + inner)) for inner in _raw_tensors(config)})
    return target.getvalue()


def _raw_tensors(config: dict[str, Any]) -> list[str]:
    """The files of a table; all hold raw bytes."""
    for name, entry in config.items():
        if entry["use_pickle"] is not False or not RAW.fullmatch(entry["path_name"]):
            raise Unsafe(f"{name!r} is stored as a pickle, which can run any code")
    return sorted({entry["path_name"] for entry in config.values()})


def _check_sizes(config: dict[str, Any], lengths: dict[str, int]) -> None:
    """torch takes a file of 0 bytes for a tensor of zeros, however large."""
    for name, entry in config.items():
        sizes = [size["as_int"] for size in entry["tensor_meta"]["sizes"]]
        if any(size < 0 for size in sizes) or (math.prod(sizes) > 0 and lengths[entry["path_name"]] == 0):
            raise ValueError(f"no data for {name}")
        if math.prod(sizes) > LARGEST_MESSAGE:
            raise Unsafe(f"{name!r} has more than 2^31 elements")


def _check_pickle(data: bytes, what: str) -> None:
    strange = strange_globals(data)
    if strange:
        raise Unsafe(f"{what} are a pickle that calls {', '.join(strange[:3])}, which would run")


def _only_tensors(data: bytes, what: str) -> bytes:
    """A pickle of tensors, unpickled as far as torch's restricted reader goes, and pickled again."""
    import torch

    _check_pickle(data, what)
    try:
        tensors = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        raise ValueError(type(error).__name__) from None
    target = io.BytesIO()
    torch.save(tensors, target)
    return target.getvalue()
