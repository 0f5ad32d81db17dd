"""Rivals on NVIDIA's GPUs. Networks and inputs are on the GPU before the clock starts, and times are the GPU's own, as for Tenfold."""
from __future__ import annotations

import importlib.util
import os
from abc import abstractmethod
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...runtime.cuda.context import Context, Stream
from ...runtime.cuda.timing import time_calls
from ...support.errors import TenfoldError
from .engines import Arrays, Engine, Torch, TorchCompile

FLOAT32, TF32 = "float32", "tf32"
PRECISIONS = (FLOAT32, TF32)  # of the products of float32 numbers


class GpuEngine(Engine):
    """An engine that runs on a GPU.

    Attributes
    ----------
    gpu : int
        By the driver's count.
    tf32 : bool
        Whether it may multiply in TF32.
    """

    gpu: ClassVar[int] = 0
    tf32: ClassVar[bool] = False

    def timer(self, inputs: Arrays) -> Callable[[int], list[float]]:
        """What times so many runs on these inputs: milliseconds of each."""
        context, call, stream = Context(self.gpu), self._resident(inputs), self._stream()
        return lambda runs: time_calls(context, Stream(context, stream), call, runs)

    @abstractmethod
    def _resident(self, inputs: Arrays) -> Callable[[], Any]:
        """A call with the inputs on the GPU."""

    @abstractmethod
    def _stream(self) -> int:
        """The stream that it runs in."""


class TorchGpu(GpuEngine, Torch):
    """Eager PyTorch, channels-last."""

    @classmethod
    def check(cls) -> None:
        super().check()
        import torch

        if not torch.cuda.is_available():
            raise TenfoldError(f"engine {cls.name}: this PyTorch ({torch.__version__}) has no GPU")

    def prepare(self, path: Path, threads: int) -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        torch.cuda.set_device(self.gpu)
        super().prepare(path, threads)

    def _placed(self, module: Any) -> Any:
        return module.to(f"cuda:{self.gpu}")

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        import torch

        results = self._resident(inputs)()
        return [leaf.cpu().numpy() for leaf in torch.utils._pytree.tree_leaves(results)]

    def _resident(self, inputs: Arrays) -> Callable[[], Any]:
        import torch

        arrays = inputs.values() if self._names is None else [inputs[name] for name in self._names]
        tensors = [torch.from_numpy(array).to(f"cuda:{self.gpu}") for array in arrays]

        def call() -> Any:
            with torch.inference_mode():
                return self._call(*tensors)

        return call

    def _stream(self) -> int:
        import torch

        return int(torch.cuda.current_stream(self.gpu).cuda_stream)


class TorchCompileGpu(TorchGpu, TorchCompile):
    """torch.compile (inductor) with CUDA graphs."""

    name = TorchCompile.name
    options: ClassVar[dict[str, Any]] = {"freezing": True, "triton.cudagraphs": True}


class OnnxRuntimeGpu(GpuEngine):
    """ONNX Runtime's CUDA provider, inputs and outputs bound to the GPU's memory."""

    name, module, package = "onnxruntime", "onnxruntime", "onnxruntime-gpu"
    provider: ClassVar[str] = "CUDAExecutionProvider"

    @classmethod
    def check(cls) -> None:
        super().check()
        import onnxruntime

        if cls.provider not in onnxruntime.get_available_providers():
            raise TenfoldError(f"engine {cls.name}: this ONNX Runtime has no {cls.provider}: pip install onnxruntime-gpu")

    @classmethod
    def version(cls) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def prepare(self, path: Path, threads: int) -> None:
        import onnxruntime

        context = Context(self.gpu)
        with context.current():
            self._own = Stream(context)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        asked = {"device_id": self.gpu, "user_compute_stream": str(self._own.handle.value), **self._options()}
        self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=[(self.provider, asked)])
        if self._session.get_providers()[0] != self.provider:
            raise TenfoldError(f"{self.provider} did not start: its libraries are missing")

    def _options(self) -> dict[str, Any]:
        return {"use_tf32": int(self.tf32)}

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        return self._session.run(None, inputs)

    def _resident(self, inputs: Arrays) -> Callable[[], Any]:
        import onnxruntime

        binding = self._session.io_binding()
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", self.gpu) for name, array in inputs.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for output in self._session.get_outputs():
            binding.bind_output(output.name, "cuda", self.gpu)
        return lambda _kept=values: self._session.run_with_iobinding(binding)  # type: ignore[misc]

    def _stream(self) -> int:
        return int(self._own.handle.value or 0)


class TensorRt(OnnxRuntimeGpu):
    """TensorRT, as a provider of ONNX Runtime. It takes TF32 wherever that is faster, and has no option against it."""

    name, provider = "tensorrt", "TensorrtExecutionProvider"

    def prepare(self, path: Path, threads: int) -> None:
        if not self.tf32:
            raise TenfoldError(f"it multiplies in TF32: give --precision {TF32}")
        if importlib.util.find_spec("tensorrt") is None:
            raise TenfoldError("it needs TensorRT: pip install tensorrt-cu13")
        super().prepare(path, threads)

    def _options(self) -> dict[str, Any]:
        return {}

    @classmethod
    def version(cls) -> str:
        return f"{metadata.version('tensorrt')} ({super().version()})"


GPU_ENGINES: dict[str, type[GpuEngine]] = {engine.name: engine for engine in (OnnxRuntimeGpu, TensorRt, TorchGpu, TorchCompileGpu)}


def gpu_rival(name: str, gpu: int, precision: str) -> type[GpuEngine]:
    """The engine of a name on a GPU, in one of `PRECISIONS`; TenfoldError if there is none. `check` says whether it is installed."""
    if precision not in PRECISIONS:
        raise TenfoldError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if name not in GPU_ENGINES:
        raise TenfoldError(f"engine {name!r} does not run on NVIDIA's GPUs: those that do are {', '.join(GPU_ENGINES)}")
    return type(name, (GPU_ENGINES[name],), {"gpu": gpu, "tf32": precision == TF32})
