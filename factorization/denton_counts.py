"""Operations and parameters of the forms of Denton et al. (2014): the formulas of tables 1 and 2.

C, F: input and output channels; X, Y: extent of the kernel; N M: pixels of the input; N M / D^2 those of the output, D being the stride.
An operation is a multiplication and an addition. The last term of the SVD form is printed without D^-2 in table 1, where the outer product
form has it: its last stage runs at the pixels of the output, so it is here.

The reductions that table 2 prints do not all follow from its formulas. The monochromatic one (3 x, C' = 6) does, and that of dense
layer 2 (5.8 x and 3.14 x, K = 350 and 650). For G = 48, H = 2, K = 6 the formula gives 6.9 x where 5.3 x is printed; for G = H = 2,
K1 = 19, K2 = 24 it gives 10.0 x where 3.9 x is printed. Those of dense layers 1 and 3 come out for 18,432 inputs (13.4 x, 3.5 x) and for
4,000 outputs (8.1 x, 2.4 x), not for the 9,216 and 1,000 of such a network.
"""
from __future__ import annotations

from math import prod

from .layer import Layer


def convolution_operations(layer: Layer) -> int:
    """X Y C F N M D^-2."""
    return convolution_parameters(layer) * prod(layer.output_size)


def monochromatic_operations(layer: Layer, colours: int) -> int:
    """C' C N M + X Y F N M D^-2, for one image."""
    return colours * layer.in_channels * prod(layer.input_size) + prod(layer.kernel) * layer.out_channels * prod(layer.output_size)


def outer_product_operations(layer: Layer, g: int, h: int, k: int) -> int:
    """Operations of the outer product form for one image: G H K (N M C/G + X Y N M D^-2 + F/H N M D^-2).

    Parameters
    ----------
    layer : Layer
        The convolution.
    g, h : int
        Clusters of input channels, and of filters.
    k : int
        Rank of a block.
    """
    at_input, at_output = prod(layer.input_size), prod(layer.output_size)
    return g * h * k * (at_input * (layer.in_channels // g) + (prod(layer.kernel) + layer.out_channels // h) * at_output)


def svd_operations(layer: Layer, g: int, h: int, k1: int, k2: int) -> int:
    """Operations of the SVD form for one image: G H N M (C/G K1 + K1 X Y K2 D^-2 + K2 F/H D^-2).

    Parameters
    ----------
    layer : Layer
        The convolution.
    g, h : int
        Clusters of input channels, and of filters.
    k1, k2 : int
        Ranks of a block.
    """
    at_input, at_output = prod(layer.input_size), prod(layer.output_size)
    return g * h * (at_input * (layer.in_channels // g) * k1 + at_output * k2 * (k1 * prod(layer.kernel) + layer.out_channels // h))


def convolution_parameters(layer: Layer) -> int:
    """C X Y F."""
    return layer.in_channels * prod(layer.kernel) * layer.out_channels


def monochromatic_parameters(layer: Layer, colours: int) -> int:
    """C C' + X Y F."""
    return layer.in_channels * colours + prod(layer.kernel) * layer.out_channels


def outer_product_parameters(layer: Layer, g: int, h: int, k: int) -> int:
    """Weights of the outer product form: G H K (C/G + X Y + F/H).

    Parameters
    ----------
    layer : Layer
        The convolution.
    g, h : int
        Clusters of input channels, and of filters.
    k : int
        Rank of a block.
    """
    return g * h * k * (layer.in_channels // g + prod(layer.kernel) + layer.out_channels // h)


def svd_parameters(layer: Layer, g: int, h: int, k1: int, k2: int) -> int:
    """Weights of the SVD form: G H (C/G K1 + K1 X Y K2 + K2 F/H).

    Parameters
    ----------
    layer : Layer
        The convolution.
    g, h : int
        Clusters of input channels, and of filters.
    k1, k2 : int
        Ranks of a block.
    """
    return g * h * (layer.in_channels // g * k1 + k1 * prod(layer.kernel) * k2 + k2 * (layer.out_channels // h))


def dense_parameters(n: int, m: int) -> int:
    """N M."""
    return n * m


def dense_svd_parameters(n: int, m: int, k: int) -> int:
    """Weights of a dense layer in SVD form: N K + K M.

    Parameters
    ----------
    n, m : int
        Inputs and outputs of the layer.
    k : int
        Rank.
    """
    return n * k + k * m
