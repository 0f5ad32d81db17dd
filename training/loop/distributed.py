"""Several processes that train one network together: started by torchrun, joined by PyTorch's own DistributedDataParallel.

Each process takes its share of every batch, and gradients are averaged. So a step is that of one process with the whole batch, but for
batch norms, which see the share.
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Group:
    """The processes that train.

    Attributes
    ----------
    rank, size : int
        The number of this one, from 0 on, and how many there are.
    device : torch.device
        That this one works on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Numbers, each added up over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device if self.device.type == "cuda" else "cpu")
        dist.all_reduce(total)
        return total.tolist()

    def any(self, value: bool) -> bool:
        """Whether it is true in one of the processes."""
        return self.sums(float(value))[0] > 0

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leading process runs the block before the others do."""
        if not self.leads:
            self.sums(0.0)
        try:
            yield
        finally:
            if self.leads:
                self.sums(0.0)

    def same(self, value: int) -> int:
        """The number that the leading process has."""
        return int(self.sums(float(value) if self.leads else 0.0)[0])


@contextmanager
def joined(device: torch.device | str | None = None) -> Iterator[Group]:
    """The group that torchrun started, or this process alone; left when the block ends.

    Parameters
    ----------
    device : torch.device, optional
        Default: a GPU, each process its own, where there is one.
    """
    rank, size = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    group = Group(rank, size, torch.device(device))
    if size == 1 or dist.is_initialized():
        yield group
        return
    dist.init_process_group("nccl" if group.device.type == "cuda" else "gloo")
    try:
        yield group
    finally:
        dist.destroy_process_group()
