"""Files of JSON lines that only grow: a line is in the file whole or not at all, whoever else appends, and whatever ends the process.

A process that is killed while it appends leaves a torn last line. Readers pass it over, and the next append mends it.
"""
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import TenfoldError
from .regular import open_regular, reason

MOST_BYTES = 1 << 28  # of a file
BLOCK = 1 << 12  # bytes that are read at once to find where the last line begins
LONGEST_LINE = 1 << 20  # bytes; what is longer is no line of ours


@dataclass(frozen=True)
class Lines:
    """The content of a file.

    Attributes
    ----------
    whole : list of bytes
        Its lines in order, without what ends them. The last one is among them also where nothing ends it, if it is JSON.
    torn : bytes
        The begin of a last line that was not written to its end; empty where there is none.
    """

    whole: list[bytes]
    torn: bytes = b""


def read_lines(path: Path) -> Lines:
    """Read a file that others may be appending to.

    Raises
    ------
    TenfoldError
        As of `open_regular`; a file of more than `MOST_BYTES`.
    """
    with open_regular(path, MOST_BYTES) as file:
        try:
            return split_lines(file.read(os.fstat(file.fileno()).st_size))  # what is appended meanwhile is not waited for
        except OSError as error:
            raise TenfoldError(f"{path}: can't be read: {reason(error)}") from None


def split_lines(content: bytes) -> Lines:
    """Take the content of a file apart."""
    *lines, last = content.split(b"\n")
    if last and _is_json(last):
        lines, last = [*lines, last], b""
    return Lines(lines, last)


def append_line(path: Path, line: str) -> None:
    """Append a line, and wait until the disk has it. Others that append meanwhile wait for their turn.

    Parameters
    ----------
    path : Path
        Made, with its folders, where it is not there.
    line : str
        Without an end of line.

    Raises
    ------
    TenfoldError
        It can't be written: no room, no permission, no regular file. The file has the lines that it had, and no part of this one.
    """
    content = line.encode() + b"\n"
    try:
        is_new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(path) as descriptor:
            end = _mend(descriptor)
            try:
                _write(descriptor, content)
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, end)  # needs no room
                raise
        if is_new:
            _keep_name(path.parent)
    except (OSError, ValueError) as error:
        raise TenfoldError(f"{path}: can't be written: {reason(error)}") from None


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[int]:
    """Open a file to append to it, made where it is not there, and keep others that do so out until the block ends.

    Where a file system has no locks, nothing is locked.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "this is not a file")
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same(path, descriptor):  # and not replaced while it was waited for
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _mend(descriptor: int) -> int:
    """Let the file end with a whole line; returns its size."""
    size = os.fstat(descriptor).st_size
    begin, tail = size, b""
    while begin and b"\n" not in tail and len(tail) < LONGEST_LINE:
        step = min(BLOCK, begin)
        begin -= step
        tail = os.pread(descriptor, step, begin) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if last.startswith(b"{") and len(last) < LONGEST_LINE and not _is_json(last):  # the begin of a line like ours
        size -= len(last)
        os.ftruncate(descriptor, size)
    elif last:  # whole, or a stranger's, who gets the end of line that is missing
        _write(descriptor, b"\n")
        size += 1
    return size


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        count = os.write(descriptor, left)
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left = left[count:]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _keep_name(folder: Path) -> None:
    """Wait until the disk has the name of a new file in a folder, where its file system can be asked for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
