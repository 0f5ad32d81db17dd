"""The autoencoder for MNIST that Çallı (2017) prunes: section 2.1.3, figures 2.5 and 3.1."""
from __future__ import annotations

from torch import nn


def autoencoder(nodes: tuple[int, int, int] = (32, 64, 32)) -> nn.Sequential:
    """Two convolutions and two transposed ones, 3 x 3 of stride 2, each with bias and batch norm; ReLU between, tanh at the end.

    Parameters
    ----------
    nodes : three int
        Filters of the layers inside: 1-32-64-32-1. Pruning made 1-2-4-3-1 of it.
    """
    first, second, third = nodes
    return nn.Sequential(
        *(nn.Conv2d(1, first, 3, 2, 1), nn.BatchNorm2d(first), nn.ReLU()),
        *(nn.Conv2d(first, second, 3, 2, 1), nn.BatchNorm2d(second), nn.ReLU()),
        *(nn.ConvTranspose2d(second, third, 3, 2, 1, 1), nn.BatchNorm2d(third), nn.ReLU()),
        *(nn.ConvTranspose2d(third, 1, 3, 2, 1, 1), nn.BatchNorm2d(1), nn.Tanh()),
    )
