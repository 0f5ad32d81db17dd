"""What all processes that run tests share: a folder, and what takes long to make, made by the first of them that needs it."""
from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for temporary files of this run of pytest: each process of xdist has one of its own within it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What `make` writes to the path that it is given: a file or a folder of this name. Not to be changed: copy it.

    Another process that asks for it meanwhile waits. Where making it fails or skips the test, the next one tries again.
    """
    place = session_folder(tmp_path_factory) / "made once" / name
    place.parent.mkdir(exist_ok=True)
    with place.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, or the process ends
        if not place.exists():
            new = place.with_name(f"{name}.new")
            shutil.rmtree(new, ignore_errors=True)
            make(new)
            new.rename(place)
    return place
