"""The papers' conditions: when a form has fewer multiplications than the layer, before any weight is looked at."""
from __future__ import annotations

from math import prod


def svd_rank_bound(rows: int, columns: int) -> int:
    """The largest rank at which the two factors of a matrix are smaller than the matrix; 0 if none is.

    Çallı, equation 2.1: ``n < rows * columns / (rows + columns)``. For a convolution, rows are C Y X and columns F.
    """
    return (rows * columns - 1) // (rows + columns)


def kernel_composing_width_bound(channels: int, filters: int, taps: int) -> int:
    """Most channels between a Y x 1 and a 1 x X convolution that cost less than a convolution of taps x taps.

    Çallı, section 2.3.1: ``n / K < C F / (C + F)`` for a kernel of K x K.

    Parameters
    ----------
    channels, filters : int
        Input and output channels of the convolution.
    taps : int
        Rows and columns of its kernel.
    """
    return (taps * channels * filters - 1) // (channels + filters)


def flattening_saves(channels: int, filters: int, kernel: tuple[int, int]) -> bool:
    """Whether two sets of flattened filters have fewer multiplications than the layer.

    Jin et al., equation 4, with k = F / C: ``C^2 k^2 + C^2 k + 2 C (X + Y) < C^2 X Y k``. As printed: the last term on the left counts
    C lines in each of the two sets, where the paper's own formula for the weights, F (F + C + 2 X + 2 Y), counts F lines.

    Parameters
    ----------
    channels, filters : int
        Input and output channels of the layer.
    kernel : (int, int)
        Rows and columns of its kernel.
    """
    return filters**2 + channels * filters + 2 * channels * sum(kernel) < channels * filters * prod(kernel)
