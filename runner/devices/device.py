"""What runs compiled networks: the contract of a device, and what is loaded on one."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ...runtime.manifest import CUDA_LIBRARY, LIBRARY, WEIGHTS, Manifest, Port, sha256_of
from ...support.errors import TenfoldError
from ...targets.gpu_target import CUDA

KERNELS, NETWORK = "kernels", "network"  # what is timed: the kernels alone, or the whole call
HERE = "here"

Handle = int
Self = TypeVar("Self", bound="Device")
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Program:
    """A compiled network, as a device loads it.

    Attributes
    ----------
    folder : Path
        With model.so (of a GPU: model.cuda) and weights.bin. A device needs them while it loads, and not any more behind that.
    inputs, outputs : tuple of Port
        In the order of the network.
    threads : int
    kernels : frozenset of str
        The functions that count as kernels, where these are timed.
    """

    folder: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    threads: int
    kernels: frozenset[str] = field(default=frozenset())

    @property
    def files(self) -> tuple[str, str]:
        """The names of its files in the folder: code, and weights."""
        return (CUDA_LIBRARY if (self.folder / CUDA_LIBRARY).exists() else LIBRARY), WEIGHTS

    @classmethod
    def of_artifact(cls, folder: Path, manifest: Manifest, threads: int | None = None) -> Program:
        """The network of an artifact folder.

        Parameters
        ----------
        folder : Path
        manifest : Manifest
            Of the folder.
        threads : int, optional
            Default: those of the manifest.

        Raises
        ------
        TenfoldError
            A file is missing, or is not the one of the manifest.
        """
        for name, stated in ((manifest.library, manifest.library_sha256), (WEIGHTS, manifest.weights_sha256)):
            if not (folder / name).is_file():
                raise TenfoldError(f"{folder}: not an artifact: there is no {name} in it")
            if sha256_of(folder / name) != stated:
                what = "does not match its manifest (the SHA-256 differs): changed or cut short; compile the network again"
                raise TenfoldError(f"{folder / name}: {what}")
        kernels = frozenset(kernel["function"] for kernel in manifest.kernels)
        return cls(folder, manifest.inputs, manifest.outputs, threads or manifest.threads, kernels)


class Device(Protocol):
    """Loads compiled networks, runs them and times them. What it has loaded goes with it.

    Every method raises TenfoldError where the device is gone, or where what it loads or runs fails.

    Attributes
    ----------
    name : str
        What ``--device`` calls it.
    is_real : bool
        Whether its times are those of a CPU.
    """

    name: str
    is_real: bool

    @property
    def cores(self) -> int:
        """Physical cores that a network may use there."""

    def describe(self) -> str:
        """What a manifest says of it."""

    def check(self, target: Mapping[str, Any]) -> str | None:
        """Why code for `target` (as in a manifest) can't run there, in a few words; None where it can."""

    def load(self, program: Program, timed: str = NETWORK) -> Handle:
        """Load a network; `timed` says what `time` will time of it."""

    def run(self, handle: Handle, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a network on arrays by name; its outputs by name. TenfoldError if an input is missing, or of another shape or dtype."""

    def time(self, handle: Handle, runs: int | None = None) -> list[float]:
        """Milliseconds of single runs on random inputs, one after the other, behind some that don't count; None: a short burst of runs."""

    def drop(self, handle: Handle) -> None:
        """Forget a network."""

    def close(self) -> None:
        """Forget everything; the device is free for others."""

    def __enter__(self: Self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None: ...


def check_times(device: Device) -> None:
    """Raise TenfoldError for a device whose times say nothing."""
    if not device.is_real:
        gpu = device.name.endswith(CUDA)
        there = f"here, {CUDA}:N or HOST:PORT, with a GPU" if gpu else "here or HOST:PORT"
        raise TenfoldError(f"device {device.name}: times under emulation say nothing of a {'GPU' if gpu else 'CPU'}: give {there}")


class Closing:
    """What is closed when a block ends."""

    def close(self) -> None:
        """End it."""

    def __enter__(self: Any) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def arrays_in_order(program: Program, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The inputs of a program in its order.

    Raises
    ------
    TenfoldError
        One is missing, unknown, or of another shape or dtype.
    """
    known = [port.name for port in program.inputs]
    if set(inputs) != set(known):
        raise TenfoldError(f"the network has the inputs {', '.join(map(repr, known))}, not {', '.join(map(repr, inputs)) or 'none'}")
    for port in program.inputs:
        array = inputs[port.name]
        if array.shape != port.shape or array.dtype != port.dtype:
            found = f"{array.dtype}{list(array.shape)}"
            raise TenfoldError(f"input {port.name!r} is {found}, the network needs {port.dtype}{list(port.shape)}")
    return [inputs[name] for name in known]


class Keeping(Closing, Generic[Loaded]):
    """What a device of this process has loaded, by handle."""

    def __init__(self) -> None:
        self._loaded: dict[Handle, Loaded] = {}
        self._count = 0

    def _keep(self, loaded: Loaded) -> Handle:
        self._count += 1
        self._loaded[self._count] = loaded
        return self._count

    def _of(self, handle: Handle) -> Loaded:
        try:
            return self._loaded[handle]
        except KeyError:
            raise TenfoldError(f"the device has no network {handle}: it was dropped, or the device was closed") from None

    def drop(self, handle: Handle) -> None:
        """Forget a network."""
        self._loaded.pop(handle, None)

    def close(self) -> None:
        """Forget everything."""
        self._loaded.clear()
