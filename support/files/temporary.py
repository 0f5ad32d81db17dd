"""Temporary folders, marked so that a later run removes what a killed one left, and nothing else.

    tenfold-k3j2h1g0/       in the system's folder for such; beside or inside an output it is hidden: .tenfold-k3j2h1g0/
        lock                the mark; the process that uses the folder holds a lock (flock) on it, which ends with the process
        content/            what is worked in
        journal, old/       while files are being moved, see `exchange`

A folder counts as left behind if it is called so, belongs to this user, has the mark with its text in it, and nobody holds the lock.
"""
from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from pathlib import Path

from ..errors import TenfoldError
from .exchange import JOURNAL, roll_back
from .regular import reason

PREFIX = "tenfold-"
NAME = re.compile(r"\.?tenfold-[a-z0-9_]{8}")
MARK, CONTENT = "lock", "content"
TEXT = b"A temporary folder of Tenfold. A process that holds a lock on this file uses it; else the next run removes it.\n"
HOUR = 3600.0  # after which a folder without its mark is not one that is being made


class TemporaryFolder:
    """A folder that goes away when the block ends, when `remove` is called, with this object, or, if the process is killed, in a later run.

    Parameters
    ----------
    near : Path, optional
        The folder to make it in, hidden. Default: the system's folder for temporary files.

    Attributes
    ----------
    path : Path
        To work in.
    whole : Path
        The folder around it.

    Raises
    ------
    TenfoldError
        It can't be made: no room, no permission.
    """

    def __init__(self, near: Path | None = None) -> None:
        try:
            parent = Path(tempfile.gettempdir()) if near is None else near
            if near is None:
                _sweep_once(parent)
            else:
                sweep(parent)
            self.whole = Path(tempfile.mkdtemp(prefix=PREFIX if near is None else f".{PREFIX}", dir=parent))
        except OSError as error:
            raise TenfoldError(f"{near or 'a temporary folder'}: can't be written: {reason(error)}") from None
        self.path = self.whole / CONTENT
        locks: list[int] = []
        self._end = weakref.finalize(self, _end, self.whole, locks, os.getpid())
        try:
            locks.append(_mark(self.whole / MARK))
            self.path.mkdir()
        except OSError as error:
            self.remove()
            raise TenfoldError(f"{parent}: can't be written: {reason(error)}") from None

    def remove(self) -> None:
        """Remove it, once; in a process that was forked meanwhile nothing happens: it belongs to the other."""
        self._end()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self.remove()


def sweep(parent: Path) -> None:
    """Remove the temporary folders in `parent` that killed processes left, files that they were moving put back first."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for path in [parent / entry.name for entry in entries if NAME.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                _sweep(path)


def is_temporary(path: Path) -> bool:
    """Whether this is a folder of ours: in use, left behind, or, without anything in it, just being made or removed."""
    with contextlib.suppress(FileNotFoundError):
        if NAME.fullmatch(path.name) and _is_own_folder(path):
            return not os.listdir(path) or (path / MARK).is_file() and (path / MARK).read_bytes() in (TEXT, b"")
    return False


@functools.cache
def _sweep_once(parent: Path) -> None:
    sweep(parent)


def _mark(path: Path) -> int:
    """Make the mark and lock it. Its text comes last: what has none is not taken for left behind before an hour is over."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # of a file system without locks: nobody can take the folder for left behind there
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.write(lock, TEXT)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _sweep(folder: Path) -> None:
    if not _is_own_folder(folder):
        return
    is_old = time.time() - os.lstat(folder).st_mtime > HOUR
    try:
        lock = os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if is_old:
            os.rmdir(folder)  # only if nothing is in it
        return
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = os.read(lock, len(TEXT) + 1)
        if text == TEXT or (text == b"" and is_old and set(os.listdir(folder)) == {MARK}):
            _remove(folder)
    finally:
        os.close(lock)


def _is_own_folder(path: Path) -> bool:
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _end(folder: Path, locks: list[int], process: int) -> None:
    if process == os.getpid():
        _remove(folder)
        for lock in locks:
            os.close(lock)


def _remove(folder: Path) -> None:
    """The journal goes first and the mark last: if this is interrupted, too, a later run goes on with it."""
    if not roll_back(folder):
        return
    with contextlib.suppress(OSError):
        (folder / JOURNAL).unlink(missing_ok=True)
        for path in [path for path in folder.iterdir() if path.name != MARK]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        (folder / MARK).unlink(missing_ok=True)
        folder.rmdir()
