"""An ONNX network as a torch module that learns, and back: the same graph with other weights.

    model.onnx -> OnnxModule(model) -> train(...) -> module.trained() -> the same nodes, weights moved

So a network that came as ONNX, compressed or not, is tuned without the program that made it.
"""
from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from ...frontends.reference.torch_graph import TorchGraph
from ...support.errors import TenfoldError

# Inputs that are weights, by the operator: what training moves. Other constants, such as shapes, bounds and statistics, stay.
WEIGHTS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "BatchNormalization"), (1, 2)),
    **dict.fromkeys(("MatMul", "Add"), (0, 1)),
    "PRelu": (1,),
}


class OnnxModule(nn.Module):
    """The module: takes one batch of inputs, gives the first output.

    Parameters
    ----------
    model : onnx.ModelProto
        Normalised, of one input and any batch (`frontends.reference.free_batch`).

    Attributes
    ----------
    names : dict of str to str
        The name in the graph of each parameter: torch allows no dots in its own.
    nodes : list of (str, list of str)
        The nodes that have weights, in order, and the names of their parameters.

    Raises
    ------
    TenfoldError
        The graph has an operator that the torch engine lacks, several inputs, or no weights.
    """

    def __init__(self, model: onnx.ModelProto):
        super().__init__()
        if len(model.graph.input) != 1:
            raise TenfoldError(f"a network of {len(model.graph.input)} inputs: only those of one can be trained")
        self.model = model
        self.graph = TorchGraph(model)
        self.names: dict[str, str] = {}
        self.nodes: list[tuple[str, list[str]]] = []
        own: dict[str, str] = {}
        for node in model.graph.node:
            found = []
            for place in WEIGHTS.get(node.op_type, ()):
                name = node.input[place] if place < len(node.input) else ""
                value = self.graph.constants.get(name)
                if value is None or not value.is_floating_point():
                    continue
                if name not in own:
                    own[name] = f"weight{len(own)}"
                    self.names[own[name]] = name
                    self.register_parameter(own[name], nn.Parameter(value.clone()))
                found.append(own[name])
            if found:
                self.nodes.append((node.name, found))
        if not own:
            raise TenfoldError("the network has no weights to train")
        for number, (name, value) in enumerate(self.graph.constants.items()):
            if name not in own and value is not None:
                self.register_buffer(f"constant{number}", value)
        self._buffers_of = {f"constant{number}": name for number, name in enumerate(self.graph.constants) if name not in own and name}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the graph with the weights as they are."""
        constants: dict[str, torch.Tensor | None] = {"": None}
        constants.update({name: self.get_parameter(own) for own, name in self.names.items()})
        constants.update({name: self.get_buffer(own) for own, name in self._buffers_of.items()})
        self.graph.constants = constants
        return self.graph(x)[0]

    def is_last(self, node: str) -> bool:
        """Whether nothing that has weights follows this node, or the chain in its place."""
        last, _ = self.nodes[-1]
        return last == node or last.startswith(f"{node}.")

    def freeze_through(self, node: str) -> None:
        """Only the nodes behind this one are trained: those that follow it in the graph's order, whatever they read.

        Raises
        ------
        TenfoldError
            No node of this name has weights, or none behind it has.
        """
        places = [number for number, (name, _) in enumerate(self.nodes) if name == node or name.startswith(f"{node}.")]
        if not places or places[-1] == len(self.nodes) - 1:
            what = "has weights" if not places else "has weights behind it"
            raise TenfoldError(f"node {node!r}: no node of that name {what}")
        fixed = {own for _, names in self.nodes[: places[-1] + 1] for own in names}
        for own in self.names:
            self.get_parameter(own).requires_grad_(own not in fixed)

    def trained(self, model: onnx.ModelProto | None = None) -> onnx.ModelProto:
        """A copy of the graph with the weights as they are; of another graph with the same constants, where one is given."""
        result = onnx.ModelProto()
        result.CopyFrom(self.model if model is None else model)
        values = {name: self.get_parameter(own).detach().cpu() for own, name in self.names.items()}
        for tensor in result.graph.initializer:
            if tensor.name in values:
                array = np.ascontiguousarray(values[tensor.name].numpy())
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return result
