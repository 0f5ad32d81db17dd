"""Output folders: a result appears whole or not at all, and takes the place of nothing but an earlier result."""
from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import TenfoldError
from .exchange import Changed, Identity, exchange, identity
from .inputs import check_folder
from .regular import reason
from .temporary import TemporaryFolder, is_temporary, sweep
from .whole import whole_file, write_text

__all__ = ["Kind", "check_output", "locked", "output_folder", "whole_file", "write_text"]


@dataclass(frozen=True)
class Kind:
    """A kind of result.

    Attributes
    ----------
    key : str
        The file that says what the others are.
    names : tuple of str
        All files that such a result may consist of, the key among them.
    fault : callable
        Takes a folder that holds some of these files; why it is no such result, in a few words, or None if it is one.
    """

    key: str
    names: tuple[str, ...]
    fault: Callable[[Path], str | None]


@contextlib.contextmanager
def output_folder(output: str | os.PathLike[str], kind: Kind) -> Iterator[Path]:
    """A temporary folder whose files become those of `output` when the block ends, and that goes away when it ends in any exception.

    Parameters
    ----------
    output : path
        A folder, or a link to one, that is not there, is empty, or holds an earlier result, which is replaced.
    kind : Kind
        What counts as an earlier result.

    Raises
    ------
    TenfoldError
        `output` is a file, holds anything else, an input lies in it (`inputs.protect`), or it can't be written.
    """
    folder = _look(output, kind)
    temporary = TemporaryFolder(_near(output, folder))
    try:
        yield temporary.path
        _put(temporary, Path(output), folder, kind)
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) and not error.filename.startswith(str(temporary.whole)) else output
        raise TenfoldError(f"{place}: can't be {'written' if place is output else 'used'}: {reason(error)}") from None
    finally:
        temporary.remove()


def check_output(output: str | os.PathLike[str], kind: Kind) -> None:
    """Raise TenfoldError if `output` is something that must not be replaced, or can't be written: before work that takes long."""
    TemporaryFolder(_near(output, _look(output, kind))).remove()


def _near(output: str | os.PathLike[str], folder: Path) -> Path:
    """Where the temporary folder is made: on the file system of the output, so that renames suffice."""
    near = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not near.is_dir():
        raise TenfoldError(f"{output}: can't be written: {near} is a file, not a folder")
    return near


def _look(output: str | os.PathLike[str], kind: Kind) -> Path:
    """The folder that `output` names, links followed; TenfoldError if it is something that must not be replaced."""
    try:
        folder = Path(os.path.realpath(output))
        if folder.is_dir():
            sweep(folder.parent)
            sweep(folder)
            _earlier(Path(output), folder, kind)
        elif folder.exists():
            raise TenfoldError(f"{output}: this is a file: give a folder to write to")
        elif os.path.islink(output):
            raise TenfoldError(f"{output}: this link leads nowhere: give a folder to write to")
        return folder
    except (OSError, ValueError) as error:
        raise TenfoldError(f"{output}: can't be written: {reason(error)}") from None


def _earlier(output: Path, folder: Path, kind: Kind) -> dict[str, Identity]:
    """The files of the earlier result in a folder, as they are now."""
    check_folder(folder)
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name in kind.names:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise TenfoldError(f"{output}: {path.name} in it is no file of an earlier result: give a new folder")
            found[path.name] = identity(path)
        elif not is_temporary(path):
            raise TenfoldError(f"{output}: the folder is not empty and holds other files ({path.name}): give a new folder")
    fault = kind.fault(folder) if found else None
    if fault is not None:
        raise TenfoldError(f"{output}: the files in it are not an earlier result ({fault}): give a new folder, or remove them")
    return found


def _put(temporary: TemporaryFolder, output: Path, folder: Path, kind: Kind) -> None:
    """Put the result in its place. What is there is looked at once more, for much may have happened since the work began."""
    if _look(output, kind) != folder:
        raise TenfoldError(f"{output}: can't be written: it leads somewhere else than before")
    if not folder.is_dir():
        return _rename(temporary.path, folder)
    if temporary.whole.parent != folder:  # it was not there before
        with TemporaryFolder(folder) as path:
            for each in list(temporary.path.iterdir()):
                each.rename(path / each.name)
            return _replace(path.parent, output, folder, kind)
    return _replace(temporary.whole, output, folder, kind)


def _rename(new: Path, folder: Path) -> None:
    """Over a file, or a folder with anything in it, this is an error."""
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.rename(new, folder)
    except BaseException:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _replace(staging: Path, output: Path, folder: Path, kind: Kind) -> None:
    with locked(folder):
        try:
            exchange(staging, folder, _earlier(output, folder, kind), kind.key)
        except Changed as error:
            raise TenfoldError(f"{output}: {error} in it was changed while this ran: nothing was replaced") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time replaces the files of a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # of a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
