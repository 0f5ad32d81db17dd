"""reference.npz: a few inputs and what the reference made of them, for who verifies an artifact without its model.

    0.input.0  0.input.1  ...  0.output.0  ...     the first set: inputs and outputs in the order of the network
    1.input.0  ...                                 the second

The inputs are random ones: images of the user's do not leave the machine with the artifact.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..runtime.arrays import read_arrays, write_arrays
from ..runtime.manifest import REFERENCE, Manifest, Port, sha256_of
from ..runtime.memory_plan import tensor_bytes
from ..runtime.sizes import numbered
from ..support.errors import TenfoldError
from .tolerance import Tolerance

if TYPE_CHECKING:
    from .verify import Run

MOST_BYTES = 32 << 20  # of the file: a set that does not fit is left out
Feeds = dict[str, np.ndarray]


def keep_reference(folder: Path, ports: tuple[Port, ...], sets: Iterable[Feeds], reference: Run, tolerance: Tolerance) -> dict[str, Any]:
    """Write reference.npz.

    Parameters
    ----------
    folder : Path
    ports : tuple of Port
        Inputs and outputs of the network.
    sets : iterable of dict
        Inputs by name.
    reference : callable
        Computes the outputs.
    tolerance : Tolerance

    Returns
    -------
    dict
        What the manifest says of it, but for the engine. Empty where not even one set fits.
    """
    size = sum(tensor_bytes(port.dtype, port.shape) for port in ports)
    arrays: dict[str, np.ndarray] = {}
    count = 0
    for feeds in sets:
        if (count + 1) * size > MOST_BYTES:
            break
        arrays |= {f"{count}.input.{number}": array for number, array in enumerate(feeds.values())}
        arrays |= {f"{count}.output.{number}": np.asarray(array) for number, array in enumerate(reference(feeds))}
        count += 1
    if not count:
        return {}
    write_arrays(folder / REFERENCE, arrays)
    facts = {"tolerance": tolerance.value, "tolerance_reason": tolerance.reason, "rms": tolerance.rms}
    return {"sha256": sha256_of(folder / REFERENCE), "inputs": count, **facts}


@dataclass(frozen=True)
class KeptReference:
    """What reference.npz holds, as a reference to judge by (`judgement.judge`): it knows no more than its outputs.

    Attributes
    ----------
    name : str
    sets : list of (dict, list of ndarray)
        Inputs by name, and outputs in order.
    tolerance : Tolerance
    """

    name: str
    sets: list[tuple[Feeds, list[np.ndarray]]]
    tolerance: Tolerance

    @classmethod
    def read(cls, folder: Path, manifest: Manifest, number: int = 1) -> KeptReference:
        """Read the file of an artifact.

        Parameters
        ----------
        folder : Path
        manifest : Manifest
        number : int
            Which of several sizes.

        Raises
        ------
        TenfoldError
            There is none, it is not the one of the manifest, or does not fit the network.
        """
        path, facts = folder / numbered(REFERENCE, number), manifest.reference
        if facts is None:
            raise TenfoldError(f"{folder}: there is no {REFERENCE} in it")
        if not path.is_file():
            raise TenfoldError(f"{path}: there is no such file, though the manifest names it: give the model with --model")
        if sha256_of(path) != facts["sha256"]:
            what = "does not match its manifest (the SHA-256 differs): changed or cut short"
            raise TenfoldError(f"{path}: {what}; give the model with --model")
        arrays = read_arrays(path)
        sets = []
        for count in range(facts["inputs"]):
            feeds = {port.name: _array(arrays, f"{count}.input.{i}", port, path) for i, port in enumerate(manifest.inputs)}
            sets.append((feeds, [_array(arrays, f"{count}.output.{i}", port, path) for i, port in enumerate(manifest.outputs)]))
        tolerance = Tolerance(facts["tolerance"], facts["tolerance_reason"], facts["rms"])
        return cls(f"{facts['engine']}, kept in {REFERENCE}", sets, tolerance)

    def __call__(self, feeds: Feeds) -> list[np.ndarray]:
        """The outputs of one of the sets of inputs."""
        return next(outputs for inputs, outputs in self.sets if inputs is feeds)

    def tail_in_float64(self, feeds: Feeds) -> NoReturn:
        """See `frontends.reference.Reference`; what only the model can tell."""
        raise TenfoldError(f"{REFERENCE} holds outputs alone")

    in_float64 = tail_in_float64

    @property
    def model(self) -> NoReturn:
        """See `frontends.reference.Reference`."""
        raise TenfoldError(f"{REFERENCE} holds outputs alone")


def _array(arrays: Any, name: str, port: Port, path: Path) -> np.ndarray:
    array = arrays.get(name) if isinstance(arrays, dict) else None
    if array is None or array.shape != port.shape or array.dtype != port.dtype:
        raise TenfoldError(f"{path}: it does not fit the network: array {name} is no {port.dtype}{list(port.shape)}")
    return array
