"""An artifact: a folder with a compiled network and its manifest, and what it takes to run it."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..support.errors import TenfoldError
from ..support.files.regular import reason
from ..support.interrupts import disguised
from . import loaded_network
from .cuda.arrays import is_on_gpu
from .cuda.calls import run_in_place
from .cuda.machine import GpuMachine
from .machines import open_machine
from .manifest import MANIFEST, WEIGHTS, Manifest, Port, sha256_of
from .manifest_fields import MOST_THREADS
from .requirements import check_target
from .tensors import as_array, as_tensor, is_tensor
from .weights import map_file, map_weights

Array = Any  # ndarray, or torch.Tensor, which is not imported here
LARGEST = 1 << 40  # bytes of a file: more than any machine has memory for


class Runnable(Protocol):
    """What runs an artifact's network: a `loaded_network.Machine`, or a stand-in for one elsewhere."""

    threads: int

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays of the right shapes and dtypes, in the order of the inputs. The results belong to the caller."""

    def record(self, arrays: list[np.ndarray]) -> list[tuple[str, Any, tuple[Any, ...]]]:
        """Run once, and list every function that was called."""


class Artifact:
    """A compiled network. Call it with an array, or with a dict of arrays by input name.

    Tensors of torch go in without a copy, and then tensors come out. A network on a GPU takes arrays of that GPU, too: it reads them where
    they are, in the stream that is current there, and its outputs are on the GPU.

    Attributes
    ----------
    folder : Path
    manifest : Manifest
    inputs, outputs : tuple of Port
        Name, shape and dtype of each.
    threads : int
        Threads that it runs on.
    """

    def __init__(self, folder: Path, manifest: Manifest, machine: Runnable) -> None:
        self.folder = folder
        self.manifest = manifest
        self.inputs = manifest.inputs
        self.outputs = manifest.outputs
        self._machine = machine
        self._dtypes = {port.dtype: np.dtype(port.dtype) for port in manifest.inputs}

    @property
    def threads(self) -> int:
        """Number of threads that its kernels run on."""
        return self._machine.threads

    @property
    def machine(self) -> Runnable:
        """What runs the network."""
        return self._machine

    def __call__(self, inputs: Array | Mapping[str, Array]) -> Array | list[Array]:
        """Run the network.

        Parameters
        ----------
        inputs : ndarray, torch.Tensor, or dict of str to these
            The one input, or every input by name; shapes and dtypes as in `inputs`, all numbers finite. Tensors are on the CPU, or all on
            the network's GPU (tensors of torch, or what has ``__cuda_array_interface__`` or ``__dlpack__``), where their numbers are not
            looked at. No gradient goes through the network.

        Returns
        -------
        ndarray, torch.Tensor, or list of these
            The one output, or all in the order of `outputs`. Tensors, if any input is one.

        Raises
        ------
        TenfoldError
            An input is missing, unknown, of another shape or dtype, or holds NaN or infinity.
        """
        results = self._results(inputs)
        return results[0] if len(self.outputs) == 1 else results

    def run(self, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Run the network, and return its outputs by name."""
        results = self._results(inputs)
        return {port.name: result for port, result in zip(self.outputs, results, strict=True)}

    def record(self, inputs: Array | Mapping[str, Array]) -> list[tuple[str, Any, tuple[Any, ...]]]:
        """Run the network and list the functions that it called: (name, function, arguments). It is slow from then on."""
        arrays = self._arrays(self._in_order(inputs))
        try:
            return self._machine.record(arrays)
        except TenfoldError:
            raise
        except Exception as error:
            raise self._failure(error) from error

    def _results(self, inputs: Array | Mapping[str, Array]) -> list[Array]:
        values = self._in_order(inputs)
        if isinstance(self._machine, GpuMachine) and any(map(is_on_gpu, values)):
            return self._in_place(self._machine, values)
        arrays = self._arrays(values)
        try:
            results = self._machine(arrays)
        except loaded_network.NotFinite as error:
            raise TenfoldError(f"{self._name}: input {self.inputs[error.position].name!r} holds NaN or infinity") from None
        except TenfoldError:  # of a device elsewhere
            raise
        except Exception as error:  # of TVM's runtime, which has many: a kernel that is called with what it was not compiled for
            raise self._failure(error) from error
        if len(results) != len(self.outputs):
            raise TenfoldError(f"{self._name}: the compiled code has {len(results)} outputs, its manifest {len(self.outputs)}")
        return list(map(as_tensor, results)) if _holds_tensor(inputs) else results

    def _in_place(self, machine: GpuMachine, values: list[Array]) -> list[Array]:
        try:
            return run_in_place(machine, values, self.inputs, self.outputs)
        except TenfoldError as error:
            raise TenfoldError(f"{self._name}: {error}") from None

    def _failure(self, error: Exception) -> BaseException:
        if disguised(error):
            return KeyboardInterrupt()
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return TenfoldError(f"{self._name}: the compiled code failed: {line}; compile the network again")

    def _in_order(self, inputs: Array | Mapping[str, Array]) -> list[Array]:
        """What was given for each input."""
        if not isinstance(inputs, dict | Mapping):  # dict first: asking an abstract class takes microseconds
            if len(self.inputs) == 1:
                return [inputs]
            raise TenfoldError(f"{self._name}: it has {len(self.inputs)} inputs ({self._names}): give a dict of arrays by name")
        known = {port.name for port in self.inputs}
        if inputs.keys() != known:
            for name in inputs:
                if name not in known:
                    raise TenfoldError(f"{self._name}: there is no input {name!r}: the inputs are {self._names}")
            absent = next(port.name for port in self.inputs if port.name not in inputs)
            raise TenfoldError(f"{self._name}: input {absent!r} is missing: the inputs are {self._names}")
        return [inputs[port.name] for port in self.inputs]

    def _arrays(self, values: list[Array]) -> list[np.ndarray]:
        return [self._check_array(port, value) for port, value in zip(self.inputs, values, strict=True)]

    def _check_array(self, port: Port, array: Any) -> np.ndarray:
        if not isinstance(array, np.ndarray):
            array = self._converted(port, array)
        if array.shape != port.shape:
            raise TenfoldError(f"{self._name}: input {port.name!r} has shape {list(array.shape)}, expected {list(port.shape)}")
        if array.dtype != self._dtypes[port.dtype]:
            raise TenfoldError(f"{self._name}: input {port.name!r} has dtype {array.dtype}, expected {port.dtype}: convert it with .astype")
        return array

    def _converted(self, port: Port, value: Any) -> np.ndarray:
        """What is no array, as one."""
        if is_tensor(value):
            try:
                return as_array(value)
            except TypeError as error:
                raise TenfoldError(f"{self._name}: input {port.name!r} {error}") from None
        hint = f": convert it with np.asarray(x, {port.dtype!r})" if isinstance(value, list | tuple | int | float | np.generic) else ""
        raise TenfoldError(f"{self._name}: input {port.name!r} must be a NumPy array or a torch tensor, not {type(value).__name__}{hint}")

    @property
    def _name(self) -> str:
        return str(self.folder)

    @property
    def _names(self) -> str:
        return ", ".join(repr(port.name) for port in self.inputs)

    def __repr__(self) -> str:
        return f"Artifact({str(self.folder)!r}, target={self.manifest.target['name']!r}, threads={self.threads})"


def _holds_tensor(inputs: Array | Mapping[str, Array]) -> bool:
    if isinstance(inputs, np.ndarray):
        return False
    return any(map(is_tensor, inputs.values())) if isinstance(inputs, dict | Mapping) else is_tensor(inputs)


def load(folder: str | os.PathLike[str], threads: int | None = None, device: int | None = None) -> Artifact:
    """Load what `compile` wrote.

    Parameters
    ----------
    folder : path
    threads : int, optional
        Threads of the CPU to run on. Default: those of the manifest, at most the physical cores that this process may use.
    device : int, optional
        The GPU to run on, by the driver's count. Default: the first that can run the artifact.

    Raises
    ------
    TenfoldError
        The folder is not an artifact, its library is not the one of the manifest, or it is made for another CPU or GPU than is here.
    """
    path = Path(folder)
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise TenfoldError(f"threads must be between 1 and {MOST_THREADS}, not {threads}")
    if not os.path.isdir(path):
        raise TenfoldError(f"{path}: {'this is a file, not an artifact folder' if os.path.exists(path) else 'no such folder'}")
    manifest = Manifest.read(path / MANIFEST)
    for name in (manifest.library, WEIGHTS):
        if not os.path.isfile(path / name):
            raise TenfoldError(f"{path}: not an artifact: there is no {name} in it")
        if os.path.getsize(path / name) > LARGEST:
            raise TenfoldError(f"{path / name}: can't be loaded: it has {os.path.getsize(path / name) >> 40} TB")
    _check_options(path, manifest, threads, device)
    check_target(str(path), manifest.target, device)
    try:
        mapping = map_file(path / WEIGHTS)
        _check_files(path, manifest, mapping)
        contents = map_weights(path / WEIGHTS, mapping)
        if contents.pieces != manifest.pieces:
            raise TenfoldError(f"{path}: its manifest and its weights name different pieces of the batch: compile the network again")
        inputs, outputs = ([(port.shape, port.dtype) for port in ports] for ports in (manifest.inputs, manifest.outputs))
        threads = threads or loaded_network.default_threads(manifest.threads)
        machine = open_machine(path, contents, inputs, threads, outputs, device)
    except (OSError, MemoryError) as error:
        raise TenfoldError(f"{path}: can't be loaded: {reason(error)}") from None
    return Artifact(path, manifest, machine)


def _check_files(folder: Path, manifest: Manifest, weights: np.ndarray) -> None:
    """Raise TenfoldError if a file is not the one of the manifest."""
    with ThreadPoolExecutor(1) as pool:
        # Takes as long as loading TVM's runtime, so both at once: in one call, which needs no lock of Python's.
        digest = pool.submit(lambda: hashlib.sha256(weights.data).hexdigest())
        loaded_network.ffi()
        library = manifest.library
        digests = {library: (sha256_of(folder / library), manifest.library_sha256), WEIGHTS: (digest.result(), manifest.weights_sha256)}
    for name, (found, stated) in digests.items():
        if found != stated:
            what = "does not match its manifest (the SHA-256 differs): changed or cut short; compile the network again"
            raise TenfoldError(f"{folder / name}: {what}")


def _check_options(folder: Path, manifest: Manifest, threads: int | None, device: int | None) -> None:
    if manifest.on_gpu and threads is not None:
        raise TenfoldError(f"{folder}: threads are for CPUs, and it runs on a GPU: leave them out")
    if not manifest.on_gpu and device is not None:
        raise TenfoldError(f"{folder}: it is for a CPU ({manifest.target['name']}), not for GPU {device}: leave device out")
