"""An artifact that was compiled for several sizes: each call takes the one that fits, or puts a batch together from several."""
from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..support.errors import TenfoldError, TenfoldWarning
from .artifact import Array, Artifact, with_tensors
from .batches import find_batches, tails
from .sizes import shapes_text


class SizedArtifact(Artifact):
    """An artifact of several sizes. What it says of itself (`manifest`, `inputs`, `outputs`) is of the first.

    Attributes
    ----------
    sizes : tuple of Artifact
        Each size, as an artifact that takes no other.
    independent : bool
        Whether a batch may be cut into others, or filled up: no image's outputs depend on the others in its batch.
    """

    def __init__(self, folder: Path, sizes: Sequence[Artifact], independent: bool) -> None:
        super().__init__(folder, sizes[0].manifest, sizes[0].machine)
        self.independent = independent
        self._sizes = tuple(sizes)
        forms = [(tuple(port.shape for port in size.inputs), tuple(port.shape for port in size.outputs)) for size in sizes]
        self._numbers = {inputs: number for number, (inputs, _) in enumerate(forms)}
        self._batches = find_batches(forms) if independent else {}
        self._told = False

    @property
    def sizes(self) -> tuple[Artifact, ...]:
        """See `Artifact.sizes`."""
        return self._sizes

    def record(self, inputs: Array | Mapping[str, Array]) -> list[tuple[str, Any, tuple[Any, ...]]]:
        """As of `Artifact`; inputs of one of the sizes."""
        arrays = self._converted_all(self._in_order(inputs))
        number = self._numbers.get(tuple(array.shape for array in arrays))
        if number is None:
            raise self._unknown(arrays)
        return self._sizes[number].record({port.name: array for port, array in zip(self.inputs, arrays, strict=True)})

    def _results(self, inputs: Array | Mapping[str, Array]) -> list[Array]:
        arrays = self._converted_all(self._in_order(inputs))
        shapes = tuple(array.shape for array in arrays)
        number = self._numbers.get(shapes)
        return with_tensors(inputs, self._run(number, arrays) if number is not None else self._in_pieces(arrays))

    def _converted_all(self, values: list[Array]) -> list[np.ndarray]:
        pairs = zip(self.inputs, values, strict=True)
        return [value if isinstance(value, np.ndarray) else self._converted(port, value) for port, value in pairs]

    def _run(self, number: int, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return self._sizes[number].compute(arrays)

    def _in_pieces(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        batches = self._batches.get(tails([array.shape for array in arrays]))
        count = None if batches is None else batches.batch_of(arrays)
        if batches is None or count is None:
            raise self._unknown(arrays)
        if not self._told:
            self._told = True
            pieces = batches.cut(count)
            filled = f", {sum(pieces) - count} of them filled up" if sum(pieces) > count else ""
            # The call of `__call__` or `run` is the user's.
            warnings.warn(
                f"{self._name}: a batch of {count} runs as {_counted(pieces)}{filled}; a size of its own (--batch) may be faster",
                TenfoldWarning,
                stacklevel=4,
            )
        return batches.run(arrays, count, self._run)

    def _unknown(self, arrays: list[np.ndarray]) -> TenfoldError:
        given = ", ".join(f"{port.name} {'x'.join(map(str, array.shape))}" for port, array in zip(self.inputs, arrays, strict=True))
        known = "; ".join(shapes_text(size.manifest) for size in self._sizes)
        why = "" if self.independent else "; no other batch can be put together: its images depend on each other"
        return TenfoldError(f"{self._name}: it was not compiled for {given}, but for: {known}{why}")


def _counted(pieces: Sequence[int]) -> str:
    """``16 + 16 + 4`` -> ``2 x 16 + 4``."""
    counts = {batch: pieces.count(batch) for batch in pieces}
    return " + ".join(f"{count} x {batch}" if count > 1 else str(batch) for batch, count in counts.items())
