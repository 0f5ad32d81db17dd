"""A lowered network whose memory comes as arguments of ``main``: outputs in every call, all other memory bound when it is loaded.

    main(image):                                      main(image, alloc1, weight0, alloc):
        storage = alloc_storage(401408)                   conv2d(image, weight0, alloc)
        alloc = alloc_tensor(storage, 0, (1, 56, 56, 32)) relu(alloc, alloc1)
        conv2d(image, constant, alloc)                    return ()
        ...
        relu(alloc, alloc1)
        kill(alloc)
        return alloc1

The library then holds only code, so it links quickly however large the network is. Weights are in memory once, as they are in their file.
A run allocates nothing: every intermediate tensor has its place in one arena (`memory_plan`). Outputs are written where the caller wants
them. Only outputs that are no tensors of their own (an input, a constant, a view, what a branch gives) are still returned, in a tuple.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import ir, relax

from ..runtime.memory_plan import Destination, Place, Step, plan_places
from .call_list import call_list

KILL = "relax.vm.kill_object"
ALLOCATE_TENSOR, ALLOCATE_STORAGE = "relax.vm.alloc_tensor", "relax.vm.alloc_storage"


@dataclass(frozen=True)
class Memory:
    """What ``main`` takes after its own inputs, and its steps.

    Parameters
    ----------
    destinations : tuple of Destination
        Where outputs are written.
    weights : tuple of ndarray
        The weights.
    places : tuple of Place
        The intermediate tensors in the arena.
    steps : tuple of Step
        The calls of ``main``; empty if it does anything else.
    """

    destinations: tuple[Destination, ...]
    weights: tuple[np.ndarray, ...]
    places: tuple[Place, ...]
    steps: tuple[Step, ...] = ()


def externalize_memory(mod: tvm.IRModule) -> tuple[tvm.IRModule, Memory]:
    """Take weights, intermediate tensors and outputs out of ``main``.

    Parameters
    ----------
    mod : tvm.IRModule
        Lowered to calls of the virtual machine. Tensors that ``main`` itself allocates are taken out; those of a branch stay there.

    Returns
    -------
    tvm.IRModule, Memory
        The module whose ``main`` has more parameters and returns the outputs that have no destination, and what those parameters are.
    """
    main = mod["main"]
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    tensors = [b.var for b in bindings if _calls(b, ALLOCATE_TENSOR)]
    allocated = {*tensors, *(b.var for b in bindings if _calls(b, ALLOCATE_STORAGE))}
    bindings, outputs = _outputs(bindings, main.body.body)
    outlive = {*allocated, *outputs}
    kept = [b for b in bindings if b.var not in allocated and not (_calls(b, KILL) and b.value.args[0] in outlive)]
    positions = _positions(outputs, tensors)
    result = relax.Tuple([output for index, output in enumerate(outputs) if index not in positions.values()])
    inner = [var for var in tensors if var not in positions]
    lifetimes = _lifetimes(inner, kept, result)
    weights = _Weights()
    body = relax.SeqExpr([relax.BindingBlock([weights.taken_from(b) for b in kept])], result)
    parameters = [*main.params, *positions, *weights.variables, *inner]  # the variables of the tensors: nothing else changes
    function = relax.Function(parameters, body, result.ty, main.is_pure, main.attrs)
    external = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs, global_infos=mod.global_infos)
    external.update_func(external.get_global_var("main"), function)
    destinations = tuple(Destination(*_size(var), index) for var, index in positions.items())
    places = plan_places([_size(var) for var in inner], lifetimes)
    return external, Memory(destinations, tuple(weights.values), places, call_list(external))


def _outputs(bindings: list[relax.Binding], result: relax.Expr) -> tuple[list[relax.Binding], list[relax.Expr]]:
    """The outputs one by one, and the bindings without those of tuples that only collect outputs."""
    made = {b.var: b.value for b in bindings if isinstance(b.value, relax.Var | relax.Tuple)}

    def leaves(expr: relax.Expr) -> Iterator[relax.Expr]:
        while expr in made:
            expr = made[expr]
        if isinstance(expr, relax.Tuple):
            for field in expr.fields:
                yield from leaves(field)
        else:
            yield expr

    outputs = list(leaves(result))
    if any(isinstance(output.ty, relax.TupleType) for output in outputs):
        return bindings, [result]  # a tuple that a call or a branch made: which outputs are in it is not followed up
    for binding in reversed(bindings):
        if isinstance(binding.value, relax.Tuple) and not any(binding.var in relax.analysis.free_vars(b.value) for b in bindings):
            bindings = [b for b in bindings if b is not binding]
    return bindings, outputs


def _positions(outputs: list[relax.Expr], tensors: list[relax.Var]) -> dict[relax.Var, int]:
    """The tensors of ``main`` that are outputs, with the first position of each; at a second position it is returned, and copied."""
    own = set(tensors)
    found: dict[relax.Var, int] = {}
    for index, output in enumerate(outputs):
        if output in own:
            found.setdefault(output, index)
    return found


def _size(var: relax.Var) -> tuple[str, tuple[int, ...]]:
    return str(var.ty.dtype), tuple(int(size) for size in var.ty.shape.values)


class _Weights:
    """The constants met so far, each once, with the variable that takes its place."""

    def __init__(self) -> None:
        self.variables: list[relax.Var] = []
        self.values: list[np.ndarray] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], relax.Var] = {}  # by contents: layers may share a weight

    def taken_from(self, binding: relax.Binding) -> relax.Binding:
        """`binding` with variables where a call has constants; constants elsewhere, as in branches, stay."""
        call = binding.value
        if not isinstance(call, ir.Call) or not any(_is_tensor(arg) for arg in call.args):
            return binding
        args = [self._variable(arg) if _is_tensor(arg) else arg for arg in call.args]
        return relax.VarBinding(binding.var, ir.Call(call.op, args, call.attrs, call.ty_args, ret_ty=call.ty))

    def _variable(self, constant: ir.GenericConst) -> relax.Var:
        value = np.ascontiguousarray(constant.value.numpy()).reshape(constant.value.shape)
        key = (str(value.dtype), value.shape, hashlib.sha256(value.data).digest())
        if key not in self._known:
            self._known[key] = relax.Var(f"weight{len(self.variables)}", constant.ty)
            self.variables.append(self._known[key])
            self.values.append(value)
        return self._known[key]


def _lifetimes(tensors: list[relax.Var], bindings: list[relax.Binding], result: relax.Expr) -> list[tuple[int, int]]:
    """The first and the last binding that uses each tensor or a view of it; what is returned is used after all bindings."""
    roots: dict[relax.Var, set[relax.Var]] = {var: {var} for var in tensors}
    spans: dict[relax.Var, tuple[int, int]] = {}

    def use(expr: relax.Expr, index: int) -> set[relax.Var]:
        used = {root for var in relax.analysis.free_vars(expr) for root in roots.get(var, ())}
        for root in used:
            spans[root] = (spans.get(root, (index, index))[0], index)
        return used

    for index, binding in enumerate(bindings):
        # A kernel returns nothing; anything else may return a view (a reshape) or a tuple of what it was given.
        roots[binding.var] = use(binding.value, index)
    use(result, len(bindings))
    return [spans.get(var, (0, 0)) for var in tensors]


def _calls(binding: relax.Binding, operator: str) -> bool:
    value = binding.value
    return isinstance(value, ir.Call) and isinstance(value.op, ir.Op) and value.op.name == operator


def _is_tensor(expr: relax.Expr) -> bool:
    return isinstance(expr, ir.GenericConst) and isinstance(expr.value, tvm.runtime.Tensor)
