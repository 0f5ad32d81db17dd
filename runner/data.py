"""Arrays to run networks on: random ones, and files of the user."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..runtime.arrays import read_arrays
from ..support.errors import TenfoldError
from ..support.input_set import Images, InputSet, by_name

SEED = 0
IMAGES, LABELS, HELD_OUT = "x", "y", "held_out"  # arrays of a data file that are no network's own names


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
    x : ndarray or InputSet
        (N, ...) in the dtype of the network's input; of a network with several inputs one array for each.
    y : ndarray or None
        (N,) whole numbers; for a metric of the user's (N, ...) of anything.
    name : str
        What errors call it.
    held_out : ndarray or None
        (N,) booleans: which images the network was not trained on. A search verifies on these, and on no others.
    more : dict of str to ndarray
        Further arrays, which a metric may read: then they have N rows.
    """

    x: Images
    y: np.ndarray | None = None
    name: str = "data"
    held_out: np.ndarray | None = None
    more: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Any, inputs: Sequence[Spec] = (), any_labels: bool = False, name: str = "data") -> Data:
        """From a Data, an array, a dict with ``x`` and maybe ``y`` and ``held_out``, or a path to an .npz (or .npy) of these.

        Parameters
        ----------
        data : Data, ndarray, dict or path
        inputs : sequence of Spec
            Of the network. Where it has several, their names are those of the arrays; where it has one, its name does as well as ``x``.
        any_labels : bool
            Whether ``y``, and what else there is, may have any form, for a metric to make sense of.
        name : str
            What errors call it, where it is no path.

        Raises
        ------
        TenfoldError
            There is no array for an input, its length differs from that of ``y`` or ``held_out``, it holds NaN, or ``held_out`` no
            booleans.
        """
        if isinstance(data, Data):
            return data
        if isinstance(data, (str, os.PathLike)):
            name = str(data)
            data = read_arrays(data)
        if not isinstance(data, Mapping):
            data = {IMAGES: np.asarray(data)}
        x, taken = _images(data, name, inputs)
        others = {key: np.asarray(value) for key, value in data.items() if key not in taken and value is not None}
        y, held_out = others.pop(LABELS, None), others.pop(HELD_OUT, None)
        form = f"{_first(x)} has {list(_arrays(x)[_first(x)].shape)}"
        if y is not None and (y.ndim < 1 or (y.ndim != 1 and not any_labels) or len(y) != len(x)):
            raise TenfoldError(f"{name}: y must hold one label for each image: it has shape {list(y.shape)}, {form}")
        if held_out is not None and (np.shape(held_out) != (len(x),) or np.asarray(held_out).dtype != bool):
            facts = f"{np.asarray(held_out).dtype}{list(np.shape(held_out))}"
            raise TenfoldError(f"{name}: held_out must hold one boolean for each of the {len(x)} images: it is {facts}")
        for key, array in _arrays(x).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise TenfoldError(f"{name}: {key} holds NaN or infinity")
        return cls(x, y, name, held_out, others if any_labels else {})

    def check(self, spec: Spec, model: str) -> None:
        """Raise TenfoldError unless the images fit the only input `spec` of `model`."""
        self.check_all([spec], model)

    def check_all(self, inputs: Sequence[Spec], model: str) -> None:
        """Raise TenfoldError unless the images fit the `inputs` of `model`."""
        several = isinstance(self.x, InputSet)
        names = list(self.x.arrays) if isinstance(self.x, InputSet) else [IMAGES]
        if not several and len(inputs) != 1:
            raise TenfoldError(f"{self.name}: there is one array of images, {model} has {len(inputs)} inputs: {_named(inputs)}")
        missing = [spec.name for spec in inputs if several and spec.name not in names]
        if missing:
            raise TenfoldError(f"{self.name}: there is no array {missing[0]!r}, an input of {model}, in it (there is {', '.join(names)})")
        for spec in inputs:
            x, called = (self.x.arrays[spec.name], spec.name) if isinstance(self.x, InputSet) else (self.x, IMAGES)
            if x.ndim != len(spec.shape) or x.shape[1:] != tuple(spec.shape[1:]):
                expected = ", ".join(["N", *map(str, spec.shape[1:])])
                raise TenfoldError(f"{self.name}: {called} has shape {list(x.shape)}, input {spec.name!r} of {model} needs [{expected}]")
            if x.dtype != spec.dtype:
                raise TenfoldError(f"{self.name}: {called} has dtype {x.dtype}, input {spec.name!r} of {model} needs {spec.dtype}")
            if len(x) < spec.shape[0]:
                raise TenfoldError(f"{self.name}: {called} has {len(x)} images, one batch of {model} needs {spec.shape[0]}")

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """What a metric gets: ``y`` and all further arrays, by name."""
        return {**({} if self.y is None else {LABELS: self.y}), **self.more}

    def batches(self, size: int, limit: int | None = None) -> Iterator[tuple[Any, np.ndarray | None]]:
        """Consecutive (x, y) of `size` images, at most `limit` of them. A last batch that is not full is left out."""
        for start in range(0, len(self.x) - size + 1, size):
            if limit is not None and start >= limit * size:
                return
            yield self.x[start : start + size], None if self.y is None else self.y[start : start + size]

    def feeds(self, inputs: Sequence[Spec], limit: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Arrays by name for consecutive runs of a network with these inputs, at most `limit` of them."""
        for x, _ in self.batches(inputs[0].shape[0], limit):
            yield {name: np.ascontiguousarray(array) for name, array in by_name(x, [spec.name for spec in inputs]).items()}


def _images(data: Mapping[str, Any], name: str, inputs: Sequence[Spec]) -> tuple[Images, set[str]]:
    """The arrays that the network reads, of those in a file, and their names there."""
    found = ", ".join(data) or "nothing"
    if len(inputs) > 1:
        missing = [spec.name for spec in inputs if spec.name not in data]
        if missing:
            needed = f"it needs one for each of {_named(inputs)}"
            raise TenfoldError(f"{name}: there is no array {missing[0]!r} in it (there is {found}); {needed}")
        images = InputSet({spec.name: np.asarray(data[spec.name]) for spec in inputs})
        for key, array in images.arrays.items():
            if not array.ndim:
                raise TenfoldError(f"{name}: {key} holds a single number, not one for each image")
            if len(array) != len(images):
                facts = f"{key} has {len(array)} images, {inputs[0].name} {len(images)}"
                raise TenfoldError(f"{name}: {facts}: every input must have as many")
        return images, set(images.arrays)
    key = IMAGES if IMAGES in data or not inputs or inputs[0].name not in data else inputs[0].name
    if key not in data:
        raise TenfoldError(f"{name}: there is no array 'x' in it (there is {found}); x holds the images, y the labels")
    x = np.asarray(data[key])
    if not x.ndim:
        raise TenfoldError(f"{name}: {key} holds a single number, not images")
    return x, {key}


def _arrays(x: Images) -> Mapping[str, np.ndarray]:
    return x.arrays if isinstance(x, InputSet) else {IMAGES: x}


def _first(x: Images) -> str:
    return next(iter(_arrays(x)))


def _named(inputs: Sequence[Spec]) -> str:
    return ", ".join(repr(spec.name) for spec in inputs)
