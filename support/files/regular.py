"""Files that the user names are opened here: regular files only, of a bounded size, and what is wrong in one line."""
from __future__ import annotations

import os
import stat
from typing import BinaryIO

from ..errors import TenfoldError

TEXT_BYTES = 64 << 20  # a manifest or a plan is a thousand times smaller
# Protobuf's own limit of a message, and with it that of every ONNX file and of every constant in it.
LARGEST_MESSAGE = 2**31 - 1
_KINDS = (
    (stat.S_ISDIR, "this is a folder, not a file"),
    (stat.S_ISFIFO, "this is a pipe, not a file"),
    (stat.S_ISSOCK, "this is a socket, not a file"),
    (stat.S_ISCHR, "this is a device, not a file"),
    (stat.S_ISBLK, "this is a device, not a file"),
)


def open_regular(path: str | os.PathLike[str], limit: int | None = None) -> BinaryIO:
    """Open a file to read it.

    Parameters
    ----------
    path : path
        Links are followed.
    limit : int, optional
        The most bytes that such a file can have.

    Raises
    ------
    TenfoldError
        It is not there, not a regular file (a pipe would wait, a device never end), larger than `limit`, or not ours to read.
    """
    name = os.fspath(path)
    try:
        _check(os.stat(name), name, limit)  # before it is opened: opening a device may do something
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise TenfoldError(f"{name}: can't be read: {reason(error)}") from None
    try:
        _check(os.fstat(descriptor), name, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], limit: int = TEXT_BYTES) -> bytes:
    """Read all bytes of a regular file, as many as it says that it has.

    Raises
    ------
    TenfoldError
        As of `open_regular`, or the file has more bytes than it says: those of ``/proc`` say that they have none.
    """
    with open_regular(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(size + 1)
        except MemoryError:
            raise TenfoldError(f"{os.fspath(path)}: can't be read: {size / 1e9:.1f} GB don't fit into memory") from None
        except OSError as error:
            raise TenfoldError(f"{os.fspath(path)}: can't be read: {reason(error)}") from None
    if len(content) > size:
        raise TenfoldError(f"{os.fspath(path)}: can't be read: it has more bytes than it says: made by the system, or just being written")
    return content


def reason(error: Exception) -> str:
    """Why a file could not be read or written, in a few words."""
    if isinstance(error, FileNotFoundError) and error.filename is None:  # of os.getcwd
        return "the current folder does not exist any more"
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__


def _check(found: os.stat_result, name: str, limit: int | None) -> None:
    for is_kind, words in _KINDS:
        if is_kind(found.st_mode):
            raise TenfoldError(f"{name}: can't be read: {words}")
    if limit is not None and found.st_size > limit:
        raise _too_large(name, limit)


def _too_large(name: str, limit: int) -> TenfoldError:
    return TenfoldError(f"{name}: can't be read: it is larger than {-(-limit >> 20)} MB, which no such file is")
