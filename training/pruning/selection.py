"""From what layers say about their inputs to the nodes that go."""
from __future__ import annotations

from collections.abc import Mapping

from ...support.errors import TenfoldError
from .channels import Channels
from .criteria import Criterion
from .statistics import NodeStatistics


def vote(channels: Channels, statistics: Mapping[str, NodeStatistics], criterion: Criterion, multiple: int = 1) -> set[int]:
    """Nodes that a criterion removes in every layer that reads them: those to be kept are united, as Çallı (2017), section 2.4.2, says.

    Parameters
    ----------
    channels : Channels
        Of the network.
    statistics : mapping of str to NodeStatistics
        As of `collect`.
    criterion : callable
        As of `criteria`.
    multiple : int
        Of each group of nodes a multiple of it is kept, such as the lanes of the target's vectors: those of the highest variance stay.

    Returns
    -------
    set of int
        Never all nodes of a group.
    """
    going: set[int] = set()
    staying = set(channels.kept)
    for found in statistics.values():
        if found.votes:
            removed = criterion(found)
            going.update(found.nodes[removed].tolist())
            staying.update(found.nodes[~removed].tolist())
    return _rounded(channels, statistics, going - staying, multiple)


def lowest(channels: Channels, statistics: Mapping[str, NodeStatistics], part: float, multiple: int = 1) -> set[int]:
    """Of each group of nodes, the given part with the lowest variance.

    Parameters
    ----------
    channels, statistics, multiple
        As of `vote`.
    part : float
        From 0 to 1.

    Raises
    ------
    TenfoldError
        A part out of range.
    """
    if not 0 <= part <= 1:
        raise TenfoldError(f"a part {part} of the nodes: from 0 to 1")
    scores = variances(channels, statistics)
    going: set[int] = set()
    for space in channels.spaces:
        ranked = sorted((node for node in space if node in scores), key=lambda node: scores[node])
        going.update(ranked[: int(part * len(space) + 1e-9)])
    return _rounded(channels, statistics, going, multiple)


def variances(channels: Channels, statistics: Mapping[str, NodeStatistics]) -> dict[int, float]:
    """The variance of each node, over the mean of its layer's: the largest of those that layers see."""
    scores: dict[int, float] = {}
    for found in statistics.values():
        if found.votes:
            mean = found.variance.mean() or 1.0
            for node, variance in zip(found.nodes.tolist(), (found.variance / mean).tolist(), strict=True):
                scores[node] = max(scores.get(node, 0.0), variance)
    return scores


def _rounded(channels: Channels, statistics: Mapping[str, NodeStatistics], going: set[int], multiple: int) -> set[int]:
    """Without some that stay: so that every layer makes one node, and a multiple of them."""
    if multiple < 1:
        raise TenfoldError(f"multiple {multiple}: at least 1")
    scores = variances(channels, statistics)
    layers = sorted(({*use.outputs.tolist()} for use in channels.uses if use.kind == "layer"), key=len)
    going = set(going)
    changed = True
    while changed:  # layers whose outputs are added up have nodes in common: what one takes back may be one too many for another
        changed, counted = False, set()
        for nodes in layers:
            left = len(nodes - going)
            wanted = min(-(-max(left, 1) // multiple) * multiple, len(nodes))
            order = sorted(nodes & going, key=lambda node: (node not in counted, scores.get(node, 0.0)), reverse=True)
            going -= {*order[: wanted - left]}
            changed |= wanted > left
            counted |= nodes
    return going
