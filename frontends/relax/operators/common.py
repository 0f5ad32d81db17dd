"""What converters share: the form of one, values of constants, shapes."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import ir, relax

Inputs = list[relax.Expr]
Attributes = dict[str, Any]
Converter = Callable[[relax.BlockBuilder, Inputs, Attributes], relax.Expr | None]


def value_of(expr: relax.Expr | None) -> np.ndarray | None:
    """The value of a constant, or None."""
    return expr.value.numpy() if isinstance(expr, ir.GenericConst) else None


def const(array: np.ndarray) -> relax.Constant:
    """A constant of the array's own type: by itself relax.const makes float64 a float32."""
    return relax.const(array, str(array.dtype))


def shape_of(expr: relax.Expr) -> list[int]:
    """Static shape of a tensor."""
    return [int(size) for size in expr.ty.shape.values]


def dtype_of(expr: relax.Expr) -> str:
    """Element type of a tensor, as NumPy names it."""
    return str(expr.ty.dtype)


def bind(bb: relax.BlockBuilder, call: relax.Expr, name: str) -> relax.Var:
    """Bind `call` to a variable of exactly the name given; `BlockBuilder.emit` would replace dots and number duplicates.

    Parameters
    ----------
    bb : relax.BlockBuilder
        Where the binding goes.
    call : relax.Expr
        What is bound.
    name : str
        Name of the variable.
    """
    call = bb.normalize(call)
    var = relax.DataflowVar(name, call.ty)
    bb.emit_normalized(relax.VarBinding(var, call))
    return var


def text(attrs: Attributes, key: str, default: str) -> str:
    """Read a string attribute, which arrives as bytes.

    Parameters
    ----------
    attrs : dict
        Attributes of a node.
    key : str
        Name of the attribute.
    default : str
        Where the node has none.
    """
    value = attrs.get(key, default)
    return value.decode() if isinstance(value, bytes) else value
