"""Output folders that appear whole or not at all."""
from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import TenfoldError


@contextlib.contextmanager
def output_folder(output: str | os.PathLike[str], ours: Collection[str]) -> Iterator[Path]:
    """A temporary folder that becomes `output` when the block ends, and goes away when it ends in any exception.

    Parameters
    ----------
    output : path
        A folder that does not exist, is empty, or holds only files in `ours`: an earlier result, which is replaced.
    ours : collection of str
        The names of the files that such a result consists of.

    Raises
    ------
    TenfoldError
        If `output` is a file, holds anything else, or can't be written.
    """
    output = Path(os.path.abspath(output))
    check_output(output, ours)
    near = next(folder for folder in output.parents if folder.is_dir())  # on the same file system, so that a rename suffices
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=near))
    except OSError as error:
        raise TenfoldError(f"{output}: can't be written: {error.strerror}") from None
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)  # mkdtemp makes private folders
        _replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_output(output: Path, ours: Collection[str]) -> None:
    """Raise TenfoldError if `output` is something that must not be replaced."""
    if output.is_dir():
        others = sorted(path.name for path in output.iterdir() if path.name not in ours)
        if others:
            raise TenfoldError(f"{output}: the folder is not empty and holds other files ({others[0]}): give a new folder")
    elif output.exists() or output.is_symlink():
        raise TenfoldError(f"{output}: this is a file: give a folder to write to")


def _replace(new: Path, output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as old:
                output.rename(Path(old) / "old")
                try:
                    new.rename(output)
                except BaseException:
                    (Path(old) / "old").rename(output)
                    raise
        else:
            new.rename(output)
    except OSError as error:
        raise TenfoldError(f"{output}: can't be written: {error.strerror}") from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file whole or not at all; TenfoldError if it can't be written."""
    with whole_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what the block writes there takes the place of `path` when it ends without an exception."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise TenfoldError(f"{path}: can't be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)

