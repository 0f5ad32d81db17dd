"""The algebra of Winograd's minimal filtering for kernels of three taps: F(2, 3) and F(4, 3), nested for F(m x m, 3 x 3).

    Y = A^T [ (G g G^T) * (B^T d B) ] A         d: (m + 2)^2 inputs, g: 3 x 3 weights, Y: m^2 outputs, *: element by element

The products are those of polynomials modulo x (x^2 - a^2) ..., evaluated at 0, +-a, ..., and infinity (Winograd 1980; Lavin and Gray 2016,
arXiv:1509.09308). The points come in pairs, so a transform computes the even and the odd part once for both points of a pair, and never
multiplies by zero.

The points of F(4, 3) decide its accuracy. With 0, +-5/8, +-3/2 the error is a third of that of Lavin's 0, +-1, +-2, and their powers are
exact in float32. Largest error against float64 as a part of the largest output, for 256 channels of normally distributed numbers: 6e-7 for
F(2 x 2), 2.8e-6 for F(4 x 4), 9e-6 for F(4 x 4) with Lavin's points; `tests/schedules/test_winograd_algebra.py` measures it.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np


class Linear(Protocol):
    """What can be added, and multiplied by a float: arrays, expressions of TensorIR."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...


Value = TypeVar("Value", bound=Linear)

TAPS = 3


@dataclass(frozen=True)
class WinogradForm:
    """F(m, 3): m outputs of a filter of three taps from m + 2 products.

    Parameters
    ----------
    points : tuple of float
        One of each pair of points +-a; 0 and infinity are always there.
    """

    points: tuple[float, ...]

    @property
    def outputs(self) -> int:
        """Outputs of a tile along one axis, m."""
        return 2 * len(self.points)

    @property
    def products(self) -> int:
        """Products of a tile along one axis, m + 2; it has as many inputs."""
        return self.outputs + TAPS - 1

    def transform_input(self, d: Sequence[Value]) -> list[Value]:
        """B^T d, for values in the order 0, +a, -a, ..., infinity."""
        every = _even_polynomial(self.points)
        result = [_weighted(every, d[0::2])]
        for a in self.points:
            rest = _even_polynomial([b for b in self.points if b != a])
            even, odd = _weighted(rest, d[2::2]), _weighted(rest, d[1::2])
            result += [even + odd * a, even - odd * a] if a != 1 else [even + odd, even - odd]
        return [*result, _weighted(every, d[1::2])]

    def transform_output(self, p: Sequence[Value]) -> list[Value]:
        """A^T p, for products in the same order."""
        plus, minus = p[1:-1:2], p[2:-1:2]
        sums, differences = [a + b for a, b in zip(plus, minus, strict=True)], [a - b for a, b in zip(plus, minus, strict=True)]
        result = [_weighted([a**k for a in self.points], differences if k % 2 else sums) for k in range(self.outputs)]
        result[0] = result[0] + p[0]
        result[-1] = result[-1] + p[-1]
        return result

    def weight_matrix(self) -> np.ndarray:
        """G, (m + 2, 3), float64."""
        points = [0.0, *(sign * a for a in self.points for sign in (1, -1))]
        rows = [np.power(p, range(TAPS)) / np.prod([p - q for q in points if q != p]) for p in points]
        return np.array([*rows, [0.0] * (TAPS - 1) + [1.0]])

    def transform_weights(self, weight: np.ndarray) -> np.ndarray:
        """G g G^T in float64, rounded once: (F, C, 3, 3) -> (m + 2, m + 2, F, C)."""
        g, (filters, channels, *_) = self.weight_matrix(), weight.shape
        transformed = np.kron(g, g) @ weight.reshape(-1, TAPS * TAPS).T.astype(np.float64)
        return transformed.astype(weight.dtype).reshape(self.products, self.products, filters, channels)


F2 = WinogradForm((1.0,))
F4 = WinogradForm((0.625, 1.5))
BY_OUTPUTS = {f.outputs: f for f in (F2, F4)}


def _even_polynomial(roots: Sequence[float]) -> list[float]:
    """Coefficients of x^0, x^2, ... in the product of (x^2 - a^2) over the roots a."""
    coefficients = np.array([1.0])
    for a in roots:
        coefficients = np.convolve(coefficients, [-a * a, 1.0])
    return [float(c) for c in coefficients]


def _weighted(weights: Sequence[float], values: Sequence[Value]) -> Value:
    """The sum of products, added from the last on; nothing is multiplied by 1."""
    terms: list[Value] = [v if w == 1 else v * w for w, v in zip(weights, values[:len(weights)], strict=True)]
    total = terms[-1]
    for term in reversed(terms[:-1]):
        total = total + term
    return total
