"""A normalised ONNX graph run by PyTorch, eagerly and channels-last: what a torch user would run, for networks that come as ONNX."""
from __future__ import annotations

import numpy as np
import onnx
import torch

from ...support.errors import TenfoldError
from .torch_operators import OPERATORS, channels_last

OLDEST_OPSET = 13  # the normalised form; before it several operators mean something else


class TorchGraph:
    """Call it with tensors in the order of the graph's inputs; it returns the list of outputs.

    Parameters
    ----------
    model : onnx.ModelProto
        Of static shapes, opset 13 or later.

    Raises
    ------
    TenfoldError
        The graph has an operator, or a use of one, that `torch_operators` lacks.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
        if opset < OLDEST_OPSET:
            raise TenfoldError(f"the torch engine reads ONNX opset {OLDEST_OPSET} and later, the network is of opset {opset}")
        arrays = {tensor.name: np.array(onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
        self.constants = {"": None, **{name: channels_last(torch.from_numpy(array)) for name, array in arrays.items()}}
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self.examples = [_zeros(value.type.tensor_type) for value in model.graph.input]
        self.steps = []
        for node in model.graph.node:
            if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
                raise TenfoldError(f"the torch engine has no operator {node.op_type} (node {node.name!r})")
            attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            function = OPERATORS[node.op_type](attributes, [arrays.get(name) for name in node.input])
            if function is None:
                raise TenfoldError(f"the torch engine lacks this form of operator {node.op_type} (node {node.name!r})")
            self.steps.append((function, list(node.input), list(node.output)))
        self.dead = self._last_uses()

    def to(self, device: str) -> TorchGraph:
        """Move the constants to a device."""
        self.constants = {name: value if value is None else value.to(device) for name, value in self.constants.items()}
        self.examples = [example.to(device) for example in self.examples]
        return self

    def _last_uses(self) -> list[list[str]]:
        """List for each step the values that nothing reads after it. They are dropped then, as eager code would."""
        dead: list[list[str]] = []
        kept = {*self.constants, *self.outputs}
        for _, inputs, outputs in reversed(self.steps):
            names = {*inputs, *outputs} - kept
            kept |= names
            dead.append(sorted(names))
        return dead[::-1]

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Run the graph; its outputs, in order."""
        values = dict(self.constants)
        values.update(zip(self.inputs, map(channels_last, inputs), strict=True))
        for (function, sources, results), dead in zip(self.steps, self.dead, strict=True):
            result = function(*[values[name] for name in sources])
            for name, value in zip(results, result if isinstance(result, (tuple, list)) else (result,), strict=False):
                values[name] = value
            for name in dead:
                values.pop(name, None)
        return [values[name] for name in self.outputs]


def as_module(graph: TorchGraph) -> torch.fx.GraphModule:
    """The graph traced into one module of ATen operators, for the sizes that it was made for; its constants are buffers."""

    class Whole(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
            return graph(*inputs)

    return torch.export.export(Whole(), tuple(graph.examples)).module()


def _zeros(tensor: onnx.TypeProto.Tensor) -> torch.Tensor:
    shape = [dim.dim_value for dim in tensor.shape.dim]
    return torch.from_numpy(np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
