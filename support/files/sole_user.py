"""A lock file that says who holds it: of several processes that want something for themselves, one has it, and the others are told.

The lock is the kernel's (flock). It ends with the process, however that ends; the file stays, and says nothing without the lock.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from ..errors import TenfoldError
from ..printable import one_line
from .regular import reason

POLL = 0.2  # seconds between two looks at a lock that is waited for
LONGEST = 400  # bytes that are read of who holds it


class InUse(TenfoldError):
    """Another process has it."""


@contextlib.contextmanager
def sole_user(path: Path, purpose: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a lock until the block ends.

    Parameters
    ----------
    path : Path
        The lock file; made, with its folders.
    purpose : str
        What the lock is held for, such as ``tenfold tune``: others are told.
    waiting : callable, optional
        Wait for another holder, and call this once with who that is. Default: don't wait.

    Raises
    ------
    InUse
        Another process, or another user of this function, holds it: the message says who, and since when.
    TenfoldError
        The file can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except (OSError, ValueError) as error:
        raise TenfoldError(f"{path}: can't be written: {reason(error)}") from None
    try:
        _acquire(descriptor, path, waiting)
        since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        with contextlib.suppress(OSError):  # of a full disk: then others are not told who it is
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} ({purpose}) since {since}\n".encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, waiting: Callable[[str], None] | None) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = one_line(os.pread(descriptor, LONGEST, 0).decode(errors="replace").strip()) or "another process"
            if waiting is None:
                raise InUse(f"{path}: in use by {holder}") from None
            if not told:
                waiting(holder)
            told = True
            time.sleep(POLL)
        except OSError:  # a file system without locks: nobody can be kept out
            return
