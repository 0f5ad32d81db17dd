"""What a schedule needs to know about the blocks of a function: domains, memory strides, cost."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import tvm_ffi
from tvm import ir, s_tir, sym, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from ...targets.cpu_model import CpuModel

FEWEST_LANES = 4              # that a vector must have to be worth its instructions
_TRANSCENDENTAL_CYCLES = 1.2  # one element of exp, log, tanh, ... as a vector polynomial
_ROOT_CYCLES = 0.2            # one element of a division or square root
_ARITHMETIC_CYCLES = 0.08     # one element of any other vector operation
_TRANSCENDENTAL_INSTRUCTIONS = 24  # of the polynomials of `vector_math`
_ROOT_INSTRUCTIONS = 2
_TRANSCENDENTAL = set(
    "exp exp2 exp10 log log2 log10 log1p tanh sigmoid erf pow sin cos tan sinh cosh asin acos atan atan2 asinh acosh atanh".split())


@dataclass(frozen=True, eq=False)
class Access:
    """One load from a buffer, or one store to it."""

    buffer: tirx.Buffer
    indices: tuple[ir.Expr, ...]

    @cached_property
    def offset(self) -> ir.Expr:
        """The position in the buffer, in elements, row-major."""
        total = tirx.const(0, "int64")
        for index, size in zip(self.indices, self.buffer.shape, strict=True):
            total = total * size + tirx.Cast("int64", index)
        return total


@dataclass(frozen=True, eq=False)
class Block:
    """A snapshot of one block of a schedule; take a new one after a change to the block.

    Attributes
    ----------
    rv : SBlockRV
        The block's handle in the schedule.
    stmt : SBlock
        The block itself.
    kinds : str
        A letter for each of its axes: S spatial, R reduction, O any other.
    extents : tuple of int
        Their lengths.
    loads, stores : list of Access
        What its body reads and writes; a reduction's loads of its own result are left out.
    plain : bool
        The body is stores of expressions and nothing else: no loops, calls or blocks within.
    """

    rv: SBlockRV
    stmt: s_tir.SBlock
    kinds: str
    extents: tuple[int, ...]
    loads: list[Access]
    stores: list[Access]
    plain: bool
    _analyzer: sym.Analyzer = field(repr=False)

    @property
    def name(self) -> str:
        """The block's name."""
        return self.stmt.name_hint

    @property
    def axes(self) -> list[ir.Var]:
        """The variables of its axes."""
        return [v.var for v in self.stmt.iter_vars]

    @property
    def is_reduction(self) -> bool:
        """Whether it has a reduction axis."""
        return "R" in self.kinds

    @property
    def points(self) -> int:
        """How often the body runs."""
        return prod(self.extents)

    def sizes(self, kind: str) -> list[int]:
        """Lengths of the axes of one kind."""
        return [e for e, k in zip(self.extents, self.kinds, strict=True) if k == kind]

    def stride(self, access: Access, axis: int) -> int | None:
        """How many elements an access moves by when an axis moves by one; None if that is not constant."""
        var = self.axes[axis]
        moved = tvm_ffi.structural_map(access.offset, (ir.Var, lambda v: var + 1 if v.same_as(var) else v), order="post")
        step = self._analyzer.simplify(moved - access.offset)
        return int(step.value) if isinstance(step, tirx.IntImm) else None

    @cached_property
    def vector_axis(self) -> int | None:
        """The last spatial axis, if it is contiguous in the result and in each operand that depends on it, and divides into vectors."""
        last = self.kinds.rfind("S")
        if last < 0 or self.extents[last] % FEWEST_LANES or any(self.stride(st, last) != 1 for st in self.stores):
            return None
        strides = {self.stride(ld, last) for ld in self.loads}
        return last if strides <= {0, 1} and 1 in strides else None

    @cached_property
    def contiguous_reduced(self) -> list[int]:
        """The reduction axes that can be walked as one contiguous axis, outermost first; empty if there are none.

        The last of them is contiguous in each operand that depends on it. The others continue it in every operand.
        """
        strides = {i: [self.stride(ld, i) for ld in self.loads] for i, k in enumerate(self.kinds) if k == "R" and self.extents[i] > 1}
        last = next((i for i, of_loads in strides.items() if set(of_loads) <= {0, 1} and 1 in of_loads), None)
        if last is None:
            return []
        axes, length, steps = [last], self.extents[last], [step or 0 for step in strides[last]]  # each 0 or 1
        for axis in range(last - 1, -1, -1):
            if axis not in strides or strides[axis] != [length * step for step in steps]:
                break
            axes.insert(0, axis)
            length *= self.extents[axis]
        return axes

    @cached_property
    def transcendentals(self) -> int:
        """How many calls of exp, log and the like the body has."""
        return transcendentals(self.stmt.body)

    @cached_property
    def roots(self) -> int:
        """How many divisions and square roots the body has."""
        return _roots(self.stmt.body)

    @cached_property
    def operations(self) -> int:
        """How many other arithmetic operations the body has, those on indices aside."""
        return _operations(self.stmt.body)

    @cached_property
    def names(self) -> bool:
        """Whether the body binds names (`let`), so that it can't be copied as it is."""
        return bool(_collect(self.stmt.body, tirx.Let))

    @cached_property
    def branches(self) -> bool:
        """Whether the body chooses between values, as padding does."""
        return bool(_collect(self.stmt.body, ir.Call, lambda c: call_name(c) == "if_then_else"))

    @cached_property
    def branch_axes(self) -> dict[int, list[int]]:
        """The axes that branches of the body test, each with the positions where a branch changes sides.

        An axis has no positions where they can't be read off the conditions.
        """
        found: dict[int, list[int]] = {}
        for branch in _collect(self.stmt.body, ir.Call, lambda c: call_name(c) == "if_then_else"):
            for axis, var in enumerate(self.axes):
                if mentions(branch.args[0], var):
                    found.setdefault(axis, []).extend(_borders(branch.args[0], var))
        return {axis: sorted({b for b in borders if 0 < b < self.extents[axis]}) for axis, borders in found.items()}

    @cached_property
    def compute_cycles(self) -> float:
        """Estimated cycles of the arithmetic of one run of the body on one core, when vectorised."""
        return self.transcendentals * _TRANSCENDENTAL_CYCLES + self.roots * _ROOT_CYCLES + self.operations * _ARITHMETIC_CYCLES

    def work_cycles(self, cpu: CpuModel) -> float:
        """Estimated cycles of the whole block on one core, what it reads and writes in the L3 cache."""
        touched = sum(int(a.buffer.dtype.bits) / 8 for a in (*self.loads, *self.stores))
        return self.points * (touched / cpu.l3_round_trip_bytes_per_cycle + self.compute_cycles)


def blocks_of(s: Schedule) -> list[Block]:
    """Snapshots of the blocks directly below the root, in order; none for a body without blocks."""
    root = s.mod["main"].body
    if not isinstance(root, s_tir.SBlockRealize):
        return []
    return [_block(s, rv) for rv in s.get_child_blocks(s.get_sblock(root.block.name_hint))]


def block_of(s: Schedule, rv: SBlockRV) -> Block:
    """A fresh snapshot of one block."""
    return _block(s, rv)


def block_names(func: tirx.PrimFunc) -> list[str]:
    """Names of the blocks of a function, in order, without its root."""
    names = [b.name_hint for b in _collect(func.body, s_tir.SBlock)]
    return [n for n in names if n != "root"]


def has_constant_shapes(func: tirx.PrimFunc) -> bool:
    """Whether every parameter is a buffer of known size."""
    return all(tirx.is_buffer_var(p) and all(isinstance(d, tirx.IntImm) for d in p.shape) for p in func.params)


def calls_library(func: tirx.PrimFunc) -> bool:
    """Whether a function calls code of a library, as a sort does."""
    library = {"tvm_call_packed", "tvm_call_cpacked", "call_extern"}
    return bool(_collect(func.body, ir.Call, lambda c: call_name(c) in library))


def has_parallel_loop(func: tirx.PrimFunc) -> bool:
    """Whether a loop of the function is marked as parallel."""
    return bool(_collect(func.body, tirx.For, lambda loop: loop.kind == tirx.ForKind.PARALLEL))


def outputs(func: tirx.PrimFunc) -> list[tirx.Buffer]:
    """The parameters that the function writes."""
    written = _collect(func.body, tirx.BufferStore)
    return [p for p in func.params if any(w.buffer.same_as(p) for w in written)]


def call_name(call: ir.Call) -> str:
    """Name of the intrinsic that is called, without its dialect; empty for other calls."""
    return str(call.op.name).split(".")[-1] if isinstance(call.op, ir.Op) else ""


def transcendentals(node: ir.Expr | tirx.Stmt) -> int:
    """How many calls of exp, log and the like an expression or a statement has."""
    return len(_collect(node, ir.Call, lambda c: call_name(c) in _TRANSCENDENTAL))


def effort(node: ir.Expr | tirx.Stmt) -> int:
    """About how many vector instructions an expression or a statement becomes, polynomials and all."""
    return _operations(node) + _ROOT_INSTRUCTIONS * _roots(node) + _TRANSCENDENTAL_INSTRUCTIONS * transcendentals(node)


def find_annotated(s: Schedule, key: str) -> SBlockRV | None:
    """The block that carries the annotation `key`; None if there is none."""
    for block in s.get_child_blocks(s.get_sblock("root")):
        if key in s.get(block).annotations:
            return block
    return None


def _roots(node: ir.Expr | tirx.Stmt) -> int:
    calls = _collect(node, ir.Call, lambda c: call_name(c) in ("sqrt", "rsqrt"))
    return len(calls) + len(_collect(node, tirx.Div, _is_float))


def _operations(node: ir.Expr | tirx.Stmt) -> int:
    kinds = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Max, tirx.Min, tirx.Select)
    return sum(len(_collect(node, kind, _is_float)) for kind in kinds)


def mentions(expr: ir.Expr, var: ir.Var) -> bool:
    """Whether an expression contains a variable."""
    return bool(_collect(expr, ir.Var, lambda v: v.same_as(var)))


def _block(s: Schedule, rv: SBlockRV) -> Block:
    stmt = s.get(rv)
    analyzer = sym.Analyzer()
    for v in stmt.iter_vars:
        analyzer.bind(v.var, v.dom)
    kinds = "".join({tirx.IterVar.DataPar: "S", tirx.IterVar.CommReduce: "R"}.get(v.iter_type, "O") for v in stmt.iter_vars)
    extents = tuple(int(v.dom.extent) for v in stmt.iter_vars)
    stores = [Access(st.buffer, tuple(st.indices)) for st in _collect(stmt.body, tirx.BufferStore)]
    written = [st.buffer for st in stores]
    loads = [Access(ld.source, tuple(ld.indices)) for ld in _collect(stmt.body, ir.TensorLoad)]
    loads = [ld for ld in loads if not any(ld.buffer.same_as(w) for w in written)]
    body = list(stmt.body.seq) if isinstance(stmt.body, tirx.SeqStmt) else [stmt.body]
    plain = all(isinstance(st, (tirx.BufferStore, tirx.Bind)) for st in body)
    return Block(rv, stmt, kinds, extents, loads, stores, plain, analyzer)


def _collect(node: ir.Expr | tirx.Stmt, kind: type, keep: Callable[[Any], bool] = lambda node: True) -> list[Any]:
    """Every node of a kind within an expression or a statement that `keep` accepts."""
    found: list[Any] = []

    def visit(one: ir.Expr | tirx.Stmt) -> None:
        if keep(one):
            found.append(one)

    tvm_ffi.structural_walk(node, (kind, visit))
    return found


def _borders(condition: ir.Expr, var: ir.Var) -> list[int]:
    """Positions of `c <= v` and `v < c` in a condition; other forms give none."""
    borders: list[int] = []

    def constant_and_axis(constant: ir.Expr, axis: ir.Expr, offset: int) -> None:
        if isinstance(constant, tirx.IntImm) and axis.same_as(var):
            borders.append(int(constant.value) + offset)

    def visit(test: ir.Expr) -> None:
        if isinstance(test, tirx.LE):
            constant_and_axis(test.a, test.b, 0)
            constant_and_axis(test.b, test.a, 1)
        else:
            constant_and_axis(test.b, test.a, 0)
            constant_and_axis(test.a, test.b, 1)

    tvm_ffi.structural_walk(condition, ((tirx.LE, tirx.LT), visit))
    return borders


def _is_float(expr: ir.Expr) -> bool:
    return not str(expr.ty.dtype).startswith("int")
