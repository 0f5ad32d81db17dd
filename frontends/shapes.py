"""Fixed sizes: what the user gave for dynamic inputs, and the refusal of what is still open."""
from __future__ import annotations

from collections.abc import Iterable

from onnxscript import ir

from ..errors import TenfoldError


def fix_inputs(model: ir.Model, input_shapes: dict[str, tuple[int, ...]] | None, name: str) -> None:
    """Give every graph input a static shape, in place.

    A symbol (such as ``batch``) that one given input fixes is fixed for the other inputs too. The shapes of all other values,
    which may speak of the symbols, are forgotten.

    Raises
    ------
    TenfoldError
        An unknown input name, a shape that contradicts the model, or a dynamic size that nobody fixed.
    """
    given = {key: tuple(int(size) for size in shape) for key, shape in (input_shapes or {}).items()}
    inputs = {value.name: value for value in model.graph.inputs}
    for key in given:
        if key not in inputs:
            raise TenfoldError(f"{name}: there is no input {key!r} to give a shape to; the inputs are {', '.join(map(repr, inputs))}")
    symbols: dict[str, int] = {}
    for key, shape in given.items():
        symbols |= _match(inputs[key], shape, name)
    for key, value in inputs.items():
        value.shape = ir.Shape(given.get(key) or _resolve(value, symbols, name))
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None


def _match(value: ir.Value, shape: tuple[int, ...], name: str) -> dict[str, int]:
    """What `shape` makes of the symbols in the declared shape of `value`."""
    text = ",".join(map(str, shape))
    if any(size < 1 for size in shape):
        raise TenfoldError(f"{name}: input {value.name!r}: sizes are at least 1, not {text}")
    if value.shape is None:
        return {}
    if len(value.shape) != len(shape):
        raise TenfoldError(f"{name}: input {value.name!r} is of shape {_text(value)}: the given shape {text} has {len(shape)} dimensions")
    symbols = {}
    for axis, (declared, size) in enumerate(zip(value.shape, shape, strict=True)):
        if isinstance(declared, int) and declared != size:
            raise TenfoldError(f"{name}: input {value.name!r}: dimension {axis} is {declared} in the model, {size} in the shape {text}")
        if not isinstance(declared, int) and declared.value:
            symbols[declared.value] = size
    return symbols


def _resolve(value: ir.Value, symbols: dict[str, int], name: str) -> list[int]:
    if value.shape is None:
        raise TenfoldError(f"{name}: input {value.name!r} has no shape at all: give it with --input-shape {value.name}=1,3,224,224")
    sizes = [dim if isinstance(dim, int) else symbols.get(dim.value) for dim in value.shape]
    for axis, size in enumerate(sizes):
        if size is None or size < 1:
            stand_ins = [1, 3, 224, 224] if len(sizes) == 4 else [1] * len(sizes)
            example = ",".join(str(size or stand_in) for size, stand_in in zip(sizes, stand_ins, strict=True))
            fix = f"fix it with --input-shape {value.name}={example}"
            raise TenfoldError(f"{name}: input {value.name!r} has a dynamic size: dimension {axis} of {_text(value)}; {fix}")
    return sizes


def _text(value: ir.Value) -> str:
    return "[" + ",".join(str(dim if isinstance(dim, int) else dim.value or "?") for dim in value.shape) + "]"


def check_static(values: Iterable[ir.Value], name: str) -> None:
    """Raise TenfoldError for the first output whose size is known only when the network runs, and name the cause."""
    for value in values:
        if value.shape is not None and value.shape.is_static():
            continue
        culprit = _origin(value)
        if culprit.domain not in ("", "ai.onnx"):
            raise TenfoldError(f"{name}: operator {culprit.domain}.{culprit.op_type} (node {culprit.name!r}) can't be imported")
        raise TenfoldError(
            f"{name}: the size of output {value.name!r} is not known before the network runs, because of operator {culprit.op_type}"
            f" (node {culprit.name!r}): cut the network before that node"
        )


def _origin(value: ir.Value) -> ir.Node:
    """The earliest node that makes `value` dynamic."""
    node = value.producer()
    while True:
        dynamic = [x for x in node.inputs if x is not None and x.producer() and not (x.shape is not None and x.shape.is_static())]
        if not dynamic:
            return node
        node = dynamic[0].producer()
