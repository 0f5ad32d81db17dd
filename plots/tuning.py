"""How tuning went: the best time of each kernel over its trials."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.files.whole import destination
from .canvas import check_suffix, name_text, panels, require_matplotlib, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 10  # kernels that are drawn: those that take most of the time

Curve = Sequence[tuple[int, float]]


def check_file(path: Path) -> None:
    """Raise TenfoldError, before any work, if no picture can be written there."""
    require_matplotlib()
    check_suffix(path)
    destination(path)


def draw_to(path: Path, curves: Sequence[tuple[str, Curve]], title: str) -> None:
    """Write the picture that `draw` gives to a .png or .svg; TenfoldError if that can't be done."""
    save(draw(curves, title), [path])


def draw(curves: Sequence[tuple[str, Curve]], title: str) -> Figure:
    """Draw the best time of each kernel after so many trials, over that of its first one, the model's choice.

    Parameters
    ----------
    curves : sequence of (str, curve)
        The name of a kernel, and its (trials, milliseconds); infinite where nothing was measured yet.
    title : str
        Above the panel.
    """
    figure, [panel] = panels(1)
    for name, curve in curves[:MOST_LINES]:
        known = [(trials, ms) for trials, ms in curve if ms < float("inf")]
        if known:
            first = known[0][1]
            panel.step([trials for trials, _ in known], [ms / first for _, ms in known], where="post", label=name_text(name)["label"])
    panel.set(xlabel="trials", ylabel="time, of the model's choice", ylim=(None, 1.02))
    panel.axhline(1.0, color="grey", linestyle=":", linewidth=1)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize="x-small")
    words = name_text(title)
    figure.suptitle(words.pop("label"), **words)
    return figure
