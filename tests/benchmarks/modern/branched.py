"""Networks whose parallel convolutions could be one, as they are trained: RepVGG, MobileOne."""
from __future__ import annotations

from modern.graph import Graph, blocks


def repvgg_a0(net: Graph) -> list[str]:
    """Ding et al. (2021), as timm has it: 3 x 3, 1 x 1 and identity with batch norms, added."""
    x = net.input
    for filters, stride in blocks((1, 48, 2), (2, 48, 2), (4, 96, 2), (14, 192, 2), (1, 1280, 2)):
        branches = [net.conv(x, filters, 1, stride), net.conv(x, filters, 3, stride)]
        if stride == 1 and filters == net.channels(x):
            branches.append(net.batch_norm(x))
        x = net.activation(net.add(*branches), "relu")
    return [net.classifier(x)]


def _one(net: Graph, x: str, filters: int, kernel: int, stride: int, depthwise: bool, branches: int) -> str:
    """Vasu et al. (2023): `branches` times the same convolution, one of 1 x 1 beside larger ones, and the identity, added.

    Parameters
    ----------
    net : Graph
    x : str
    filters, kernel, stride : int
    depthwise : bool
    branches : int
    """
    groups = net.channels(x) if depthwise else 1
    parts = [net.batch_norm(x)] if stride == 1 and filters == net.channels(x) else []
    if kernel > 1:
        parts.append(net.conv(x, filters, 1, stride, groups=groups))
    parts += [net.conv(x, filters, kernel, stride, groups=groups) for _ in range(branches)]
    return net.activation(net.add(*parts), "relu")


def mobileone_s0(net: Graph) -> list[str]:
    """Vasu et al. (2023), as timm has it: four of each convolution."""
    x = _one(net, net.input, 48, 3, 2, False, 1)
    for filters, stride in blocks((2, 48, 2), (8, 128, 2), (10, 256, 2), (1, 1024, 2)):
        x = _one(net, x, net.channels(x), 3, stride, True, 4)
        x = _one(net, x, filters, 1, 1, False, 4)
    return [net.classifier(x)]
