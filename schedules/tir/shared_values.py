"""Element-wise values that are read more than once get a name in the block that reads them, and are computed once.

    a = f(x);  b = g(a);  y = a * b    ->    y = let a = f(x) in a * g(a)

Inlined one by one, a value is copied to each of its readers: with n of the above in a row, f is copied 2^n times.
"""
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, s_tir, tirx

from .analysis import effort, outputs
from .loop_nests import add_region, block_of_nest, changed, has_nests, loads_in, nests_of, region, substitute, with_nests

MOST_EFFORT = 250   # of one block: beyond, its code, which is repeated for all registers of a tile, takes seconds to compile
MOST_COPIED_EFFORT = 4  # of all copies but the first, up to which a value is copied, without a name: LLVM sees that they are the same


@dataclass
class _Node:
    """A block that can take part: one store, element by element, into a buffer of the shape of its axes."""

    nest: tirx.Stmt
    block: s_tir.SBlock

    @property
    def buffer(self) -> tirx.Buffer:
        return self.block.body.buffer

    @property
    def axes(self) -> list[ir.Var]:
        return [v.var for v in self.block.iter_vars]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(v.dom.extent) for v in self.block.iter_vars)

    def loads(self, buffer: tirx.Buffer) -> list[ir.TensorLoad]:
        return [ld for ld in loads_in(self.block.body.value) if ld.source.same_as(buffer)]

    def follows(self, other: _Node) -> bool:
        """Whether it reads the other at its own position, and nowhere else."""
        loads = self.loads(other.buffer)
        return bool(loads) and self.shape == other.shape and all(_is_position(ld.indices, self.axes, self.shape) for ld in loads)


def share_values(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Join element-wise blocks with the blocks that read them, where a value is read more than once, as far as `MOST_EFFORT` allows."""
    while has_nests(func):
        joined = _share(func)
        if joined is func:
            break
        func = joined  # what a value that was copied reads is now read more than once itself
    return func


def _share(func: tirx.PrimFunc) -> tirx.PrimFunc:
    nests, results = nests_of(func), outputs(func)
    nodes = [_node(nest) for nest in nests]
    gone: list[int] = []
    for i in _joined(nodes, results):
        reader = _only_reader(i, nodes, nests, gone)
        if reader is None or not _fits(nodes, i, reader, gone):
            continue
        joined = _taken(nodes, reader)
        joined.block = _with_value(joined, _taken(nodes, i))
        gone.append(i)
    if not gone:
        return func
    both = [(nest, node) for i, (nest, node) in enumerate(zip(nests, nodes, strict=True)) if i not in gone]
    kept = [nest if node is None else _around(nest, node.block) for nest, node in both]
    dead = [_taken(nodes, i).buffer for i in gone]
    return with_nests(func, kept, [b for b in func.body.block.alloc_buffers if not any(b.same_as(d) for d in dead)])


def _taken(nodes: Sequence[_Node | None], i: int) -> _Node:
    """Node `i`, which is known to take part."""
    node = nodes[i]
    assert node is not None
    return node


def _node(nest: tirx.Stmt) -> _Node | None:
    block = block_of_nest(nest)
    spatial = all(v.iter_type == tirx.IterVar.DataPar for v in block.iter_vars)
    if not spatial or not block.iter_vars or not isinstance(block.body, tirx.BufferStore) or block.annotations:
        return None
    node = _Node(nest, block)
    return node if _is_position(block.body.indices, node.axes, node.shape) else None


def _is_position(indices: Sequence[ir.Expr], axes: Sequence[ir.Var], shape: Sequence[int]) -> bool:
    """Whether indices are the axes, in order; a constant will do for an axis of length 1."""
    if len(indices) != len(axes):
        return False
    return all(i.same_as(v) or (size == 1 and isinstance(i, tirx.IntImm)) for i, v, size in zip(indices, axes, shape, strict=True))


def _joined(nodes: Sequence[_Node | None], results: Sequence[tirx.Buffer]) -> list[int]:
    """The blocks to join with their readers, last first: values that are read twice, and the blocks between them and where they meet."""
    region: dict[int, _Node] = {}
    for i, node in enumerate(nodes):
        if node is None:
            continue
        readers = [other for other in nodes[i + 1:] if other is not None and other.follows(node)]
        twice = sum(len(other.loads(node.buffer)) for other in readers) > 1
        if twice or any(other.buffer.same_as(ld.source) for other in region.values() for ld in loads_in(node.block.body.value)):
            region[i] = node
    return [i for i in sorted(region, reverse=True) if not any(region[i].buffer.same_as(r) for r in results)]


def _only_reader(i: int, nodes: Sequence[_Node | None], nests: Sequence[tirx.Stmt], gone: Collection[int]) -> int | None:
    """The block that reads a value, if there is only one and it is element-wise."""
    value = _taken(nodes, i)
    found = None
    for j, nest in enumerate(nests):
        if j in (i, *gone):
            continue
        node = nodes[j]
        block = block_of_nest(nest) if node is None else node.block
        if any(r.source.same_as(value.buffer) for r in block.reads):
            if found is not None or node is None or not node.follows(value):
                return None
            found = j
    return found


def _fits(nodes: Sequence[_Node | None], i: int, reader: int, gone: Collection[int]) -> bool:
    """Whether a value may join its reader: the two are small enough together, or the reader has other such values, which would stay too."""
    read = _taken(nodes, reader).block.body.value
    if effort(_taken(nodes, i).block.body.value) + effort(read) <= MOST_EFFORT:
        return True
    made = [node.buffer for j, node in enumerate(nodes) if node is not None and j not in (i, *gone)]
    return any(ld.source.same_as(b) for ld in loads_in(read) for b in made)


def _with_value(reader: _Node, value: _Node) -> s_tir.SBlock:
    """Make the reader's block compute the value itself."""
    here = dict(zip(value.axes, reader.axes, strict=True))
    own = substitute(value.block.body.value, here)
    loads = reader.loads(value.buffer)
    copied = (len(loads) - 1) * effort(own) <= MOST_COPIED_EFFORT
    name = own if copied else tirx.Var(value.buffer.name, str(own.ty.dtype))

    def named(load: ir.TensorLoad) -> ir.Expr:
        return name if load.source.same_as(value.buffer) else load

    expr = tvm_ffi.structural_map(reader.block.body.value, (ir.TensorLoad, named), order="post")
    store = tirx.BufferStore(reader.buffer, expr if copied else tirx.Let(name, own, expr), reader.block.body.indices)
    reads = [r for r in reader.block.reads if not r.source.same_as(value.buffer)]
    for read in value.block.reads:
        add_region(reads, region(read.source, [(substitute(r.min, here), substitute(r.extent, here)) for r in read.region]))
    return changed(reader.block, reads=reads, body=store)


def _around(nest: tirx.Stmt, block: s_tir.SBlock) -> tirx.Stmt:
    """The nest with another block in the place of its own."""
    if isinstance(nest, tirx.For):
        return tirx.For(nest.loop_var, nest.min, nest.extent, nest.kind, _around(nest.body, block), nest.thread_binding, nest.annotations)
    return s_tir.SBlockRealize(nest.iter_values, nest.predicate, block)
