"""Arrays to run networks on: random ones, and files of the user."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..runtime.arrays import read_arrays
from ..support.errors import TenfoldError

SEED = 0


class Spec(Protocol):
    """What is needed to know of an input: `manifest.Port` and `frontends.TensorSpec` both are one."""

    @property
    def name(self) -> str:
        """What the input is called."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    @property
    def dtype(self) -> str:
        """NumPy's name of its element type."""


def random_inputs(inputs: Sequence[Spec], seed: int = SEED) -> dict[str, np.ndarray]:
    """One array for each input: standard normal floats, booleans, all 8-bit numbers, and 0 or 1 for longer ones (they may be indices)."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for spec in inputs:
        dtype = np.dtype(spec.dtype)
        values: np.ndarray
        if dtype.kind == "f":
            values = rng.standard_normal(spec.shape)
        else:
            low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype in (np.int8, np.uint8) else (0, 1)
            values = rng.integers(low, high, spec.shape, endpoint=True)
        arrays[spec.name] = np.asarray(values).astype(dtype)
    return arrays


@dataclass(frozen=True)
class Data:
    """Preprocessed images and, where known, their labels.

    Attributes
    ----------
    x : ndarray
        (N, ...) in the dtype of the network's input.
    y : ndarray or None
        (N,) whole numbers.
    name : str
        What errors call it.
    held_out : ndarray or None
        (N,) booleans: which images the network was not trained on. A search verifies on these, and on no others.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    name: str = "data"
    held_out: np.ndarray | None = None

    @classmethod
    def of(cls, data: Any) -> Data:
        """From a Data, an array, a dict with ``x`` and maybe ``y`` and ``held_out``, or a path to an .npz (or .npy) of these.

        Raises
        ------
        TenfoldError
            There is no ``x``, its length differs from that of ``y`` or ``held_out``, it holds NaN, or ``held_out`` no booleans.
        """
        if isinstance(data, Data):
            return data
        name = "data"
        if isinstance(data, (str, os.PathLike)):
            name = str(data)
            data = read_arrays(data)
        if not isinstance(data, Mapping):
            data = {"x": np.asarray(data)}
        if "x" not in data:
            found = ", ".join(data) or "nothing"
            raise TenfoldError(f"{name}: there is no array 'x' in it (there is {found}); x holds the images, y the labels")
        x, y = np.asarray(data["x"]), data.get("y")
        if not x.ndim:
            raise TenfoldError(f"{name}: x holds a single number, not images")
        if y is not None and (np.asarray(y).ndim != 1 or len(y) != len(x)):
            raise TenfoldError(f"{name}: y must hold one label for each image: it has shape {list(np.shape(y))}, x has {list(x.shape)}")
        held_out = data.get("held_out")
        if held_out is not None and (np.shape(held_out) != (len(x),) or np.asarray(held_out).dtype != bool):
            facts = f"{np.asarray(held_out).dtype}{list(np.shape(held_out))}"
            raise TenfoldError(f"{name}: held_out must hold one boolean for each of the {len(x)} images: it is {facts}")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise TenfoldError(f"{name}: x holds NaN or infinity")
        return cls(x, None if y is None else np.asarray(y), name, None if held_out is None else np.asarray(held_out))

    def check(self, spec: Spec, model: str) -> None:
        """Raise TenfoldError unless the images fit the input `spec` of `model`."""
        if self.x.ndim != len(spec.shape) or self.x.shape[1:] != tuple(spec.shape[1:]):
            expected = ", ".join(["N", *map(str, spec.shape[1:])])
            raise TenfoldError(f"{self.name}: x has shape {list(self.x.shape)}, input {spec.name!r} of {model} needs [{expected}]")
        if self.x.dtype != spec.dtype:
            raise TenfoldError(f"{self.name}: x has dtype {self.x.dtype}, input {spec.name!r} of {model} needs {spec.dtype}")
        if len(self.x) < spec.shape[0]:
            raise TenfoldError(f"{self.name}: x has {len(self.x)} images, one batch of {model} needs {spec.shape[0]}")

    def batches(self, size: int, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Consecutive (x, y) of `size` images, at most `limit` of them. A last batch that is not full is left out."""
        for start in range(0, len(self.x) - size + 1, size):
            if limit is not None and start >= limit * size:
                return
            yield self.x[start : start + size], None if self.y is None else self.y[start : start + size]
