"""A device whose times say for each layer, by its filters, what float32 and bytes take; and what conversions take."""
from __future__ import annotations

from dataclasses import dataclass, field

from search_fakes import CONV, PER_MAC, REST
from tenfold.passes.byte_layer_module import CROSSING
from tenfold.passes.inventory import inventory
from tvm import relax

NUMBERS = 65536  # of what is converted to be timed


@dataclass
class ByteDevice:
    """Layers take what their MACs say; on bytes so many times less, by the filters of the layer (`ratios`), or of all (`ratio`)."""

    ratio: float = 0.25
    ratios: dict[int, float] = field(default_factory=dict)
    crossing: float = 0.0  # milliseconds of 65536 numbers
    asked: list = field(default_factory=list)

    def kernels(self, mod):
        self.asked.append(mod)
        shape = [int(size) for size in mod["main"].params[0].ty.shape.values]
        ms = self.crossing if tuple(shape) == CROSSING and not inventory(mod) else self._layers(mod)
        return lambda: ms

    def network(self, mod):
        ms = REST + self._layers(mod)
        return lambda: ms

    def _layers(self, mod):
        on_bytes = byte_layers(mod)
        return sum((CONV + PER_MAC * layer.macs) * (self._ratio(layer) if layer.name in on_bytes else 1) for layer in inventory(mod))

    def _ratio(self, layer):
        return self.ratios.get(layer.weight_shape[0], self.ratio)


def byte_layers(mod):
    """The layers of an imported network that read what was dequantized."""
    made = {binding.var: binding.value for block in mod["main"].body.blocks for binding in block.bindings}

    def dequantized(value):
        call = made.get(value)
        name = getattr(getattr(call, "op", None), "name", "")
        moves = ("relax.permute_dims", "relax.reshape", "relax.flatten", "relax.nn.max_pool2d", "relax.take")
        return name == "relax.dequantize" or name in moves and dequantized(call.args[0])

    layers = ("relax.nn.conv2d", "relax.matmul")
    calls = ((var, value) for var, value in made.items() if isinstance(var, relax.Var) and hasattr(value, "op"))
    return {var.name for var, value in calls if getattr(value.op, "name", "") in layers and dequantized(value.args[0])}
