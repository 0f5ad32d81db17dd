"""All chance in training follows from the seed and the number of the step. So a run that goes on draws what it would have drawn."""
from __future__ import annotations

import hashlib

import torch


def seed_of(*parts: int | str) -> int:
    """A seed for a purpose: the same parts give the same seed on every machine, others one that has nothing to do with it."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # torch takes 63 bits


def generator(*parts: int | str) -> torch.Generator:
    """A generator for a purpose."""
    return torch.Generator().manual_seed(seed_of(*parts))


class Order:
    """Which images each step sees: a new permutation for each pass over them. A rest of less than a batch is left out.

    Parameters
    ----------
    count : int
        Images.
    batch : int
        Images of a step.
    seed : int
    """

    def __init__(self, count: int, batch: int, seed: int):
        self.count, self.batch, self.seed = count, batch, seed
        self.steps = max(count // batch, 1)  # of a pass
        self._pass = -1
        self._rows = torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> torch.Tensor:
        """The numbers of the images of a step."""
        number, place = divmod(step, self.steps)
        if number != self._pass:
            self._rows = torch.randperm(self.count, generator=generator(self.seed, "order", number))
            self._pass = number
        return self._rows[place * self.batch : (place + 1) * self.batch]
