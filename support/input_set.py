"""Images for networks of several inputs: arrays that belong together image by image, and are indexed as if they were one."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class InputSet:
    """One array for each input, by name; all have as many images.

    ``len(images)`` and ``images[0:32]`` mean what they mean for one array.
    """

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, which: Any) -> InputSet:
        return InputSet({name: array[which] for name, array in self.arrays.items()})

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())


Images = np.ndarray | InputSet  # an array where the network has one input


def by_name(images: Images, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays by the names of a network's inputs, in their order: an array is that of the first."""
    if isinstance(images, InputSet):
        return {name: images.arrays[name] for name in names}
    return {names[0]: images}


def part_of(images: Images, which: Any) -> Images:
    """Some of the images, each array in one piece of memory."""
    if isinstance(images, InputSet):
        return InputSet({name: np.ascontiguousarray(array[which]) for name, array in images.arrays.items()})
    return np.ascontiguousarray(images[which])


def filled_up(images: Images, count: int) -> Images:
    """So many images: where there are fewer, the last one is repeated."""
    if isinstance(images, InputSet):
        return InputSet({name: _filled_up(array, count) for name, array in images.arrays.items()})
    return _filled_up(images, count)


def _filled_up(array: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], count - len(array), axis=0)]) if len(array) < count else array
