"""The network that adds two numbers: Çallı (2017), section 2.1.3, figure 2.4."""
from __future__ import annotations

import torch
from torch import nn


def summation(nodes: int = 1000) -> nn.Sequential:
    """Two inputs, one fully connected layer with ReLU, one output. One node is enough, where the sum is positive."""
    return nn.Sequential(nn.Linear(2, nodes), nn.ReLU(), nn.Linear(nodes, 1))


def summation_data(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of numbers, uniform in [0, 1), and their sums: the thesis generates 1,000,000, of a distribution that it does not name."""
    pairs = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    return pairs, pairs.sum(1, keepdim=True)
