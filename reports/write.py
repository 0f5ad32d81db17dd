"""``tenfold report``: one HTML file from results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..support.errors import TenfoldError
from ..support.files.inputs import protect
from ..support.files.whole import destination, write_text
from .page import render
from .sources import Source, read_sources

SUFFIXES = (".html", ".htm")


def report(what: Any, output: str | os.PathLike[str]) -> int:
    """Write one HTML file that shows results side by side: figures, layers, profiles, and by what they were made.

    Nothing is measured or run: everything is read from the results. The file loads nothing from elsewhere.

    Parameters
    ----------
    what : path, Comparison, Compression, or a sequence of them
        Folders of `compress` and `compile`, files of ``bench --json``, and what `bench` and `compress` returned.
    output : path
        An ``.html`` file, which is replaced.

    Returns
    -------
    int
        Bytes of the file.

    Raises
    ------
    TenfoldError
        There is nothing to show, something is no such result, or the file can't be written.
    """
    given = [what] if isinstance(what, str | os.PathLike) or hasattr(what, "to_dict") else list(what)
    with protect(*given):
        check_page(output, *(each for each in given if isinstance(each, str | os.PathLike)))
        return write_page(read_sources(given), output)


def check_page(output: str | os.PathLike[str], *folders: str | os.PathLike[str] | None) -> None:
    """Raise TenfoldError, before any work, if no page can be written there: also where it would lie in one of these folders."""
    path = Path(output)
    if path.suffix.lower() not in SUFFIXES:
        raise TenfoldError(f"{path}: a report is written as {SUFFIXES[0]}: give a name that ends so")
    destination(path)
    for folder in folders:
        if folder is not None and os.path.realpath(path.parent) == os.path.realpath(folder):
            raise TenfoldError(f"{path}: it would lie in {folder}, which holds nothing but a result: give a place beside it")


def write_page(sources: Sequence[Source], output: str | os.PathLike[str]) -> int:
    """Write the page of sources that are read already; returns its bytes."""
    text = render(sources)
    write_text(output, text)
    return len(text.encode())
