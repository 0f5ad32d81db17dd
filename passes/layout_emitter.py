"""Values of a Relax function that lie in a layout of their own choice, and the emitter that moves them when someone asks.

A rewrite that changes layouts keeps a `Stored` for every variable of the old function: its logical shape, and the expressions of the new
function that hold it, each in some `Layout`. Nothing is permuted before it is asked for in a layout that it does not have; what was
permuted once is remembered and shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

import numpy as np
import tvm
from tvm import ir, relax, tirx

from .layout import NHWC, Layout, Move, Shape, compose, identity, move, widened


@dataclass(eq=False)
class Stored:
    """A tensor of static shape, none of its dimensions 0.

    Attributes
    ----------
    shape : tuple of int
        The logical shape: that of the variable in the old function.
    home : Layout
        The layout it was made in.
    forms : dict of Layout to Expr
        The expressions that hold it, by layout; `home` is one of them.
    name : str
        What variables made from it are named after.
    wide : dict of int to Stored
        The same tensor with so many axes of size 1 in front, as it was needed so far.
    """

    shape: Shape
    home: Layout
    forms: dict[Layout, ir.Expr]
    name: str
    wide: dict[int, Stored] = field(default_factory=dict)

    @property
    def constant(self) -> bool:
        """Whether it is known now."""
        return isinstance(self.forms[self.home], ir.GenericConst)

    @property
    def plain(self) -> Layout:
        """The layout in which it lies as its shape says."""
        return identity(len(self.shape))

    @property
    def by_axes(self) -> Layout:
        """The layout for an operator that looks at single axes: the one it has, unless that is scrambled."""
        return next((layout for layout in (self.home, *self.forms) if not layout.sizes), self.plain)

    def near(self, layout: Layout) -> Layout | None:
        """The layout of a form that is `layout`, or differs from it by a reshape only; None if there is none."""
        if layout in self.forms:
            return layout
        return next((form for form in self.forms if _one_move(form, layout) and move(self.shape, form, layout).free), None)

    def cost(self, layout: Layout) -> int:
        """How many elements must be moved to have it in `layout`, which may be of higher rank. Constants cost nothing."""
        more = len(layout.order) - len(self.shape)
        elements = prod(self.shape)
        if self.constant or elements == 1:
            return 0
        shape = (1,) * more + self.shape
        wide = Stored(shape, widened(self.home, more), {widened(form, more): expr for form, expr in self.forms.items()}, self.name)
        return elements if wide.near(layout.fit(shape)) is None else 0


# A tensor with a layout, a tuple of values, or an expression that has no layout: a shape, a number, a tensor of dynamic size.
Value: TypeAlias = "Stored | tuple[Value, ...] | ir.Expr"


def _one_move(source: Layout, target: Layout) -> bool:
    return source.sizes == target.sizes or not source.sizes or not target.sizes


def tensor_shape(type_: ir.Type) -> Shape | None:
    """The static shape of a tensor type, or None (also for a tensor without elements)."""
    if not isinstance(type_, relax.TensorType) or not isinstance(type_.shape, relax.ShapeExpr):
        return None
    if not all(isinstance(size, int | tirx.IntImm) for size in type_.shape.values):
        return None
    shape = tuple(int(size) for size in type_.shape.values)
    return shape if all(shape) else None


def static_shape(type_: ir.Type) -> Shape:
    """The shape of a tensor type that has a static one.

    Raises
    ------
    ValueError
        It has none.
    """
    shape = tensor_shape(type_)
    if shape is None:
        raise ValueError(f"{type_} is no tensor of static shape, or has no elements")
    return shape


def _const(array: np.ndarray) -> ir.GenericConst:
    return relax.const(tvm.runtime.tensor(array))  # of an array, relax.const would make int64 an int32, or else one more copy


class Emitter:
    """Collects the bindings of the new function.

    Parameters
    ----------
    reserved : iterable of str
        Names of the old function: an auxiliary variable gets none of them.
    dataflow : bool
        Whether the bindings are to go into a dataflow block.
    """

    def __init__(self, reserved: Iterable[str], dataflow: bool):
        self.bindings: list[relax.Binding] = []
        self._names = set(reserved)
        self._var = relax.DataflowVar if dataflow else relax.Var
        self._builder = relax.BlockBuilder()
        self._views: dict[ir.Expr, ir.Expr] = {}  # a reshape -> what it is a reshape of
        self._moves: dict[ir.Expr, tuple[ir.Expr, Move]] = {}  # a permuted tensor -> what it was made of, and how
        self._constants: dict[ir.GenericConst, Stored] = {}

    def fresh(self, stem: str) -> str:
        """A name that is not taken yet, and is now."""
        name, count = stem, 1
        while name in self._names:
            name, count = f"{stem}{count}", count + 1
        self._names.add(name)
        return name

    def emit(self, expr: ir.Expr, name: str) -> relax.Var:
        """Bind `expr` to a variable of exactly this name."""
        expr = self._builder.normalize(expr)
        var = self._var(name, expr.ty)
        self.bindings.append(relax.VarBinding(var, expr))
        return var

    def cast(self, expr: ir.Expr, type_: ir.Type, name: str) -> relax.Var:
        """Bind an expression that is matched with a type.

        Parameters
        ----------
        expr : Expr
            The expression.
        type_ : ir.Type
            The type that it has to have.
        name : str
            The variable's name.
        """
        var = self._var(name, type_)
        self.bindings.append(relax.MatchCast(var, expr, type_))
        return var

    def value(self, expr: ir.Expr, name: str) -> Value:
        """The value of an expression of the new function that lies as its shape says."""
        if isinstance(expr, ir.GenericConst) and expr in self._constants:
            return self._constants[expr]
        if isinstance(expr.ty, ir.TupleType):
            items = [self.emit(ir.TupleGetItem(expr, i), self.fresh(f"{name}_{i}")) for i in range(len(expr.ty.fields))]
            return tuple(self.value(item, name) for item in items)
        shape = tensor_shape(expr.ty)
        if shape is None:
            return expr
        value = Stored(shape, identity(len(shape)), {identity(len(shape)): expr}, name)
        if isinstance(expr, ir.GenericConst):
            self._constants[expr] = value
        return value

    def constant(self, array: np.ndarray, name: str) -> Stored:
        """The value of an array that is known now."""
        return self.store(_const(array), array.shape, identity(array.ndim), name)

    def store(self, expr: ir.Expr, shape: Shape, layout: Layout, name: str) -> Stored:
        """Bind a tensor.

        Parameters
        ----------
        expr : Expr
            The tensor as it is stored.
        shape : tuple of int
            Its logical shape.
        layout : Layout
            How it lies.
        name : str
            The variable's name.

        Raises
        ------
        ValueError
            The expression has another shape than such a tensor.
        """
        if not isinstance(expr, relax.Var | ir.GenericConst):
            expr = self.emit(expr, name)
        if tensor_shape(expr.ty) != layout.stored(shape):
            raise ValueError(f"{name}: {expr.ty} is not {shape} lying as {layout}")
        return Stored(shape, layout, {layout: expr}, name)

    def plain(self, value: Value) -> ir.Expr:
        """The value as the old function had it."""
        if isinstance(value, Stored):
            return self.get(value, value.plain)
        return ir.Tuple([self.plain(item) for item in value]) if isinstance(value, tuple) else value

    def get(self, value: Stored, layout: Layout) -> ir.Expr:
        """The expression that holds `value` in a layout; it is made unless it is there already."""
        if layout not in value.forms:
            near = value.near(layout)
            source = near if near is not None else value.home
            if not _one_move(source, layout):
                self.get(value, value.plain)
                source = value.plain
            suffix = {NHWC: "nhwc", identity(4): "nchw"}.get(layout, "permuted" if layout.order != value.plain.order else "plain")
            how = move(value.shape, source, layout)
            value.forms[layout] = self.moved(value.forms[source], how, None, f"{value.name}_{suffix}")
        return value.forms[layout]

    def broadcast(self, value: Stored, layout: Layout) -> ir.Expr:
        """The operand of an element-wise operator whose result lies as `layout`."""
        more = len(layout.order) - len(value.shape)
        if prod(value.shape) == 1 and more >= 0:
            return value.forms[value.home]
        if layout.plain:
            return self.get(value, value.plain)
        if not more:
            return self.get(value, layout.fit(value.shape))
        if more not in value.wide:
            home = widened(value.home, more)
            shape = (1,) * more + value.shape
            expr = self.reshape(value.forms[value.home], home.stored(shape), None, f"{value.name}_wide")
            value.wide[more] = Stored(shape, home, {home: expr}, value.name)
        return self.get(value.wide[more], layout.fit(value.wide[more].shape))

    def moved(self, expr: ir.Expr, how: Move, name: str | None, stem: str) -> ir.Expr:
        """Emit a move.

        Parameters
        ----------
        expr : Expr
            What to move.
        how : Move
            The move.
        name : str, optional
            The name of the result.
        stem : str
            What other variables are named after, and the result where it has no name.
        """
        if isinstance(expr, ir.GenericConst):
            return _const(how(expr.value.numpy()))
        if not how.free and expr in self._moves:  # a permute of a permute: one will do, and the other may become dead
            source, first = self._moves[expr]
            whole = compose(first, how)
            expr, how = (source, whole) if whole else (expr, how)
        if how.free:
            return self.reshape(expr, how.shape, name, stem)
        parts = self.reshape(expr, how.split, None, stem)
        shape = tuple(how.split[axis] for axis in how.axes)
        last = name if shape == how.shape else None
        permuted = self.emit(relax.op.permute_dims(parts, list(how.axes)), last or self.fresh(stem))
        result = self.reshape(permuted, how.shape, name, stem)
        self._moves[permuted] = self._moves[result] = expr, how
        return result

    def reshape(self, expr: ir.Expr, shape: Shape, name: str | None, stem: str) -> ir.Expr:
        """Emit a reshape; a reshape of a reshape becomes one.

        Parameters
        ----------
        expr : Expr
            What to reshape.
        shape : tuple of int
            The shape of the result.
        name : str, optional
            The name of the result.
        stem : str
            What the result is named after where it has no name.
        """
        if isinstance(expr, ir.GenericConst):
            return _const(expr.value.numpy().reshape(shape))
        expr = self._views.get(expr, expr)
        if tensor_shape(expr.ty) == shape:
            return expr
        view = self.emit(relax.op.reshape(expr, shape), name or self.fresh(stem))
        self._views[view] = expr
        if expr in self._moves:
            self._moves[view] = self._moves[expr]
        return view
