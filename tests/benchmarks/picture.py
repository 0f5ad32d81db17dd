"""The README's picture: what a search gains, drawn from the results of the searches.

    python tests/benchmarks/picture.py

writes docs/search.svg: accuracy lost on the test set over milliseconds, one panel for each bundled network.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tenfold.support.files.folder import write_text

HERE = Path(__file__).parent
PATH = HERE.parent.parent / "docs" / "search.svg"
RESULTS = HERE / "results" / "search" / "xeon"
PANELS = {"jin": "the baseline CNN of Jin et al.", "vgg": "a small VGG"}  # name of a file of results -> title
MOST_LOST = 3.0  # points of accuracy at the bottom of a panel; networks below are not drawn
WIDTH, HEIGHT, LEFT, TOP = 320, 220, 56, 64  # pixels of a panel, and where the first one begins
STEP = 410  # pixels from one panel to the next
COLOURS = {"dense": "#222222", "Tenfold's search": "#c0392b", "AIMET, spatial SVD": "#2c6fbb"}
ENGINES = {"tenfold": "run by Tenfold", "onnxruntime": "run by ONNX Runtime"}
RADIUS = 5  # pixels of a mark


@dataclass(frozen=True)
class Point:
    """One network in one engine: milliseconds, and points of accuracy lost against the dense network."""

    kind: str
    engine: str
    ms: float
    lost: float


def points(name: str) -> list[Point]:
    """Every network and engine of the results of a search."""
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    best = rows[0]["accuracy"]
    kinds = list(COLOURS)
    return [Point(kinds[2] if row["model"].startswith("aimet") else kinds[1] if row["model"].startswith("searched") else kinds[0],
                  row["engine"], row["latency_ms"]["median"], 100 * (best - row["accuracy"])) for row in rows]


def mark(x: float, y: float, kind: str, engine: str) -> str:
    """The mark of a network: a disc where Tenfold runs it, a hollow square where ONNX Runtime does."""
    colour = COLOURS[kind]
    if engine == "tenfold":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}" fill="{colour}"/>'
    return (f'<rect class="hollow" x="{x - RADIUS:.1f}" y="{y - RADIUS:.1f}" width="{2 * RADIUS}" height="{2 * RADIUS}" '
            f'stroke="{colour}" stroke-width="1.5"/>')


def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def panel(name: str, left: float) -> list[str]:
    """One network's panel.

    Parameters
    ----------
    name : str
        A name in `PANELS`.
    left : float
        Where the panel begins, in pixels.
    """
    found = points(name)
    longest = -(-max(point.ms for point in found) * 10 // 2) / 5 + 0.1  # a fifth of a millisecond, rounded up, and a margin
    bottom = TOP + HEIGHT
    lines = [text(left + WIDTH / 2, TOP - 12, PANELS[name], more=' font-weight="bold"'),
             text(left + WIDTH / 2, bottom + 36, "milliseconds, batch 1, two threads")]
    for lost in range(int(MOST_LOST) + 1):
        y = TOP + 16 + (HEIGHT - 16) * lost / MOST_LOST
        lines.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + WIDTH}" y2="{y:.1f}" stroke="#dddddd"/>')
        lines.append(text(left - 8, y + 4, f"-{lost}" if lost else "0", "end"))
    for fifth in range(int(longest * 5) + 1):
        x = left + WIDTH * fifth / 5 / longest
        lines.append(text(x, bottom + 18, f"{fifth / 5:.1f}"))
    lines.append(f'<path d="M{left} {TOP} V{bottom} H{left + WIDTH}" fill="none" stroke="#444444"/>')
    lines += [mark(left + WIDTH * point.ms / longest, TOP + 16 + (HEIGHT - 16) * point.lost / MOST_LOST, point.kind, point.engine)
              for point in found if point.lost <= MOST_LOST]
    return lines


def drawn() -> str:
    """The picture as SVG."""
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + STEP + WIDTH + 24} {TOP + HEIGHT + 46}" '
             'font-family="sans-serif" font-size="13" fill="#222222">',
             "<title>Points of accuracy lost over milliseconds</title>",
             "<style>.hollow { fill: white }</style>",
             '<rect class="paper" width="100%" height="100%" fill="white"/>']
    x = LEFT
    for kind, colour in COLOURS.items():
        lines.append(f'<rect class="key" x="{x}" y="12" width="12" height="12" fill="{colour}"/>')
        lines.append(text(x + 18, 23, kind, "start"))
        x += 40 + 8 * len(kind)
    for engine, words in ENGINES.items():
        lines.append(mark(x, 18, "dense", engine))
        lines.append(text(x + 12, 23, words, "start"))
        x += 34 + 8 * len(words)
    middle = TOP + HEIGHT / 2
    lines.append(text(16, middle, "points of accuracy", more=f' transform="rotate(-90 16 {middle:.1f})"'))
    for number, name in enumerate(PANELS):
        lines += panel(name, LEFT + number * STEP)
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    write_text(PATH, drawn())
