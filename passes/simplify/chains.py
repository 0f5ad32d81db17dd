"""Layers that follow each other with nothing between -> one layer, where that is cheaper.

    Conv 1 x 1 -> Conv 3 x 3     ->   Conv 3 x 3       W[o, i, t] = sum over m of W2[o, m, t] W1[m, i]
    Conv 3 x 3 -> Conv 1 x 1     ->   Conv 3 x 3       likewise
    Gemm -> Gemm                 ->   Gemm             W2 W1

A bottleneck between the two is cheaper than what it would become, and stays. If the second one pads, the first must have no bias, and one
tap (or as many as its stride): at the border the second would read its zeros, and not what the first makes there. Strides multiply;
dilated kernels are merged where their taps lie on one grid.
"""
from __future__ import annotations

from .editing import operator
from .linear import LAYERS, Linear
from .runs import Runs


class Chains(Runs):
    """Compose layers that follow each other."""

    name = "chains"

    def wants(self, run: Linear) -> bool:
        """Two layers or more, and what is linear between them."""
        return sum(operator(node) in LAYERS for node in run.nodes) > 1
