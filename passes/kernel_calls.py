"""The kernels that a lowered network calls, in order, and the layers that each computes."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tvm
from tvm import ir, relax

from .fuse_chains import NAME_SEPARATOR
from .inventory import inventory


@dataclass(frozen=True)
class KernelCall:
    """One call in ``main``.

    Attributes
    ----------
    function : str
        The kernel's name: the operators that it fuses.
    layers : tuple of str
        The convolutions and dense layers in it.
    output : tuple of int
        Shape of what it writes.
    macs : int
        Multiply-accumulates of its layers by their definition; a kernel may need fewer (Winograd).
    """

    function: str
    layers: tuple[str, ...]
    output: tuple[int, ...]
    macs: int


class LayerWeights:
    """Remembers which weight belongs to which layer. Fusion drops the names of variables, but keeps constants.

    Parameters
    ----------
    mod : tvm.IRModule
        The imported network.
    """

    def __init__(self, mod: tvm.IRModule):
        self._layers = {layer.name: layer for layer in inventory(mod)}
        self._names = _other_names(mod)
        self._owners: dict[int, str] = {}  # by the address of the packed weight, while `_alive` keeps it there
        self._alive: list[tvm.runtime.Tensor] = []

    def watch(self, phase: str, mod: tvm.IRModule) -> None:
        """Note the weights of layers when they are packed; to be called after each phase of lowering."""
        if phase == "legalize":
            for binding, call in _calls(mod):
                parts = (name if name in self._layers else self._names.get(name) for name in binding.var.name.split(NAME_SEPARATOR))
                names = [name for name in parts if name in self._layers]
                for name, tensor in zip(names, _tensors(call), strict=False):
                    self._alive.append(tensor)
                    self._owners[_address(tensor)] = name

    def calls(self, mod: tvm.IRModule) -> tuple[KernelCall, ...]:
        """The calls of kernels in a lowered module whose constants are still in place."""
        return tuple(self._kernel_call(call) for _, call in _calls(mod) if isinstance(call.op, ir.GlobalVar))

    def _kernel_call(self, call: ir.Call) -> KernelCall:
        owners = (self._owners.get(_address(tensor)) for tensor in _tensors(call))
        layers = tuple(dict.fromkeys(name for name in owners if name))
        output = tuple(int(size) for size in call.args[-1].ty.shape.values)
        return KernelCall(call.op.name_hint, layers, output, sum(self._layers[name].macs for name in layers))


def _other_names(mod: tvm.IRModule) -> dict[str, str]:
    """Variables that are bound to another variable, and its name. Of the two, lowering keeps only an output's."""
    bindings = [binding for block in mod["main"].body.blocks for binding in block.bindings]
    return {binding.var.name: binding.value.name for binding in bindings if isinstance(binding.value, relax.Var)}


def _calls(mod: tvm.IRModule) -> Iterator[tuple[relax.Binding, ir.Call]]:
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding) and isinstance(binding.value, ir.Call):
                yield binding, binding.value


def _tensors(call: ir.Call) -> Iterator[tvm.runtime.Tensor]:
    """The constants among the arguments, also of ``call_tir(kernel, (arguments))``."""
    for arg in call.args:
        for expr in arg.fields if isinstance(arg, relax.Tuple) else [arg]:
            if isinstance(expr, ir.GenericConst) and isinstance(expr.value, tvm.runtime.Tensor):
                yield expr.value


def _address(tensor: tvm.runtime.Tensor) -> int:
    return int(tensor.data_ptr())
