"""Where the tiles of a Winograd convolution lie in its result, and in its input.

A convolution with dilation d is one without on each of the d images that every d-th pixel makes. Along an axis, tiles are numbered from one
such image to the next: tile t has the pixels (t % tiles * m + i) * d + t // tiles.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .cost import phases


@dataclass(frozen=True)
class TileGrid:
    """The tiles of one image.

    Attributes
    ----------
    size : tuple of int
        Height and width of the result.
    dilation : tuple of int
        Vertical, horizontal.
    m : int
        Rows and columns of a tile of the result.
    """

    size: tuple[int, int]
    dilation: tuple[int, int]
    m: int

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles down and across."""
        down, across = (images * tiles for images, tiles in (self._phases(0), self._phases(1)))
        return down, across

    def position(self, axis: int, tile: Any, step: Any) -> Any:
        """Where a step of a tile lies along an axis."""
        dilation, (_, tiles) = self.dilation[axis], self._phases(axis)
        return tile * self.m + step if dilation == 1 else (tile % tiles * self.m + step) * dilation + tile // tiles

    def tile_of(self, axis: int, position: Any) -> tuple[Any, Any]:
        """In which tile a position lies, and at which step."""
        dilation, (_, tiles) = self.dilation[axis], self._phases(axis)
        at = position if dilation == 1 else position // dilation
        tile = at // self.m
        return tile if dilation == 1 else position % dilation * tiles + tile, at % self.m

    def last(self, axis: int, step: int) -> int:
        """The farthest position of a step of any tile."""
        images, tiles = self._phases(axis)
        return ((tiles - 1) * self.m + step) * self.dilation[axis] + images - 1

    def ragged(self, axis: int) -> bool:
        """Whether some tiles have pixels that the result has not."""
        return self.last(axis, self.m - 1) >= self.size[axis]

    def _phases(self, axis: int) -> tuple[int, int]:
        return phases(self.size[axis], self.dilation[axis], self.m)
