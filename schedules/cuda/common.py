"""Steps that schedule rules for GPUs share: loops to blocks and threads, vectors, what a block can hold."""
from __future__ import annotations

from math import gcd, prod

from tvm import ir, te
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ..tir.analysis import Block, block_of
from ..tir.lanes import compares

VECTOR = 4  # numbers that a thread loads or stores at a time: float32, 16 bytes, or single bytes
THREADS = 256  # of a block that computes element by element
BLOCKS, THREADS_X, THREADS_Y = "blockIdx.x", "threadIdx.x", "threadIdx.y"


def extent_of(s: Schedule, loop: LoopRV) -> int:
    """Length of a loop."""
    return int(s.get(loop).extent)


def threads_for(count: int, threads: int) -> int:
    """How many threads a block has that has so many elements at most: whole warps, but a single one for a single element.

    The axes of a single element say nothing of threads: all of a warp would store it.
    """
    return 1 if count <= 1 else min(threads, -(-count // 32) * 32)


def wide_number(value: ir.Expr, of: te.Tensor) -> ir.Expr:
    """An element of a tensor as it is multiplied: a byte as one of 32 bits, whose products and sums are exact."""
    return value.astype("int32") if str(of.dtype) in ("int8", "uint8") else value


def bind_threads(s: Schedule, loop: LoopRV, threads: int = THREADS) -> LoopRV:
    """Bind a loop to blocks of so many threads; the loop over the threads of a block is returned."""
    threads = threads_for(extent_of(s, loop), threads)
    block, thread = s.split(loop, [None, threads])
    s.bind(block, BLOCKS)
    s.bind(thread, THREADS_X)
    return thread


def vector_of(block: Block) -> int:
    """How many neighbouring elements of its last axis a thread can load and store at a time: 1, 2 or 4."""
    last = len(block.kinds) - 1
    if last < 0 or block.kinds[last] != "S" or not block.plain or last in block.branch_axes:
        return 1
    if compares(block.stmt.body, block.axes[last]):
        return 1
    if any(block.stride(each, last) != 1 for each in block.stores) or any(block.stride(each, last) not in (0, 1) for each in block.loads):
        return 1
    if any(int(each.buffer.dtype.bits) not in (8, 32) for each in (*block.loads, *block.stores)):
        return 1
    # Each row of each tensor has to begin where a vector can.
    sizes = [int(each.buffer.shape[-1]) for each in (*block.loads, *block.stores) if block.stride(each, last) == 1 and each.buffer.shape]
    return gcd(VECTOR, block.extents[last], *sizes)


def schedule_spatial(s: Schedule, rv: SBlockRV) -> None:
    """Schedule a block without reduction: an element, or a vector of them, for each thread."""
    block = block_of(s, rv)
    loops = s.get_loops(rv)
    if not loops:
        loops = [s.add_unit_loop(rv)]
        block = block_of(s, rv)
    spatial = len(block.kinds) if set(block.kinds) <= {"S"} else next(i for i, kind in enumerate(block.kinds) if kind != "S")
    vector = vector_of(block) if spatial == len(block.kinds) == len(loops) else 1
    if vector > 1:
        *outer, inner = loops
        inner, lanes = s.split(inner, [None, vector])
        bind_threads(s, s.fuse(*outer, inner) if outer else inner)
        s.vectorize(lanes)
        return
    outer = loops[:spatial] if spatial else [s.add_unit_loop(loops[0])]
    bind_threads(s, s.fuse(*outer) if len(outer) > 1 else outer[0])


def work_of(s: Schedule, rv: SBlockRV) -> int:
    """How often the body of a block runs."""
    return prod(block_of(s, rv).extents)
