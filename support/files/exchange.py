"""The files of a folder replaced by others, so that they are all old or all new, whatever happens between.

The folder itself stays: it may be a link's target, a volume, or where the user's shell is. One file, the key, says that the others are
there. It is taken out first and put in last, so that whoever looks meanwhile finds no result rather than half of two. Every move is a
rename within a file system, and a journal beside the moved files says how to undo them: here after an error, in a later run after a kill.
"""
from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import TenfoldError
from .regular import read_regular

JOURNAL, OLD, NEW = "journal", "old", "content"
Identity = tuple[int, int, int]  # inode, bytes, time of the last change


class Changed(Exception):
    """A file that was to be replaced is no more the one that was looked at."""


def identity(path: Path) -> Identity:
    """What tells a file from another one, or from itself as it was before someone wrote to it."""
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def exchange(staging: Path, folder: Path, old: Mapping[str, Identity], key: str) -> None:
    """Replace the files `old` of a folder by those in ``staging/content``.

    Parameters
    ----------
    staging : Path
        Inside `folder`: the folder around what `TemporaryFolder` gives out.
    folder : Path
    old : dict of str to Identity
        The files that go, as they were when it was decided that they may.
    key : str

    Raises
    ------
    OSError, Changed
        Everything is as it was.
    """
    outgoing, incoming = _order(old, key), _order(os.listdir(staging / NEW), key)[::-1]
    moved = {name: identity(staging / NEW / name)[0] for name in incoming}
    (staging / OLD).mkdir()
    _write(staging, {"old": outgoing, "new": moved})
    try:
        for name in outgoing:
            os.rename(folder / name, staging / OLD / name)
            if identity(staging / OLD / name) != tuple(old[name]):
                raise Changed(name)
        for name in incoming:
            if os.path.lexists(folder / name):
                raise Changed(name)
            os.rename(staging / NEW / name, folder / name)
    except BaseException:
        roll_back(staging)
        raise


def roll_back(staging: Path) -> bool:
    """Undo an exchange that did not come to its end; whether nothing of the user's is left in `staging`."""
    try:
        return _undo(staging)
    except (OSError, ValueError, TenfoldError):  # a later run tries again
        return False


def _undo(staging: Path) -> bool:
    if not (staging / JOURNAL).exists() or not os.listdir(staging / NEW):  # nothing was moved, or everything: that is its end
        return True
    content = json.loads(read_regular(staging / JOURNAL))
    folder, whole = staging.parent, True
    for name, inode in list(content["new"].items())[::-1]:
        if not (staging / NEW / name).exists() and os.path.lexists(folder / name) and os.lstat(folder / name).st_ino == inode:
            os.rename(folder / name, staging / NEW / name)
    for name in content["old"][::-1]:
        if (staging / OLD / name).exists():
            if os.path.lexists(folder / name):  # someone has put another file there since
                whole = False
            else:
                os.rename(staging / OLD / name, folder / name)
    return whole


def _order(names: Sequence[str] | Mapping[str, Identity], key: str) -> list[str]:
    """The key first."""
    return sorted(names, key=lambda name: (name != key, name))


def _write(staging: Path, content: Mapping[str, object]) -> None:
    """The journal appears whole."""
    part = staging / f"{JOURNAL}.part"
    part.write_text(json.dumps(content), encoding="utf-8")
    os.rename(part, staging / JOURNAL)
