"""LSTM, GRU and RNN layers, written out step by step.

    for all steps at once:  u = x W' + b            one matrix product
    for each step t:        gates = u[t] + h R',  h = f(gates, h)

Only the recurrent part is repeated, and all its steps are calls of the same few kernels: each takes its row of `u` by an index that is an
argument. The definitions are ONNX's; sequences are as long as the input.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import relax

from ....support.errors import TenfoldError
from .common import Attributes, Converter, Inputs, bind, const, dtype_of, shape_of, text, value_of

op = relax.op
Activation = Callable[[relax.Expr], relax.Expr]
MOST_STEPS = 512  # steps: each is some kernel calls, and compiling takes a quarter of a second for one of two directions
OUTPUTS_JOINED = 8  # outputs of steps that one concatenation takes; the concatenations of a sequence share their kernel


def _scaled(x: relax.Expr, factor: float, offset: float = 0.0) -> relax.Expr:
    dtype = dtype_of(x)
    return op.add(op.multiply(x, relax.const(factor, dtype)), relax.const(offset, dtype))


# name -> (alpha, beta) -> function; ONNX gives the defaults
ACTIVATIONS: dict[str, Callable[[float | None, float | None], Activation]] = {
    "sigmoid": lambda a, b: op.sigmoid,
    "tanh": lambda a, b: op.tanh,
    "relu": lambda a, b: op.nn.relu,
    "affine": lambda a, b: lambda x: _scaled(x, 1.0 if a is None else a, b or 0.0),
    "leakyrelu": lambda a, b: lambda x: op.nn.leakyrelu(x, 0.01 if a is None else a),
    "hardsigmoid": lambda a, b: lambda x: op.clip(_scaled(x, 0.2 if a is None else a, 0.5 if b is None else b), 0, 1),
    "softsign": lambda a, b: lambda x: op.divide(x, op.add(op.abs(x), relax.const(1.0, dtype_of(x)))),
}


@dataclass
class _Cell:
    """One direction of a layer; a step takes the builder, the input part of the gates and the state, whose first tensor it puts out.

    Everything is (1, batch, ...): a constant of three axes is no layer of its own, which a plan could name.
    """

    name: str
    hidden: int
    recurrent: list[relax.Expr]
    activations: list[Activation]
    attrs: Attributes
    recurrent_bias: relax.Expr | None = None
    peephole: list[relax.Expr] | None = None
    products: int = 0

    def bounded(self, bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
        limit = self.attrs.get("clip")
        return bb.emit(op.clip(x, -limit, limit) if limit else x)

    def times(self, bb: relax.BlockBuilder, h: relax.Expr, part: int = 0) -> relax.Expr:
        """h R', under a name by which listings put all steps together."""
        self.products += 1
        return bind(bb, op.matmul(h, self.recurrent[part]), f"{self.name}.step{self.products}")

    def gates(self, bb: relax.BlockBuilder, total: relax.Expr, count: int) -> list[relax.Expr]:
        return _split(bb, total, self.hidden, count)

    def rnn(self, bb: relax.BlockBuilder, row: relax.Expr, state: tuple[relax.Expr, ...]) -> tuple[relax.Expr, ...]:
        total = op.add(row, self.times(bb, state[0]))
        return (bb.emit(self.activations[0](self.bounded(bb, total))),)

    def gru(self, bb: relax.BlockBuilder, row: relax.Expr, state: tuple[relax.Expr, ...]) -> tuple[relax.Expr, ...]:
        """Gates in the order update, reset, candidate."""
        (h,), (f, g) = state, self.activations
        update, reset, candidate = self.gates(bb, row, 3)
        update_h, reset_h, *candidate_h = self.gates(bb, self.times(bb, h), 4 - len(self.recurrent))
        z = bb.emit(f(self.bounded(bb, op.add(update, update_h))))
        r = bb.emit(f(self.bounded(bb, op.add(reset, reset_h))))
        if candidate_h:  # linear_before_reset
            part = candidate_h[0] if self.recurrent_bias is None else op.add(candidate_h[0], self.recurrent_bias)
            inner = op.multiply(r, part)
        else:
            inner = self.times(bb, bb.emit(op.multiply(r, h)), 1)
        new = bb.emit(g(self.bounded(bb, op.add(candidate, inner))))
        return (bb.emit(op.add(new, op.multiply(z, op.subtract(h, new)))),)

    def lstm(self, bb: relax.BlockBuilder, row: relax.Expr, state: tuple[relax.Expr, ...]) -> tuple[relax.Expr, ...]:
        """Gates in the order input, output, forget, cell; a state is (h, c)."""
        (h, c), (f, g, k), peep = state, self.activations, self.peephole
        total = bb.emit(op.add(row, self.times(bb, h)))
        i, o, forget, cell = self.gates(bb, total, 4)
        if peep:
            i, forget = op.add(i, op.multiply(peep[0], c)), op.add(forget, op.multiply(peep[2], c))
        i = bb.emit(f(self.bounded(bb, i)))
        forget = op.subtract(relax.const(1.0, dtype_of(i)), i) if self.attrs.get("input_forget", 0) else f(self.bounded(bb, forget))
        c = bb.emit(op.add(op.multiply(forget, c), op.multiply(i, g(self.bounded(bb, cell)))))
        o = op.add(o, op.multiply(peep[1], c)) if peep else o
        return bb.emit(op.multiply(f(self.bounded(bb, o)), k(c))), c


@dataclass(frozen=True)
class _Kind:
    gates: int
    activations: tuple[str, ...]
    step: Callable


KINDS = {
    "RNN": _Kind(1, ("Tanh",), _Cell.rnn),
    "GRU": _Kind(3, ("Sigmoid", "Tanh"), _Cell.gru),
    "LSTM": _Kind(4, ("Sigmoid", "Tanh", "Tanh"), _Cell.lstm),
}


def _recurrent(kind: _Kind) -> Converter:
    def convert(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
        x, weight, recurrence, bias, lengths, *states, peephole = [*inputs, *[None] * 8][:8]
        first = bool(attrs.get("layout", 0))
        x = bb.emit(op.permute_dims(x, [1, 0, 2])) if first else x
        steps, batch, _ = shape_of(x)
        if lengths is not None and ((given := value_of(lengths)) is None or not np.all(given == steps)):
            raise TenfoldError("sequences of different lengths (sequence_lens) are not supported: leave that input out")
        if steps > MOST_STEPS:
            raise TenfoldError(f"sequences of {steps} steps are not supported, at most {MOST_STEPS}")
        hidden, direction = shape_of(recurrence)[2], text(attrs, "direction", "forward").lower()
        states = states[: 2 if kind.gates == 4 else 1]
        results = []
        for i in range(2 if direction == "bidirectional" else 1):
            matrix = _part(bb, recurrence, i, transpose=True)
            two_parts = kind.gates == 3 and not attrs.get("linear_before_reset", 0)
            matrices = [_columns(bb, matrix, 0, 2 * hidden), _columns(bb, matrix, 2 * hidden, 3 * hidden)] if two_parts else [matrix]
            backward = direction == "reverse" or i == 1
            name = f"{attrs['tvm_custom']['name']}.{'backward' if backward else 'forward'}"
            cell = _Cell(name, hidden, matrices, _activations(attrs, kind, i), attrs)
            if peephole is not None and kind.gates == 4:
                cell.peephole = _split(bb, _part(bb, peephole, i), hidden, 3)
            rows = _input_part(bb, x, weight, bias, cell, kind, i)
            start = tuple(_initial(bb, state, i, (1, batch, hidden), dtype_of(x), first) for state in states)
            results.append(_run(bb, rows, start, lambda row, state, cell=cell: kind.step(cell, bb, row, state), backward))
        return _outputs(bb, results, attrs)

    return convert


def _run(bb: relax.BlockBuilder, rows: relax.Expr, state: tuple, step: Callable, backward: bool) -> tuple[relax.Expr, tuple]:
    """Unroll one direction: outputs (steps, batch, hidden) in the order of time, and the last state."""
    steps = shape_of(rows)[0]
    outputs: list[relax.Expr] = []
    for t in reversed(range(steps)) if backward else range(steps):
        # An index of one entry is an argument of the kernel, a number would be part of it.
        state = step(bb.emit(op.take(rows, relax.const(np.array([t]), "int64"), axis=0, mode="clip")), state)
        outputs.append(state[0])
    outputs = outputs[::-1] if backward else outputs
    while len(outputs) > 1:
        groups = [outputs[i : i + OUTPUTS_JOINED] for i in range(0, len(outputs), OUTPUTS_JOINED)]
        outputs = [group[0] if len(group) == 1 else bb.emit(op.concat(group, 0)) for group in groups]
    return outputs[0], state


def _outputs(bb: relax.BlockBuilder, results: list[tuple[relax.Expr, tuple]], attrs: Attributes) -> relax.Expr:
    """Y (steps, directions, batch, hidden), then the last states (directions, batch, hidden); batch first with layout = 1."""
    first = bool(attrs.get("layout", 0))
    whole = [bb.emit(op.expand_dims(outputs, 1)) for outputs, _ in results]
    whole = whole[0] if len(whole) == 1 else bb.emit(op.concat(whole, 1))
    states = [[state[j] for _, state in results] for j in range(len(results[0][1]))]
    last = [each[0] if len(each) == 1 else bb.emit(op.concat(each, 0)) for each in states]
    if first:
        whole, last = bb.emit(op.permute_dims(whole, [2, 0, 1, 3])), [bb.emit(op.permute_dims(x, [1, 0, 2])) for x in last]
    wanted = [whole, *last][: attrs["tvm_custom"]["num_outputs"]]
    return wanted[0] if len(wanted) == 1 else relax.Tuple(wanted)


def _input_part(
    bb: relax.BlockBuilder, x: relax.Expr, weight: relax.Expr, bias: relax.Expr | None, cell: _Cell, kind: _Kind, i: int
) -> relax.Expr:
    """x W' + b of all steps. Both biases are in it, but the recurrent one of a GRU's candidate where the reset gate comes after."""
    rows, width = bind(bb, op.matmul(x, _part(bb, weight, i, transpose=True)), f"{cell.name}.input"), kind.gates * cell.hidden
    if bias is None:
        return rows
    own, other = _split(bb, _part(bb, bias, i), width, 2)
    if kind.gates == 3 and cell.attrs.get("linear_before_reset", 0):
        *_, cell.recurrent_bias = parts = _split(bb, other, cell.hidden, 3)
        nothing = relax.const(np.zeros((1, 1, cell.hidden)), dtype_of(x))
        other = bb.emit(op.concat([*parts[:2], nothing], 2))
    return bb.emit(op.add(rows, bb.emit(op.add(own, other))))


def _activations(attrs: Attributes, kind: _Kind, i: int) -> list[Activation]:
    count = len(kind.activations)
    names = [name.decode() if isinstance(name, bytes) else name for name in attrs.get("activations", kind.activations)]
    names = names[i * count : (i + 1) * count] or names[:count]
    if "activation_alpha" in attrs or "activation_beta" in attrs:
        if {name.lower() for name in names} - {"sigmoid", "tanh", "relu", "softsign"}:
            raise TenfoldError("activation_alpha and activation_beta are not supported: leave activations at their defaults")
    unknown = [name for name in names if name.lower() not in ACTIVATIONS]
    if unknown:
        raise TenfoldError(f"activation {unknown[0]} is not supported, but {', '.join(ACTIVATIONS)}")
    return [ACTIVATIONS[name.lower()](None, None) for name in names]


def _initial(
    bb: relax.BlockBuilder, state: relax.Expr | None, i: int, shape: tuple[int, ...], dtype: str, first: bool
) -> relax.Expr:
    if state is None:
        return relax.const(np.zeros(shape), dtype)
    return _part(bb, bb.emit(op.permute_dims(state, [1, 0, 2])) if first else state, i)


def _part(bb: relax.BlockBuilder, x: relax.Expr, i: int, transpose: bool = False) -> relax.Expr:
    """What belongs to direction `i`, or its transpose, as (1, rows, columns); of a constant, a constant."""
    array = value_of(x)
    if array is not None:
        array = array[i : i + 1] if array.ndim == 3 else array[None, i : i + 1]
        return const(np.ascontiguousarray(array.swapaxes(1, 2) if transpose else array))
    part = op.strided_slice(x, [0], [i], [i + 1])
    part = bb.emit(part if x.ty.ndim == 3 else op.expand_dims(part, 0))
    return bb.emit(op.permute_dims(part, [0, 2, 1])) if transpose else part


def _columns(bb: relax.BlockBuilder, x: relax.Expr, start: int, end: int) -> relax.Expr:
    array = value_of(x)
    return bb.emit(op.strided_slice(x, [2], [start], [end])) if array is None else const(np.ascontiguousarray(array[..., start:end]))


def _split(bb: relax.BlockBuilder, x: relax.Expr, width: int, count: int) -> list[relax.Expr]:
    return [_columns(bb, x, i * width, (i + 1) * width) for i in range(count)]


RECURRENT: dict[str, Converter] = {name: _recurrent(kind) for name, kind in KINDS.items()}
