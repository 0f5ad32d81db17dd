"""Inputs from a seed, and what another engine made of them, as a sample: the box carries neither images nor whole results."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .case import REFERENCE, Case

POOL = 8  # different images; further ones are these, scaled
SAMPLE = 2048  # numbers of an image's result that are kept
# Largest difference over the largest number, by the precision of operands, as `tenfold compile` has it.
ROUNDED = 2**0.5 * 8 * 2.0**-11
TOLERANCES = {"float32": 1e-4, "tf32": ROUNDED, "fp16": ROUNDED}


def images(shape: tuple[int, ...], seed: int, chosen: Sequence[int] | None = None) -> np.ndarray:
    """Images of a batch.

    Parameters
    ----------
    shape : tuple of int
        Of the batch.
    seed : int
    chosen : sequence of int, optional
        Which of them; default: all. No two of a batch are the same.
    """
    pool = [np.random.default_rng([seed, i]).standard_normal(shape[1:], np.float32) for i in range(min(POOL, shape[0]))]
    numbers = range(shape[0]) if chosen is None else chosen
    result = np.empty((len(numbers), *shape[1:]), np.float32)
    for place, number in enumerate(numbers):
        np.multiply(pool[number % POOL], np.float32(1 + number // POOL / 16), out=result[place])
    return result


def inputs_of(case: Case, chosen: Sequence[int] | None = None) -> list[np.ndarray]:
    """The inputs of a case."""
    return [images(shape, seed, chosen) for seed, (_, shape, _) in enumerate(case.inputs)]


def chosen_images(batch: int) -> list[int]:
    """Those whose results are compared: the first, one in the middle, the last."""
    return sorted({0, batch // 2, batch - 1})


@dataclass(frozen=True)
class Reference:
    """A sample of a result: for each chosen image the positions in its flat result, and the values there."""

    positions: np.ndarray
    values: np.ndarray
    largest: float

    @classmethod
    def of(cls, results: np.ndarray) -> Reference:
        """Take a sample of the results of the chosen images: the first, the last, and others at random."""
        flat = results.reshape(len(results), -1)
        rng, size = np.random.default_rng(0), flat.shape[1]
        rows = [np.unique([0, size - 1, *rng.choice(size, min(SAMPLE, size), replace=False)])[: min(SAMPLE, size)] for _ in flat]
        width = min(len(row) for row in rows)
        positions = np.stack([np.append(row[: width - 1], row[-1]) for row in rows])
        return cls(positions, np.take_along_axis(flat, positions, 1), float(np.abs(flat).max()))

    def write(self, folder: Path) -> None:
        """Write it to the folder of a case."""
        np.savez_compressed(folder / REFERENCE, positions=self.positions, values=self.values, largest=self.largest)

    @classmethod
    def read(cls, folder: Path) -> Reference:
        """Read what `write` wrote."""
        with np.load(folder / REFERENCE) as file:
            return cls(file["positions"], file["values"], float(file["largest"]))

    def error(self, results: np.ndarray) -> float:
        """The largest difference of a batch's results, over the largest number; infinite where one is no number."""
        chosen = results[chosen_images(len(results))].reshape(len(self.positions), -1)
        found = float(np.abs(np.take_along_axis(chosen, self.positions, 1) - self.values).max()) / self.largest
        return found if np.isfinite(found) else float("inf")
