"""Permutations of channels, which clusters of filters make, go into the weights of a neighbour, so that they need no gather.

    W x[order] = W' x           W'[:, order] = W         and on the way there, for whatever works channel by channel:
    f(x[order]) = f(x)[order]       x[order] + b = (x + b')[order],  b'[order] = b

    conv(x)[order] = conv'(x)   W' = W[order]            likewise the other way, where nobody else reads the convolution

A permutation that can't go into a weight stays a gather. That is so beside a residual, and between two grouped convolutions; the second of
these may read its channels in that order (`fuse_chains`).
"""
from __future__ import annotations

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.operators import ELEMENTWISE
from ..schedules.tir.module_pass import ModulePass, rewritten
from .use_counts import count_uses

CHANNELWISE_OPERATORS = frozenset(name for name, operator in ELEMENTWISE.items() if operator.inputs == 1)
CHANNELWISE_OPERATORS |= {f"relax.nn.{pool}_pool2d" for pool in ("max", "avg", "adaptive_avg")}
OPERATORS_WITH_CONSTANT = frozenset(("relax.add", "relax.subtract", "relax.multiply", "relax.divide"))


@tvm.transform.module_pass(opt_level=0, name="FoldPermutations")
class FoldPermutations(ModulePass):
    """Move permutations of channels (axis 1 of four) in `main` into weights."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`: first towards readers, then towards producers."""
        for rewriter in (_TowardsReaders, _TowardsProducers):
            if any(order_of(binding.value) is not None for binding in _bindings(mod["main"])):
                mod = rewritten(mod, rewriter(mod))
        return mod


def _bindings(main: relax.Function) -> list[relax.VarBinding]:
    return [binding for block in main.body.blocks for binding in block.bindings if isinstance(binding, relax.VarBinding)]


def order_of(call: relax.Expr, axis: int = 1) -> np.ndarray | None:
    """The permutation that a call applies to channels, which are axis `axis` of four; None for every other call."""
    if not _calls(call, "relax.take") or call.attrs.axis is None or not isinstance(call.args[1], ir.Constant):
        return None
    if int(call.attrs.axis) != axis:
        return None
    order, source = call.args[1].value.numpy(), call.args[0].ty
    if source.ndim != 4 or order.ndim != 1 or not np.array_equal(np.sort(order), np.arange(int(source.shape[axis]))):
        return None
    return order


def _calls(expr: relax.Expr, *names: str) -> bool:
    return isinstance(expr, ir.Call) and isinstance(expr.op, ir.Op) and expr.op.name in names


def _operand(call: relax.Expr, channels: int) -> np.ndarray | None:
    """The constant operand of a call that has one value for each channel, or one for all, as (1, channels or 1, 1, 1)."""
    if not _calls(call, *OPERATORS_WITH_CONSTANT) or not isinstance(call.args[1], ir.Constant):
        return None
    values = call.args[1].value.numpy()
    shape = (1,) * (4 - values.ndim) + values.shape
    return values.reshape(shape) if len(shape) == 4 and shape[1] in (1, channels) and shape[0] == shape[2] == shape[3] == 1 else None


def _plain_convolution(call: relax.Expr) -> np.ndarray | None:
    """The weight of a convolution without groups; None for every other call."""
    if not _calls(call, "relax.nn.conv2d") or int(call.attrs.groups) != 1 or call.attrs.data_layout != "NCHW":
        return None
    return call.args[1].value.numpy() if isinstance(call.args[1], ir.Constant) and call.attrs.kernel_layout == "OIHW" else None


def _depthwise(call: relax.Expr) -> np.ndarray | None:
    """The weight of a convolution with one filter for each channel; None for every other call."""
    if not _calls(call, "relax.nn.conv2d") or call.attrs.data_layout != "NCHW" or not isinstance(call.args[1], ir.Constant):
        return None
    weight = call.args[1].value.numpy()
    one_each = weight.shape[1] == 1 and weight.shape[0] == int(call.attrs.groups) == int(call.args[0].ty.shape[1])
    return weight if one_each and call.attrs.kernel_layout == "OIHW" else None


def _with(call: ir.Call, *args: relax.Expr) -> ir.Call:
    return ir.Call(call.op, list(args), call.attrs, call.ty_args)


@mutator
class _TowardsReaders(PyExprMutator):
    """Move permutations towards the operators that read them.

    A permutation waits until a convolution takes it into its weight. If something else reads it, it becomes a gather again.
    """

    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.waiting: dict[relax.Var, tuple[relax.Expr, np.ndarray]] = {}  # the same tensor in the order of memory, and its order

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        call = binding.value
        source = call.args[0] if isinstance(call, ir.Call) and call.args else None
        order, own = self.waiting.get(source, (None, None))[1] if isinstance(source, relax.Var) else None, order_of(call)
        inside = isinstance(binding.var, relax.DataflowVar)
        if own is not None and inside:
            base = self.waiting[source][0] if order is not None else self.visit_expr(source)
            self._wait(binding.var, base, own if order is None else order[own])
            return
        if order is not None and self._moved(binding, call, order, inside):
            return
        for var in relax.analysis.free_vars(call):
            self._gather(var)
        super().visit_var_binding_(binding)

    def _moved(self, binding: relax.VarBinding, call: ir.Call, order: np.ndarray, inside: bool) -> bool:
        """Make the call on the tensor as it lies in memory, if that can be done, and return whether it was."""
        base, weight = self.waiting[call.args[0]][0], _plain_convolution(call)
        if weight is not None:
            moved = np.empty_like(weight)
            moved[:, order] = weight
            self._bind(binding.var, _with(call, base, relax.const(moved)))
            return True
        if not inside:
            return False
        filters, operand = _depthwise(call), _operand(call, len(order))
        if filters is not None:
            moved = np.empty_like(filters)
            moved[order] = filters
            self._wait(binding.var, self._emitted(binding.var, _with(call, base, relax.const(moved))), order)
            return True
        if operand is not None:
            moved = operand
            if operand.shape[1] == len(order):
                moved = np.empty_like(operand)
                moved[:, order] = operand
            self._wait(binding.var, self._emitted(binding.var, _with(call, base, relax.const(moved))), order)
            return True
        if _calls(call, *CHANNELWISE_OPERATORS) and not any(isinstance(arg, relax.Var) for arg in call.args[1:]):
            self._wait(binding.var, self._emitted(binding.var, _with(call, base, *call.args[1:])), order)
            return True
        return False

    def _wait(self, var: relax.Var, base: relax.Expr, order: np.ndarray) -> None:
        if np.array_equal(order, np.arange(len(order))):
            self.set_var_remap(var, base)
        else:
            self.waiting[var] = base, order

    def _gather(self, var: relax.Var) -> None:
        if var in self.waiting:
            base, order = self.waiting.pop(var)
            self._bind(var, relax.op.take(base, relax.const(order.astype("int64")), axis=1, mode="clip"), f"{var.name}.order")

    def _bind(self, var: relax.Var, call: ir.Call, name: str | None = None) -> None:
        self.set_var_remap(var, self._emitted(var, call, name))

    def _emitted(self, var: relax.Var, call: ir.Call, name: str | None = None) -> relax.Var:
        call = self.builder_.normalize(call)
        new = type(var)(name or var.name, call.ty)
        self.builder_.emit_normalized(relax.VarBinding(new, call))
        return new


@mutator
class _TowardsProducers(PyExprMutator):
    """Move permutations into the weights of the convolutions that make what they permute, where nothing else reads that."""

    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        main = mod["main"]
        self.uses = count_uses(main)
        self.made = {binding.var: binding.value for binding in _bindings(main)}
        self.changed: dict[relax.Var, ir.Call] = {}
        self.gone: set[relax.Var] = set()
        for var, call in self.made.items():
            order = order_of(call)
            if order is not None and isinstance(call.args[0], relax.Var) and self._into_weight(call.args[0], order):
                self.gone.add(var)

    def _into_weight(self, var: relax.Var, order: np.ndarray) -> bool:
        """Change the convolution that makes `var`, and the operators between, if that can be done; return whether it was."""
        changes: dict[relax.Var, ir.Call] = {}
        while self.uses[var] == 1 and var in self.made and var not in self.changed and isinstance(var, relax.DataflowVar):
            call = self.made[var]
            weight, filters, operand = _plain_convolution(call), _depthwise(call), _operand(call, len(order))
            if weight is not None:
                changes[var] = _with(call, call.args[0], relax.const(weight[order]))
                self.changed.update(changes)
                return True
            if filters is not None:
                changes[var] = _with(call, call.args[0], relax.const(filters[order]))
            elif operand is not None and operand.shape[1] == len(order):
                changes[var] = _with(call, call.args[0], relax.const(operand[:, order]))
            elif operand is None and (not _calls(call, *CHANNELWISE_OPERATORS) or any(isinstance(arg, relax.Var) for arg in call.args[1:])):
                return False
            var = call.args[0]
        return False

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self.gone:
            self.set_var_remap(binding.var, self.visit_expr(binding.value.args[0]))
        elif binding.var in self.changed:
            call = self.builder_.normalize(self.visit_expr(self.changed[binding.var]))
            new = type(binding.var)(binding.var.name, call.ty)
            self.builder_.emit_normalized(relax.VarBinding(new, call))
            self.set_var_remap(binding.var, new)
        else:
            super().visit_var_binding_(binding)
