"""Write the drawings of the pages: the chain of each method, as `Method.outline` gives it, and three of how it works.

    python tests/drawings.py        # docs/drawings/*.svg
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from tenfold.factorization import METHODS, FactorChain, Layer, Stage

FOLDER = Path(__file__).parents[1] / "docs" / "drawings"
INK, LINE, PALE, ACCENT = "#222222", "#7f8c8d", "#dfe6e9", "#00796b"
GAP, HEIGHT, TOP, CELL = 104, 250, 64, 7  # pixels: from stage to stage, of a drawing, above the channels, of a tap

CONVOLUTION = Layer("layer", "conv2d", (8, 8, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))
DENSE = Layer("layer", "dense", (8, 8))
RANKS = {
    "svd": (3,), "spatial_svd": (3,), "channel_svd": (3,), "tucker2": (3, 4), "monochromatic": (4,), "biclustering_svd": (2, 2, 2, 2),
    "biclustering_outer": (2, 2, 2), "separable_basis": (2,), "cp": (5,), "flattened": (6,), "flattened_vhl": (6,), "decoupled": (2,),
    "decoupled_pointwise_first": (2,), "prune": (5,),
}
"""Small ranks with which every form can be told from the others, for layers of eight channels."""


class Drawing:
    """An SVG on white paper, so that it can be seen on a dark page."""

    def __init__(self, width: float, height: float, title: str) -> None:
        size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
        style = {"font-family": "sans-serif", "font-size": "12", "fill": INK}
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size, **style})
        ElementTree.SubElement(self.root, "title").text = title
        self.rectangle(0, 0, width, height, "white", rx=6)

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str, **more: object) -> None:
        self._add("rect", x=x, y=y, width=width, height=height, fill=fill, **more)

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = LINE, **more: object) -> None:
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, **more)

    def dot(self, x: float, y: float) -> None:
        self._add("circle", cx=x, cy=y, r=3.2, fill=INK)

    def text(self, x: float, y: float, content: str, anchor: str = "middle", **more: object) -> None:
        self._add("text", x=x, y=y, **{"text-anchor": anchor}, **more).text = content

    def box(self, x: float, y: float, width: float, height: float, lines: Sequence[str], fill: str = PALE) -> None:
        """A box with centred lines, the first of them bold."""
        self.rectangle(x, y, width, height, fill, rx=5, stroke=LINE)
        first = y + height / 2 - 7.5 * (len(lines) - 1) + 4
        for row, line in enumerate(lines):
            self.text(x + width / 2, first + 15 * row, line, **({"font-weight": "bold"} if row == 0 else {"font-size": 11}))

    def arrow(self, points: Sequence[tuple[float, float]]) -> None:
        """Lines from point to point, the last of them with a head; they run along the axes."""
        for (x1, y1), (x2, y2) in pairwise(points):
            self.line(x1, y1, x2, y2, INK)
        (x1, y1), (x2, y2) = points[-2:]
        across, along = ((0, 4), (7 if x2 > x1 else -7, 0)) if y1 == y2 else ((4, 0), (0, 7 if y2 > y1 else -7))
        corners = [(x2, y2), (x2 - along[0] + across[0], y2 - along[1] + across[1]), (x2 - along[0] - across[0], y2 - along[1] - across[1])]
        self._add("polygon", points=" ".join(f"{x:g},{y:g}" for x, y in corners), fill=INK)

    def _add(self, tag: str, **attributes: object) -> ElementTree.Element:
        told = {name: f"{value:g}" if isinstance(value, (int, float)) else str(value) for name, value in attributes.items()}
        return ElementTree.SubElement(self.root, tag, told)

    def __str__(self) -> str:
        ElementTree.indent(self.root, " ")
        return ElementTree.tostring(self.root, encoding="unicode") + "\n"


def connections(stage: Stage) -> Iterator[tuple[int, int]]:
    """Which channel of the stage before each channel of a stage reads."""
    inputs, outputs = stage.in_channels // stage.groups, stage.out_channels // stage.groups
    order = range(stage.in_channels) if stage.input_permutation is None else stage.input_permutation
    for group in range(stage.groups):
        for i in range(inputs):
            for o in range(outputs):
                yield int(order[group * inputs + i]), group * outputs + o


def kind_of(stage: Stage) -> str:
    """What a stage is called."""
    if stage.groups == stage.in_channels > 1:
        return "depthwise"
    if stage.groups > 1:
        return f"{stage.groups} groups"
    return "pointwise" if stage.kernel == (1, 1) else "convolution"


def _heights(channels: int) -> list[float]:
    step = min(16.0, 142 / max(1, channels - 1))
    return [TOP + 90 + step * (index - (channels - 1) / 2) for index in range(channels)]


def _stage(drawing: Drawing, stage: Stage, left: float) -> None:
    """The channels in front of a stage and behind it, what joins them, its kernel above, and its name below."""
    before, behind = _heights(stage.in_channels), _heights(stage.out_channels)
    for i, o in connections(stage):
        drawing.line(left, before[i], left + GAP, behind[o], **{"stroke-width": 0.7})
    rows, columns = stage.kernel
    x, y = left + (GAP - CELL * columns) / 2, 40 - CELL * rows / 2
    for row in range(rows):
        for column in range(columns):
            drawing.rectangle(x + CELL * column, y + CELL * row, CELL, CELL, ACCENT, stroke="white")
    drawing.text(left + GAP / 2, 18, f"{rows} x {columns}")
    drawing.text(left + GAP / 2, HEIGHT - 8, kind_of(stage))


def _stages(drawing: Drawing, stages: Sequence[Stage], left: float) -> None:
    for index, stage in enumerate(stages):
        _stage(drawing, stage, left + GAP * index)
    columns = [stages[0].in_channels, *(stage.out_channels for stage in stages)]
    for index, channels in enumerate(columns):
        for y in _heights(channels):
            drawing.dot(left + GAP * index, y)


def dense_stage(layer: Layer) -> Stage:
    """The layer itself, without numbers."""
    return Stage(np.broadcast_to(np.float32(0), (layer.out_channels, layer.in_channels, *layer.kernel)), padding=layer.padding)


def form(chain: FactorChain, layer: Layer, title: str) -> str:
    """A layer, and the chain that stands for it: a column of dots is the channels between two stages."""
    margin, between = 24, 64
    drawing = Drawing(2 * margin + between + GAP * (1 + len(chain.stages)), HEIGHT, title)
    _stages(drawing, (dense_stage(layer),), margin)
    middle = margin + GAP + between / 2
    drawing.arrow([(middle - 14, TOP + 90), (middle + 14, TOP + 90)])
    _stages(drawing, chain.stages, margin + GAP + between)
    return str(drawing)


def _clusters_exchanged(chain: FactorChain, ranks: Sequence[int]) -> FactorChain:
    """Stage 2 reads the blocks by clusters of filters; stages 0 and 1 have them by clusters of channels."""
    *before, last = chain.stages
    order = np.arange(last.in_channels).reshape(*ranks[:2], -1).transpose(1, 0, 2).ravel()
    return FactorChain((*before, replace(last, input_permutation=order)))


def method_drawing(name: str) -> str:
    """What a method makes of a layer of eight channels."""
    layer = DENSE if name == "svd" else CONVOLUTION
    chain = METHODS[name].outline(layer, RANKS[name])
    if name.startswith("biclustering"):
        chain = _clusters_exchanged(chain, RANKS[name])
    if name == "prune":
        (kept,) = RANKS[name]
        chain = FactorChain((Stage(chain.stages[0].weight[:kept], padding=layer.padding),))
    return form(chain, layer, f"A layer of eight channels, and the chain of {name} with ranks {', '.join(map(str, RANKS[name]))}")


def passes_drawing() -> str:
    """What becomes of a network."""
    steps = [
        ("frontends", "checked, sizes fixed,", "layers named"), ("passes/simplify", "layers merged", "exactly"),
        ("passes/factorize", "a plan's chains for", "dense layers"), ("passes/layout", "NHWC; transpositions", "folded or dropped"),
        ("passes/fuse_chains", "one kernel for what", "the model keeps together"),
        ("passes/legalize", "a schedule for each", "operator; epilogues"),
        ("codegen", "arena, list of calls,", "thread pool"), ("runner", "verified against", "another engine"),
    ]
    drawing = Drawing(792, 190, "From a model to an artifact")
    for index, lines in enumerate(steps):
        row, column = divmod(index, 4)
        drawing.box(24 + 192 * column, 24 + 84 * row, 160, 58, lines)
        if column:
            drawing.arrow([(24 + 192 * column - 32, 53 + 84 * row), (24 + 192 * column, 53 + 84 * row)])
    drawing.arrow([(680, 82), (680, 95), (104, 95), (104, 108)])
    return str(drawing)


def kernels_drawing() -> str:
    """A chain in strips, and a tile of one of its stages in registers."""
    drawing = Drawing(792, 236, "A fused chain in strips, and a tile of pixels and filters in registers")
    for index, (name, rows) in enumerate((("input", 5), ("between the stages", 3), ("output", 3))):
        left = 24 + 148 * index
        drawing.rectangle(left, 40, 108, 144, "white", stroke=LINE)
        drawing.rectangle(left, 40 + 12 * (3 if rows == 5 else 4), 108, 12 * rows, ACCENT, opacity=0.35)
        drawing.text(left + 54, 30, name)
        if index:
            drawing.arrow([(left - 38, 112), (left - 2, 112)])
            drawing.text(left - 20, 104, ("Y x 1", "1 x X")[index - 1], **{"font-size": 11})
    drawing.text(228, 206, "a core takes one strip of rows through all stages;")
    drawing.text(228, 222, "what lies between stays in its cache")
    left, lanes, pixels = 500, 4, 6
    for pixel in range(pixels):
        for lane in range(lanes):
            drawing.rectangle(left + 48 * lane, 62 + 18 * pixel, 46, 16, ACCENT, opacity=0.35)
        drawing.rectangle(left - 24, 62 + 18 * pixel, 16, 16, PALE, stroke=LINE)
    for lane in range(lanes):
        drawing.rectangle(left + 48 * lane, 40, 46, 16, PALE, stroke=LINE)
    drawing.text(left + 96, 30, "vectors of filters: loaded once a tap and channel")
    drawing.text(left - 34, 120, "pixels", "end")
    drawing.text(left + 96, 206, "sums stay in registers from the first product")
    drawing.text(left + 96, 222, "to bias, activation and residual")
    return str(drawing)


def search_drawing() -> str:
    """The loop of a search."""
    steps = [
        ("calibrate", "moments of what", "layers read"), ("survey", "error and milliseconds", "of methods and ranks"),
        ("choose", "knapsack: least ms", "within the loss"), ("correct", "chains fitted again,", "layer by layer"),
        ("verify", "accuracy on other images,", "ms of the network"),
    ]
    drawing = Drawing(792, 156, "The steps of a search")
    for index, lines in enumerate(steps):
        left = 12 + 156 * index
        drawing.box(left, 24, 140, 58, lines)
        if index:
            drawing.arrow([(left - 16, 53), (left, 53)])
    drawing.arrow([(706, 82), (706, 112), (394, 112), (394, 82)])
    drawing.text(550, 130, "what was measured corrects the prediction; the budget tightens until it holds")
    return str(drawing)


DRAWINGS: dict[str, Callable[[], str]] = {
    **{name: partial(method_drawing, name) for name in RANKS},
    "passes": passes_drawing, "kernels": kernels_drawing, "search-steps": search_drawing,
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (FOLDER / f"{name}.svg").write_text(draw())


if __name__ == "__main__":
    main()
