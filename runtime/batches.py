"""Sizes of a network that differ in their batch alone: how a batch of any other size is put together from them."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Shapes = tuple[tuple[int, ...], ...]
Run = Callable[[int, list[np.ndarray]], Sequence[np.ndarray]]  # the number of a size, its inputs; its outputs


@dataclass(frozen=True)
class Batches:
    """Some sizes of a network.

    Attributes
    ----------
    members : dict of int to int
        The number of each size (counted from 0 in whatever lists them) by its batch, the smallest batch first.
    firsts : tuple of (tuple of int, or None)
        Of each input: None where its first size is the batch; else that size, which all members have in common.
    """

    members: dict[int, int]
    firsts: tuple[tuple[int, ...] | None, ...]

    def batch_of(self, arrays: Sequence[np.ndarray]) -> int | None:
        """The batch of inputs, which fit in everything else (`tails`); None if they disagree, or are empty."""
        found = {len(array) for array, first in zip(arrays, self.firsts, strict=True) if first is None}
        others = all(first in (None, array.shape[:1]) for array, first in zip(arrays, self.firsts, strict=True))
        return found.pop() if others and len(found) == 1 and 0 not in found else None

    def cut(self, count: int) -> list[int]:
        """The batches that a batch of `count` is run in: the largest that fits, again and again, and what is left in the smallest.

        A single larger one takes all that is left behind the first, where no more images are computed so.
        """
        batches, largest = list(self.members), max(self.members)
        whole, left = [largest] * (count // largest), count % largest
        rest: list[int] = []
        while sum(rest) < left:
            rest.append(max((batch for batch in batches if batch <= left - sum(rest)), default=batches[0]))
        single = [batch for batch in batches if left <= batch <= sum(rest)]
        return whole + (single[:1] or rest)

    def run(self, arrays: Sequence[np.ndarray], count: int, run: Run) -> list[np.ndarray]:
        """Run a batch of `count` in pieces. What a piece lacks is filled up with copies of its last image, whose outputs are left out."""
        begin, results = 0, []
        for batch in self.cut(count):
            end = min(begin + batch, count)
            parts = [_filled(array[begin:end], batch) if first is None else array for array, first in zip(arrays, self.firsts, strict=True)]
            outputs = run(self.members[batch], parts)
            results.append([output[: len(output) // batch * (end - begin)] for output in outputs])
            begin = end
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _filled(array: np.ndarray, batch: int) -> np.ndarray:
    lacking = batch - len(array)
    return array if lacking == 0 else np.concatenate([array, np.repeat(array[-1:], lacking, axis=0)])


def tails(shapes: Sequence[tuple[int, ...]]) -> Shapes:
    """What sizes that differ in their batch alone have in common."""
    return tuple((len(shape), *shape[1:]) for shape in shapes)


def find_batches(sizes: Sequence[tuple[Shapes, Shapes]]) -> dict[Shapes, Batches]:
    """Those of some sizes that a batch can be put together from, by the `tails` of their inputs.

    The inputs whose first sizes differ have the batch there, all the same; every output has as many rows for each image.

    Parameters
    ----------
    sizes : sequence of (shapes, shapes)
        Of the inputs and outputs of each.
    """
    groups: dict[Shapes, list[int]] = {}
    for number, (inputs, _) in enumerate(sizes):
        groups.setdefault(tails(inputs), []).append(number)
    found = {key: _batches([(number, *sizes[number]) for number in numbers]) for key, numbers in groups.items()}
    return {key: batches for key, batches in found.items() if batches is not None}


def _batches(group: Sequence[tuple[int, Shapes, Shapes]]) -> Batches | None:
    differing = [{shape[:1] for shape in shapes} for shapes in zip(*(inputs for _, inputs, _ in group), strict=True)]
    firsts = tuple(each.pop() if len(each) == 1 else None for each in differing)
    members, forms = {}, set()
    for number, inputs, outputs in group:
        batch = {shape[0] for shape, first in zip(inputs, firsts, strict=True) if first is None}
        if len(batch) != 1 or 0 in batch or not all(outputs) or any(shape[0] % min(batch) for shape in outputs):
            return None
        members[min(batch)] = number
        forms.add(tuple((shape[0] // min(batch), *shape[1:]) for shape in outputs))
    return Batches(dict(sorted(members.items())), firsts) if len(forms) == 1 else None
