"""The two layers of Denton et al. (2014), sections 3.3 and 3.4, in their factored forms.

The stages are grouped convolutions in the order of the clusters, as the authors' own kernels are: the permutation of channels between
two clusterings is left out for every engine alike.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shapes import Shape
from tenfold.factorization import METHODS, Stage, denton_counts

NAMES = {
    "monochromatic": (("C'",), denton_counts.monochromatic_operations),
    "biclustering svd": (("G", "H", "K1", "K2"), denton_counts.svd_operations),
    "biclustering outer": (("G", "H", "K"), denton_counts.outer_product_operations),
}


@dataclass(frozen=True)
class Form:
    """An approximation with its parameters, as table 1 has them.

    `name` is one of ``monochromatic`` (C'), ``biclustering svd`` (G, H, K1, K2) and ``biclustering outer`` (G, H, K).
    """

    name: str
    parameters: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {' '.join(f'{n}={v}' for n, v in zip(NAMES[self.name][0], self.parameters, strict=True))}"

    def stages(self, dense: Shape) -> tuple[Stage, ...]:
        """The chain in place of a dense layer, its weights zeros that take no memory."""
        return METHODS[self.name.replace(" ", "_")].outline(dense.layer, self.parameters).stages

    def operations(self, dense: Shape) -> int:
        """Multiplications by table 1."""
        return NAMES[self.name][1](dense.layer, *self.parameters)

    def promise(self, dense: Shape) -> float:
        """How many times fewer multiplications than the dense layer's."""
        return dense.layer.macs / self.operations(dense)


LAYER1 = Shape(3, 96, 224, 7, 2, 1, 1)
LAYER2 = (Shape(96, 256, 55, 5, 1, 2, 1), Shape(96, 256, 27, 5, 1, 2, 1))  # as it was measured: at the sizes before and after pooling

MONOCHROMATIC = [Form("monochromatic", (colors,)) for colors in (4, 6, 8, 12)]
# Table 2 has K1 = 19, K2 = 24 and K = 6, section 4.2 K = 8; with a step of our own to either side: the text of figure 4 leaves ranks out.
BICLUSTERED = [Form("biclustering svd", (2, 2, k1, k2)) for k1, k2 in ((12, 16), (19, 24), (24, 32))]
BICLUSTERED += [Form("biclustering outer", (48, 2, k)) for k in (4, 6, 8)]


def pairs() -> Sequence[tuple[Shape, Form]]:
    """Every layer with every form that the paper has for it."""
    return [(LAYER1, form) for form in MONOCHROMATIC] + [(dense, form) for dense in LAYER2 for form in BICLUSTERED]
