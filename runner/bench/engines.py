"""The engines that networks are compared on: one small class each, all with the same three verbs."""
from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...runtime.cuda.machine import GpuMachine
from ...runtime.cuda.timing import time_network
from ...support.errors import TenfoldError
from ..devices.artifacts import load_on, timed_on
from ..devices.here import Here

if TYPE_CHECKING:
    from ..devices.device import Device

Arrays = dict[str, np.ndarray]


class Engine(ABC):
    """An inference engine.

    Attributes
    ----------
    name : str
        What the command line calls it.
    module, package, extra : str
        What is imported, what it is called in a package index, and the extra of Tenfold that installs it.
    reads : tuple of str
        Suffixes of the files that `prepare` takes, best first.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = (".onnx",)

    def start(self) -> None:
        """Load the engine's libraries."""
        __import__(self.module)

    @abstractmethod
    def prepare(self, path: Path, threads: int) -> None:
        """Load the network in a file, to be run on so many threads."""

    @abstractmethod
    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """Run it once. The arrays returned may be overwritten by the next run."""

    def timer(self, inputs: Arrays) -> Callable[[int], list[float]] | None:
        """What times so many runs on these inputs, milliseconds of each, where that is no affair of this process' clock."""
        return None

    @classmethod
    def check(cls) -> None:
        """Raise TenfoldError, with what to install, if the engine is not there."""
        if importlib.util.find_spec(cls.module) is None:
            install = f'"tenfold[{cls.extra}]"' if cls.extra else cls.package
            raise TenfoldError(f"engine {cls.name} is not installed: pip install {install}")

    @classmethod
    def version(cls) -> str:
        return metadata.version(cls.package)


class Tenfold(Engine):
    """An artifact folder, called as a user calls it: inputs checked, outputs owned by the caller."""

    name, module, package, reads = "tenfold", "tvm_ffi", "tenfold", ("",)

    def start(self) -> None:
        from ...runtime import loaded_network

        loaded_network.ffi()

    def __init__(self, device: Device | None = None) -> None:
        self._device = device

    def prepare(self, path: Path, threads: int) -> None:
        device = Here() if self._device is None else self._device
        self.artifact = load_on(device, path, threads)

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        return list(self.artifact.run(inputs).values())

    def timer(self, inputs: Arrays) -> Callable[[int], list[float]] | None:
        place = timed_on(self.artifact)
        if place is not None:
            return functools.partial(place[0].time, place[1])
        machine, arrays = self.artifact.machine, [inputs[port.name] for port in self.artifact.inputs]
        return (lambda runs: time_network(machine, arrays, runs).kernels) if isinstance(machine, GpuMachine) else None


class OnnxRuntime(Engine):
    """ONNX Runtime's CPU provider with all graph optimizations, which is its default."""

    name, module, package = "onnxruntime", "onnxruntime", "onnxruntime"

    def prepare(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        return self._session.run(None, inputs)


class OpenVino(Engine):
    """OpenVINO's CPU plugin for latency, in float32: by itself it takes bfloat16 where the CPU has it.

    Attributes
    ----------
    precision : str
        Its hint for what it computes in.
    """

    name, module, package, extra = "openvino", "openvino", "openvino", "rivals"
    precision: ClassVar[str] = "f32"

    def prepare(self, path: Path, threads: int) -> None:
        import openvino

        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": threads}
        core = openvino.Core()
        self._compiled = core.compile_model(core.read_model(os.fspath(path)), "CPU", options)
        self._request = self._compiled.create_infer_request()

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        results = self._request.infer(inputs, share_inputs=True, share_outputs=True)
        return [results[output] for output in self._compiled.outputs]


class Torch(Engine):
    """Eager PyTorch, channels-last: the module of a .pt2 file, or the operators of an ONNX graph one by one."""

    name, module, package, extra, reads = "torch", "torch", "torch", "torch", (".pt2", ".onnx")

    def start(self) -> None:
        importlib.import_module("torch")  # whether it can be imported is told here

    def prepare(self, path: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._names: list[str] | None = None
        if path.suffix == ".pt2":
            from ...frontends.reference.torch_operators import channels_last
            from ...frontends.torch.pt2_archive import load_program

            given: Any = load_program(path)[0].module()  # Any: torch's own types know no memory format here
            module = self._optimized(self._placed(given).to(memory_format=torch.channels_last))
            self._call = lambda *tensors: module(*map(channels_last, tensors))
        else:
            import onnx

            from ...frontends.reference.torch_graph import TorchGraph

            graph = self._placed(TorchGraph(onnx.load(path)))
            self._names = graph.inputs
            self._call = self._optimized(graph)

    def _placed(self, module: Any) -> Any:
        """A module, or a TorchGraph, where it shall run."""
        return module

    def _optimized(self, module: Any) -> Any:
        """What is called in place of a module, or of a TorchGraph."""
        return module

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        import torch

        arrays = inputs.values() if self._names is None else [inputs[name] for name in self._names]
        with torch.inference_mode():
            result = self._call(*map(torch.from_numpy, arrays))
        return [leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(result)]


class TorchCompile(Torch):
    """torch.compile (inductor), channels-last, for fixed sizes and with frozen weights, which lets it pack them beforehand."""

    name = "torch-compile"
    options: ClassVar[dict[str, Any]] = {"freezing": True}

    @classmethod
    def check(cls) -> None:
        super().check()
        compiler = os.environ.get("CXX") or "g++"
        if shutil.which(compiler) is None:
            raise TenfoldError(f"engine {cls.name} needs a C++ compiler and there is no {compiler}: install g++, or set CXX")

    def start(self) -> None:
        super().start()
        import torch._inductor.config as config

        config.compile_threads = 1  # no processes of its own, that would outlive an interrupt

    def _optimized(self, module: Any) -> Any:
        import torch

        from ...frontends.reference.torch_graph import TorchGraph, as_module

        if isinstance(module, TorchGraph):
            module = as_module(module)
        # Each network is code of its own here. Dynamo compiles one piece of code, as TorchGraph's is, eight times at most.
        return torch.compile(module, fullgraph=True, dynamic=False, options=dict(self.options))


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Tenfold, OnnxRuntime, OpenVino, Torch, TorchCompile)}
RIVALS = tuple(name for name in ENGINES if name != Tenfold.name)


def rival(name: str) -> type[Engine]:
    """The engine called `name`; TenfoldError if there is none, or it is not installed."""
    if name not in RIVALS:
        raise TenfoldError(f"unknown engine {name!r}: it is one of {', '.join(RIVALS)}")
    ENGINES[name].check()
    return ENGINES[name]


def describe(error: BaseException) -> str:
    """The first line of what an engine has to say, for a table."""
    lines: list[Any] = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
