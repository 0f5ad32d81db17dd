"""A lowered network whose weights and intermediate tensors come from outside: last arguments of ``main``, bound once when it is loaded.

    main(image):                                      main(image, weight0, alloc):
        storage = alloc_storage(401408)                   conv2d(image, weight0, alloc)
        alloc = alloc_tensor(storage, 0, (1, 56, 56, 32)) ...
        conv2d(image, constant, alloc)
        kill(alloc)
        ...

The library then holds code alone: it links in a moment whatever the network weighs. Weights are in memory once, as they are in their file,
and a run allocates nothing: every intermediate tensor has its place in one arena, see `memory_plan`.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import ir, relax

from .memory_plan import Place, plan_places

KILL = "relax.vm.kill_object"
ALLOCATE_TENSOR, ALLOCATE_STORAGE = "relax.vm.alloc_tensor", "relax.vm.alloc_storage"


@dataclass(frozen=True)
class Memory:
    """What ``main`` takes after its own inputs: the weights, then the tensors in the arena."""

    weights: tuple[np.ndarray, ...]
    places: tuple[Place, ...]


def externalize_memory(mod: tvm.IRModule) -> tuple[tvm.IRModule, Memory]:
    """Take weights and intermediate tensors out of ``main``.

    Parameters
    ----------
    mod : tvm.IRModule
        Lowered to calls of the virtual machine. Tensors that ``main`` itself allocates are taken out; those of a branch stay there.

    Returns
    -------
    tvm.IRModule, Memory
        The module whose ``main`` has more parameters, and what to bind to them.
    """
    main = mod["main"]
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    tensors = [b.var for b in bindings if _calls(b, ALLOCATE_TENSOR)]
    freed = {*tensors, *(b.var for b in bindings if _calls(b, ALLOCATE_STORAGE))}
    kept = [b for b in bindings if b.var not in freed and not (_calls(b, KILL) and b.value.args[0] in freed)]
    lifetimes = _lifetimes(tensors, kept, main.body.body)
    weights = _Weights()
    body = relax.SeqExpr([relax.BindingBlock([weights.taken_from(b) for b in kept])], main.body.body)
    parameters = [*main.params, *weights.variables, *tensors]  # the variables of the tensors themselves: nothing else changes
    function = relax.Function(parameters, body, main.ret_ty, main.is_pure, main.attrs)
    result = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs, global_infos=mod.global_infos)
    result.update_func(result.get_global_var("main"), function)
    sizes = [(str(var.ty.dtype), tuple(int(size) for size in var.ty.shape.values)) for var in tensors]
    return result, Memory(tuple(weights.values), plan_places(sizes, lifetimes))


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
    """The first and the last binding that uses each tensor, itself or through a view of it. What is returned is used after the last."""
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
