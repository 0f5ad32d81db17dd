"""What every picture needs: matplotlib without a display, and files that are the same for the same picture."""
from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.errors import TenfoldError
from ..support.files.whole import whole_file
from ..support.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
MAX_TITLE = 40  # characters of a title
WIDTH, HEIGHT = 4.2, 3.6  # inches of one panel


def require_matplotlib() -> None:
    """TenfoldError, with what to install, if matplotlib is not there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise TenfoldError('matplotlib, which draws the pictures, is not installed: pip install "tenfold[report]"')


def check_suffix(path: Path) -> None:
    """TenfoldError unless `path` names a kind of picture that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise TenfoldError(f"{path}: a picture is written as {' or '.join(SUFFIXES)}: give a name that ends in one of them")


def panels(count: int, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, two in a row at most where there are more than three; `options` go to every panel."""
    require_matplotlib()
    from matplotlib.figure import Figure

    columns = count if count <= 3 else 2
    rows = -(-count // columns)
    figure = Figure((WIDTH * columns, HEIGHT * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, index + 1, **options) for index in range(count)]


def name_text(name: str) -> dict[str, Any]:
    """A user's name as keywords of a title: no mathematics between dollar signs, no line breaks, and the end of a long one."""
    text = printable(name)
    return {"label": text if len(text) <= MAX_TITLE else f"...{text[-MAX_TITLE:]}", "parse_math": False}


def save(figure: Figure, paths: Iterable[Path]) -> None:
    """Write the picture; TenfoldError if that can't be done."""
    import matplotlib

    for path in paths:
        check_suffix(path)
        kind = path.suffix.lower().removeprefix(".")
        dated = {"Date": None} if kind == "svg" else None
        with whole_file(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "tenfold"}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks
            figure.savefig(temporary, dpi=150, metadata=dated, format=kind)
