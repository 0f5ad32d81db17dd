"""Fixed sizes: what the user gave for dynamic inputs, a batch of 1 where nobody said more, and the refusal of what is still open."""
from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

from onnxscript import ir

from ...support.errors import TenfoldError, TenfoldWarning
from ..reading import Reading


def fix_inputs(model: ir.Model, reading: Reading, name: str) -> str:
    """Give every graph input a static shape, in place.

    A size is dynamic that is a symbol, absent, or below 1. A symbol (such as ``batch``) that one given input fixes is fixed for the
    other inputs too. A first size that is still open is `reading.batch`, or 1 with a warning. The shapes of all other values, which
    may speak of the symbols, are forgotten.

    Parameters
    ----------
    model : ir.Model
        Changed in place.
    reading : Reading
        The sizes that were asked for.
    name : str
        How messages name the model.

    Returns
    -------
    str
        What errors say of the sizes that were chosen here; empty if the model has no dynamic size.

    Raises
    ------
    TenfoldError
        An unknown input name, a shape or a batch that contradicts the model, or a dynamic size that nobody fixed.
    """
    given = {key: tuple(int(size) for size in shape) for key, shape in (reading.input_shapes or {}).items()}
    inputs = {value.name: value for value in model.graph.inputs}
    for key in given:
        if key not in inputs:
            raise TenfoldError(f"{name}: there is no input {key!r} to give a shape to; the inputs are {', '.join(map(repr, inputs))}")
    symbols: dict[str, int] = {}
    for key, shape in given.items():
        _match(inputs[key], shape, symbols, name)
    open_batch = [value for key, value in inputs.items() if key not in given and _first_is_open(value, symbols)]
    batch = 1 if reading.batch is None else reading.batch
    for value in open_batch:
        symbols |= {symbol: batch for symbol in [_symbol(value.shape[0])] if symbol}
    shapes = {key: given.get(key) or _resolve(value, symbols, batch, name) for key, value in inputs.items()}
    if reading.batch is not None:
        _check_given_batch(batch, shapes, name)
    elif open_batch:
        which = "input " + repr(open_batch[0].name) if len(open_batch) == 1 else "inputs " + ", ".join(repr(v.name) for v in open_batch)
        warnings.warn(f"{name}: the first size of {which} is dynamic: taken as 1 (--batch N sets another)", TenfoldWarning, stacklevel=2)
    dynamic = [key for key, value in inputs.items() if value.shape is None or any(_is_dynamic(dim) for dim in value.shape)]
    for key, value in inputs.items():
        value.shape = ir.Shape(shapes[key])
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None
    chosen = " and ".join(f"{key}={_sizes(shapes[key])}" for key in dynamic)
    return f"; with {chosen}, other sizes may fit (--input-shape, --batch)" if chosen else ""


def _is_dynamic(dim: int | ir.SymbolicDim) -> bool:
    return not isinstance(dim, int) or dim < 1


def _symbol(dim: int | ir.SymbolicDim) -> str | None:
    """The name of a dynamic size, which several may share. Exporters that have none write a question mark."""
    return None if isinstance(dim, int) or dim.value == "?" else dim.value


def _first_is_open(value: ir.Value, symbols: dict[str, int]) -> bool:
    return value.shape is not None and len(value.shape) > 0 and _is_dynamic(value.shape[0]) and _symbol(value.shape[0]) not in symbols


def _match(value: ir.Value, shape: tuple[int, ...], symbols: dict[str, int], name: str) -> None:
    """Add to `symbols` what `shape` makes of those in the declared shape of `value`."""
    text = _sizes(shape)
    if any(size < 1 for size in shape):
        raise TenfoldError(f"{name}: input {value.name!r}: sizes are at least 1, not {text}")
    if value.shape is None:
        return
    if len(value.shape) != len(shape):
        raise TenfoldError(f"{name}: input {value.name!r} is of shape {_text(value)}: the given shape {text} has {len(shape)} dimensions")
    for axis, (declared, size) in enumerate(zip(value.shape, shape, strict=True)):
        if not _is_dynamic(declared) and declared != size:
            raise TenfoldError(f"{name}: input {value.name!r}: dimension {axis} is {declared} in the model, {size} in the shape {text}")
        symbol = _symbol(declared)
        if symbol and symbols.setdefault(symbol, size) != size:
            raise TenfoldError(
                f"{name}: input {value.name!r}: dimension {axis} is {symbol!r} in the model, which other sizes given make"
                f" {symbols[symbol]}: it can't be {size} in the shape {text}"
            )


def _resolve(value: ir.Value, symbols: dict[str, int], batch: int, name: str) -> tuple[int, ...]:
    if value.shape is None:
        raise TenfoldError(f"{name}: input {value.name!r} has no shape at all: give it with --input-shape {value.name}=1,3,224,224")
    sizes = [int(dim) if isinstance(dim, int) and not _is_dynamic(dim) else symbols.get(_symbol(dim) or "") for dim in value.shape]
    if sizes and sizes[0] is None:
        sizes[0] = batch
    for axis, open_size in enumerate(sizes):
        if open_size is None:
            stand_ins = [1, 3, 224, 224] if len(sizes) == 4 else [1] * len(sizes)
            example = _sizes(size or stand_in for size, stand_in in zip(sizes, stand_ins, strict=True))
            fix = f"fix it with --input-shape {value.name}={example}"
            raise TenfoldError(f"{name}: input {value.name!r} has a dynamic size: dimension {axis} of {_text(value)}; {fix}")
    return tuple(size for size in sizes if size is not None)


def _check_given_batch(batch: int, shapes: Mapping[str, Sequence[int]], name: str) -> None:
    if shapes and all(not shape or shape[0] != batch for shape in shapes.values()):
        fixed = ", ".join(f"{key}={_sizes(shape)}" for key, shape in shapes.items())
        raise TenfoldError(
            f"{name}: a batch of {batch} is not possible: the sizes are fixed ({fixed}); export the network with a dynamic batch"
        )


def check_batch(graph: ir.Graph, batch: int | None, name: str) -> None:
    """Warn if images of a batch seem to mix: an output has a first size that is no multiple of the batch.

    Parameters
    ----------
    graph : ir.Graph
        With static shapes.
    batch : int or None
        The batch that was asked for.
    name : str
        How messages name the model.
    """
    if batch is None or any(not value.shape or value.shape[0] != batch for value in graph.inputs):
        return
    for value in graph.outputs:
        if not value.shape or value.shape[0] % batch:
            warnings.warn(
                f"{name}: output {value.name!r} is of shape {_text(value)} for a batch of {batch}: the network may be made for one image"
                " only (a Reshape with a fixed batch); if so, use --batch 1",
                TenfoldWarning,
                stacklevel=2,
            )


def _sizes(shape: Iterable[int | str]) -> str:
    return ",".join(map(str, shape))


def _text(value: ir.Value) -> str:
    return "[" + _sizes((dim if isinstance(dim, int) else dim.value or "?") for dim in value.shape or ()) + "]"


def check_static(values: Iterable[ir.Value], name: str) -> None:
    """Raise TenfoldError for the first output whose size is known only when the network runs, and name the cause."""
    for value in values:
        if value.shape is not None and value.shape.is_static():
            continue
        culprit = _origin(value)
        before = next((repr(x.name) for x in culprit.inputs if x is not None and x.producer() is not None), "NAME")
        cut = f"cut the network before that node (--outputs {before})"
        if culprit.domain not in ("", "ai.onnx"):
            operator = f"{culprit.domain}.{culprit.op_type}"
            raise TenfoldError(f"{name}: operator {operator} (node {culprit.name!r}) can't be imported: {cut}")
        raise TenfoldError(
            f"{name}: the size of output {value.name!r} is not known before the network runs, because of operator {culprit.op_type}"
            f" (node {culprit.name!r}): {cut}"
        )


def _origin(value: ir.Value) -> ir.Node:
    """The earliest node that makes `value` dynamic."""
    node = value.producer()
    while True:
        dynamic = [x for x in node.inputs if x is not None and x.producer() and not (x.shape is not None and x.shape.is_static())]
        if not dynamic:
            return node
        node = dynamic[0].producer()
