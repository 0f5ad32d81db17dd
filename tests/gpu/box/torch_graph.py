"""The rival: the same network in PyTorch, channels-last, with the convolutions of cuDNN."""
from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from .case import Case

Graph = Mapping[str, Any]


def run_graph(graph: Graph, weights: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Run a network on one input."""
    values = {graph["input"]: x}
    for node in graph["nodes"]:
        tensors = [values[name] if name in values else weights[name] for name in node["inputs"]]
        values[node["output"]] = OPERATORS[node["op"]](node, *tensors)
    return values[graph["output"]]


def _convolution(node: Graph, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    top, left, bottom, right = node["pads"]
    padding = (top, left)
    if (top, left) != (bottom, right):
        x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
    return functional.conv2d(x, weight, bias, node["strides"], padding, node["dilations"], node["group"])


def _max_pool(node: Graph, x: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = node["pads"]
    if (top, left) == (bottom, right):
        return functional.max_pool2d(x, node["kernel"], node["strides"], (top, left), ceil_mode=node["ceil"])
    padded = functional.pad(x, (left, right, top, bottom), value=float("-inf"))
    return functional.max_pool2d(padded, node["kernel"], node["strides"], ceil_mode=node["ceil"])


OPERATORS: dict[str, Callable[..., torch.Tensor]] = {
    "Conv": _convolution,
    "MaxPool": _max_pool,
    "Relu": lambda node, x: functional.relu(x),
    "Clip": lambda node, x: torch.clamp(x, node["low"], node["high"]),
    "Add": lambda node, x, y: x + y,
    "Mean": lambda node, x: x.mean((2, 3), keepdim=True),
    "Flatten": lambda node, x: x.flatten(1),
    "Gemm": lambda node, x, weight, bias=None: functional.linear(x, weight, bias),
}


class TorchNetwork:
    """A case in PyTorch on the GPU, with random weights, as a CUDA graph and eagerly.

    In TF32 products are TF32, as ours. In float16 all tensors are, which moves half of the bytes that ours do: our results are float32.
    """

    def __init__(self, case: Case) -> None:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = case.precision == "tf32"
        dtype = torch.float16 if case.precision == "fp16" else torch.float32
        gc.collect()  # what the case before had
        torch.cuda.empty_cache()
        weights = {name: torch.randn(shape, device="cuda", dtype=dtype) * 0.05 for name, shape in case.graph["weights"].items()}
        weights = {name: _channels_last(weight) for name, weight in weights.items()}
        x = _channels_last(torch.randn(case.inputs[0][1], device="cuda", dtype=dtype))
        self._eager: Callable[[], torch.Tensor] = lambda: run_graph(case.graph, weights, x)
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def ways(self) -> dict[str, Callable[[int], float]]:
        """What can be timed of it."""
        with torch.no_grad():
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):  # cuDNN chooses its algorithms
                    self._eager()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._result = self._eager()
        return {"torch graph": self._runs(graph.replay), "torch eager": self._runs(self._eager)}

    def _runs(self, launch: Callable[[], Any]) -> Callable[[int], float]:
        @torch.no_grad()
        def runs(count: int) -> float:
            self._begin.record()
            for _ in range(count):
                launch()
            self._end.record()
            self._end.synchronize()
            return float(self._begin.elapsed_time(self._end))

        return runs


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
