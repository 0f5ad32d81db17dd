"""Files of a model, read as what they are: regular, of bounded size, and once."""
from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import TenfoldError

# Protobuf's own limit of a message, and with it that of every ONNX file and of every constant in it.
LARGEST_MESSAGE = 2**31 - 1


def read_regular(path: Path, what: str, offset: int = 0, length: int | None = None, most: int | None = None) -> bytearray:
    """Bytes of a regular file, and never more than the file says it has.

    The file is opened without waiting and looked at before it is read: a pipe would block for ever, a device has no end, and a
    file of ``/proc`` that gives out a process's memory says that it has 0 bytes.

    Parameters
    ----------
    path : Path
    what : str
        How errors begin: the file, or the file and what in it refers to this one.
    offset, length : int
        The part to read. Default: all.
    most : int, optional
        More bytes than this are refused.

    Raises
    ------
    TenfoldError
        Not a regular file, not readable, too large, or shorter than `offset` and `length` say.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TenfoldError(f"{what}: can't be read: {error.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise TenfoldError(f"{what}: not a regular file")
    with open(descriptor, "rb", buffering=0) as file:
        if length is None:
            length = max(status.st_size - offset, 0)
        if offset + length > status.st_size:
            raise TenfoldError(f"{what}: {status.st_size} bytes, but bytes {offset} to {offset + length} are asked for: cut short?")
        if most is not None and length > most:
            raise TenfoldError(f"{what}: {length / 1e9:.1f} GB, and the most that is read is {most / 1e9:.1f} GB")
        return _read(file, what, offset, length)


def _read(file: object, what: str, offset: int, length: int) -> bytearray:
    try:
        data = bytearray(length)
        view, done = memoryview(data), 0
        file.seek(offset)
        while done < length:
            count = file.readinto(view[done:])
            if not count:
                raise TenfoldError(f"{what}: became shorter while it was read")
            done += count
    except MemoryError:
        raise TenfoldError(f"{what}: {length / 1e9:.1f} GB don't fit into memory") from None
    except OSError as error:
        raise TenfoldError(f"{what}: can't be read: {error.strerror}") from None
    return data


def check_model_path(path: Path) -> None:
    """Raise TenfoldError unless `path` is a regular file, or a link to one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError))
        raise TenfoldError(f"{path}: {'no such file' if missing else error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise TenfoldError(f"{path}: this is a folder, not a model file")
    if not stat.S_ISREG(mode):
        raise TenfoldError(f"{path}: not a regular file; a model can't be read from a pipe or a device")
