"""An artifact: a folder with a compiled network and its manifest, and what it takes to run it."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..support.errors import TenfoldError
from ..support.interrupts import disguised
from . import loaded_network
from .cuda.arrays import is_on_gpu
from .cuda.calls import run_in_place
from .cuda.machine import GpuMachine
from .manifest import Manifest, Port
from .tensors import as_array, as_tensor, is_tensor

Array = Any  # ndarray, or torch.Tensor, which is not imported here


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

    @property
    def sizes(self) -> tuple[Artifact, ...]:
        """The network in each size that it was compiled for: most artifacts have one."""
        return (self,)

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
        return with_tensors(inputs, self.compute(values))

    def compute(self, values: list[Array]) -> list[np.ndarray]:
        """The outputs in order, as arrays, for what is given for each input, in order, on the CPU. Raises as a call does."""
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
        return results

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


def with_tensors(inputs: Array | Mapping[str, Array], results: list[np.ndarray]) -> list[Array]:
    """What a call returns: tensors, if any of its inputs is one."""
    return list(map(as_tensor, results)) if _holds_tensor(inputs) else results


def _holds_tensor(inputs: Array | Mapping[str, Array]) -> bool:
    if isinstance(inputs, np.ndarray):
        return False
    return any(map(is_tensor, inputs.values())) if isinstance(inputs, dict | Mapping) else is_tensor(inputs)
