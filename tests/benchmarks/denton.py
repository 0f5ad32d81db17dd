"""Chains of Denton et al. (2014), sections 3.3 and 3.4, and the operation counts of their table 1.

The stages are grouped convolutions in the order of the clusters, as the authors' own kernels are: the permutation of channels between
two clusterings is left out for every engine alike.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models import stage
from shapes import Shape
from tenfold.factorization import Stage


@dataclass(frozen=True)
class Form:
    """An approximation with its parameters, as table 1 has them.

    `name` is one of ``monochromatic`` (C'), ``biclustering svd`` (G, H, K1, K2) and ``biclustering outer`` (G, H, K).
    """

    name: str
    parameters: tuple[int, ...]

    def __str__(self) -> str:
        names = {"monochromatic": ("C'",), "biclustering svd": ("G", "H", "K1", "K2"), "biclustering outer": ("G", "H", "K")}[self.name]
        return f"{self.name} {' '.join(f'{n}={v}' for n, v in zip(names, self.parameters, strict=True))}"

    def stages(self, dense: Shape) -> list[Stage]:
        """The chain in place of a dense layer."""
        return {"monochromatic": _monochromatic, "biclustering svd": _svd, "biclustering outer": _outer}[self.name](dense, *self.parameters)

    def operations(self, dense: Shape) -> int:
        """Multiplications by table 1, NM being the pixels of the input, and NM / stride^2 those of the output."""
        c, f, xy = dense.channels, dense.filters, dense.kernel**2
        n, m = dense.size**2, dense.layer.output_size[0] ** 2
        if self.name == "monochromatic":
            (colors,) = self.parameters
            return colors * c * n + xy * f * m
        if self.name == "biclustering outer":
            g, h, k = self.parameters
            return g * h * k * (n * c // g + xy * m + f // h * m)
        g, h, k1, k2 = self.parameters
        return g * h * (n * c // g * k1 + k1 * xy * k2 * m + k2 * f // h * m)

    def promise(self, dense: Shape) -> float:
        """How many times fewer multiplications than the dense layer's."""
        return dense.layer.macs / self.operations(dense)


def _spatial(dense: Shape, filters: int, channels: int, groups: int) -> Stage:
    return stage(filters, channels, (dense.kernel, dense.kernel), dense.stride, (dense.padding,) * 4, groups)


def _monochromatic(dense: Shape, colors: int) -> list[Stage]:
    """Onto C' colours; then each filter sees one of them."""
    return [stage(colors, dense.channels, (1, 1)), _spatial(dense, dense.filters, colors, colors)]


def _svd(dense: Shape, g: int, h: int, k1: int, k2: int) -> list[Stage]:
    """For each of G x H pairs of clusters: C/G -> K1, spatial K1 -> K2, K2 -> F/H, summed over the G."""
    return [stage(g * h * k1, dense.channels, (1, 1), groups=g), _spatial(dense, g * h * k2, g * h * k1, g * h),
            stage(dense.filters, g * h * k2, (1, 1), groups=h)]


def _outer(dense: Shape, g: int, h: int, k: int) -> list[Stage]:
    """For each of G x H pairs of clusters and each of K terms: one vector in each direction."""
    terms = g * h * k
    return [stage(terms, dense.channels, (1, 1), groups=g), _spatial(dense, terms, terms, terms),
            stage(dense.filters, terms, (1, 1), groups=h)]


LAYER1 = Shape(3, 96, 224, 7, 2, 1, 1)
LAYER2 = (Shape(96, 256, 55, 5, 1, 2, 1), Shape(96, 256, 27, 5, 1, 2, 1))  # as it was measured: at the sizes before and after pooling

MONOCHROMATIC = [Form("monochromatic", (colors,)) for colors in (4, 6, 8, 12)]
# Table 2 has K1 = 19, K2 = 24 and K = 6, section 4.2 K = 8; with a step of our own to either side: the text of figure 4 leaves ranks out.
BICLUSTERED = [Form("biclustering svd", (2, 2, k1, k2)) for k1, k2 in ((12, 16), (19, 24), (24, 32))]
BICLUSTERED += [Form("biclustering outer", (48, 2, k)) for k in (4, 6, 8)]


def pairs() -> Sequence[tuple[Shape, Form]]:
    """Every layer with every form that the paper has for it."""
    return [(LAYER1, form) for form in MONOCHROMATIC] + [(dense, form) for dense in LAYER2 for form in BICLUSTERED]
