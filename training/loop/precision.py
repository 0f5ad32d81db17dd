"""Whether bfloat16 is faster than float32 for a network on this machine: measured, since it depends on both."""
from __future__ import annotations

import copy
import time

import torch
from torch import nn

from .objectives import Objective

SECONDS = 1.0  # for both together
WORTH = 0.9  # of the time in float32: bfloat16 is less exact


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a forward pass has this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def faster_precision(network: nn.Module, x: torch.Tensor, y: torch.Tensor, objective: Objective, seconds: float = SECONDS) -> str:
    """``bfloat16`` or ``float32``: in which a step on this batch is faster. The network and torch's random numbers stay as they are.

    Parameters
    ----------
    network : nn.Module
        In training mode.
    x, y : Tensor
        A batch, on the network's device.
    objective : Objective
        What is minimised.
    seconds : float
        To measure for. Each is run twice at the least.
    """
    trial = copy.deepcopy(network)
    best = {"float32": float("inf"), "bfloat16": float("inf")}
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        end = time.perf_counter() + seconds
        rounds = 0
        while rounds < 2 or time.perf_counter() < end:
            for precision in best:
                _wait(x.device)
                start = time.perf_counter()
                with autocast(x.device, precision):
                    output = trial(x)
                objective.loss(output.float(), x, y).backward()
                _wait(x.device)
                if rounds:  # the first warms up
                    best[precision] = min(best[precision], time.perf_counter() - start)
            rounds += 1
    return "bfloat16" if best["bfloat16"] < WORTH * best["float32"] else "float32"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
