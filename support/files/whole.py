"""Files that are written whole or not at all."""
from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import TenfoldError
from .inputs import check_file
from .regular import reason
from .temporary import TemporaryFolder

NEW = "new"
NO_FILES = (stat.S_ISDIR, "a folder: give a name for a file in it"), (stat.S_ISBLK, "a disk"), (stat.S_ISSOCK, "a socket")
STREAMS = ("/dev/std", "/dev/fd/", "/proc/")  # other names of what this process has open already


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file whole or not at all; TenfoldError if it can't be written, or is an input."""
    with whole_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path; what the block writes there takes the place of `path` when it ends without an exception.

    A link stays: the file that it names is replaced. Pipes, terminals and the like are written to.

    Raises
    ------
    TenfoldError
        `path` is a folder, an input (`inputs.protect`), in no folder, or can't be written; nothing is then.
    """
    try:
        target = destination(path)
        near = target.parent if _is_file(target) else None
        with TemporaryFolder(near) as folder:
            yield folder / NEW
            if near is None:
                _pour(folder / NEW, target)
            elif destination(path) == target:  # looked at again: much may have happened meanwhile
                if target.exists():
                    shutil.copymode(target, folder / NEW)
                os.replace(folder / NEW, target)
            else:
                raise TenfoldError(f"{path}: can't be written: it leads somewhere else than before")
    except OSError as error:
        raise TenfoldError(f"{path}: can't be written: {reason(error)}") from None


def destination(path: Path) -> Path:
    """The file that `path` names, links followed; TenfoldError if it can't be written."""
    try:
        stream = os.path.abspath(path).startswith(STREAMS)
        target = Path(os.path.abspath(path) if stream else os.path.realpath(path))
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG
        for is_kind, words in NO_FILES:
            if is_kind(mode):
                raise TenfoldError(f"{path}: can't be written: this is {words}")
        if target.is_symlink() and not stream:
            raise TenfoldError(f"{path}: can't be written: this link leads in a circle")
        check_file(path)
        if not target.parent.is_dir():
            what = "is a file" if target.parent.exists() else "does not exist"
            raise TenfoldError(f"{path}: can't be written: the folder {target.parent} {what}")
        if target.exists() and not os.access(target, os.W_OK):
            why = "Read-only file system" if os.statvfs(target).f_flag & os.ST_RDONLY else "Permission denied"
            raise TenfoldError(f"{path}: can't be written: {why}")
        return target
    except (OSError, ValueError) as error:
        raise TenfoldError(f"{path}: can't be written: {reason(error)}") from None


def _is_file(target: Path) -> bool:
    return not str(target).startswith(STREAMS) and (target.is_file() or not target.exists())


def _pour(source: Path, stream: Path) -> None:
    # Without O_NONBLOCK a pipe that nobody reads would be waited for.
    descriptor = os.open(stream, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file, open(source, "rb") as content:
        os.set_blocking(descriptor, True)
        shutil.copyfileobj(content, file)
