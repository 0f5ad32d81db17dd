"""Lists of layers: one text file for each network in `shapes/`, one layer a line.

    # channels  filters  size  kernel  [stride  [padding  [groups  [dilation]]]]  [:  form  ranks]
      128       128      28    3                                                   :  tucker2 64 64

The padding is half a kernel where none is given. A form is the name of a method of `tenfold.factorization`. The lists of the networks of
today stand in `shapes/modern/`: `modern/lists.py` writes them.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tenfold.factorization import METHODS, Layer, Stage

SHAPES = Path(__file__).parent / "shapes"


@dataclass(frozen=True)
class Shape:
    """A convolution of square images and kernels, dense (`form` is empty) or factored."""

    channels: int
    filters: int
    size: int
    kernel: int
    stride: int
    padding: int
    groups: int
    form: str = ""
    ranks: tuple[int, ...] = ()
    dilation: int = 1

    @property
    def name(self) -> str:
        """As ``128-128 28 3x3``, ``/2`` for a stride, ``p0`` for unusual padding, ``g2`` for groups, ``d2`` for dilation, and the form."""
        words = [f"{self.channels}-{self.filters}", str(self.size), f"{self.kernel}x{self.kernel}"]
        words[-1] += f"/{self.stride}" if self.stride > 1 else ""
        words += [f"p{self.padding}"] if self.padding != self.dilation * (self.kernel // 2) else []
        words += [f"g{self.groups}"] if self.groups > 1 else []
        words += [f"d{self.dilation}"] if self.dilation > 1 else []
        words += [f"{self.form} {','.join(map(str, self.ranks))}"] if self.form else []
        return " ".join(words)

    @property
    def layer(self) -> Layer:
        """The dense layer."""
        out = (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1
        weight = (self.filters, self.channels // self.groups, self.kernel, self.kernel)
        return Layer(self.name, "conv2d", weight, stride=(self.stride,) * 2, padding=(self.padding,) * 4, groups=self.groups,
                     dilation=(self.dilation,) * 2, input_size=(self.size,) * 2, output_size=(out,) * 2)

    def stages(self) -> tuple[Stage, ...]:
        """The convolutions that it consists of; their weights are zeros that take no memory."""
        if self.form:
            return METHODS[self.form].outline(self.layer, self.ranks).stages
        zeros = np.broadcast_to(np.float32(0), self.layer.weight_shape)
        return (Stage(zeros, stride=self.layer.stride, padding=self.layer.padding, dilation=self.layer.dilation, groups=self.groups),)


def read(path: Path) -> list[Shape]:
    """The layers of one file.

    Raises
    ------
    ValueError
        A line that is no layer; it is named with its number.
    """
    shapes = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        geometry, _, factored = line.split("#")[0].partition(":")
        if geometry.split():
            try:
                shapes.append(_shape([int(word) for word in geometry.split()], factored.split()))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path.name}, line {number}: {error}") from None
    return shapes


def _shape(geometry: list[int], factored: list[str]) -> Shape:
    channels, filters, size, kernel, *rest = geometry
    stride, padding, groups, dilation = [*rest, *(1, kernel // 2, 1, 1)[len(rest):]]
    shape = Shape(channels, filters, size, kernel, stride, padding, groups, *factored[:1], ranks=tuple(map(int, factored[1:])),
                  dilation=dilation)
    shape.stages()  # raises where they don't fit
    return shape


def read_all(folder: Path = SHAPES) -> dict[Shape, list[str]]:
    """Every distinct layer of the lists in a folder, dense ones first, with the names of the lists that it is in."""
    lists: dict[Shape, list[str]] = {}
    for path in sorted(folder.glob("*.txt"), key=lambda path: ("-factored" in path.stem, path.stem)):
        for shape in read(path):
            lists.setdefault(shape, []).append(path.stem)
    return lists
