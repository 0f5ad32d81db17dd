"""A pruned autoencoder in a picture: nodes and loss over the training cycles, and images beside what it makes of them.

Source: Çallı (2017), figure 3.1.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...plots.canvas import panels, save
from ..pruning import Cycle


def write_picture(network: nn.Module, cycles: Sequence[Cycle], images: torch.Tensor, path: Path) -> None:
    """Draw.

    Parameters
    ----------
    network : nn.Module
        After the last cycle.
    cycles : sequence of Cycle
    images : Tensor, (N, 1, H, W)
        From -1 to 1: some of the test.
    path : Path
    """
    with torch.inference_mode():
        made = network.eval()(images)
    figure, (nodes, loss, pairs) = panels(3)
    numbers = [cycle.number for cycle in cycles]
    for place, name in enumerate(cycles[0].widths):
        nodes.plot(numbers, [cycle.widths[name] for cycle in cycles], marker=".", label=f"layer {place + 1}")
    nodes.set(xlabel="cycle", ylabel="nodes", yscale="log")
    nodes.legend(fontsize="small")
    loss.plot(numbers, [cycle.loss for cycle in cycles], marker=".")
    loss.set(xlabel="cycle", ylabel="test loss", ylim=(0, None))
    rows = [np.concatenate([image[0].numpy() for image in part], axis=1) for half in (slice(0, 5), slice(5, 10))
            for part in (images[half], made[half])]
    pairs.imshow(np.concatenate(rows), cmap="gray", vmin=-1, vmax=1)
    widths = "-".join(map(str, (images.shape[1], *cycles[-1].widths.values())))
    pairs.set(title=f"images, and what {widths} makes of them", xticks=[], yticks=[])
    save(figure, [path])
