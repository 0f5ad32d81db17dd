"""A fully connected layer of one image: a matrix times a vector, bound by the stream of weights out of memory.

Every weight is used once, so what counts is how many cache lines are on their way at a time. A core that reads one stream of
addresses is served by one prefetcher; a core that reads four gets 20 to 30 % more of the memory's bandwidth.

The loop nest made:

    parallel group of blocks of outputs
        input
            unrolled blocks of the group (one stream each) x vectors of a block, vectorised lanes     accumulators in registers
                                                                        many inputs in parts (`long_sums.py`)
        unrolled blocks x vectors, vectorised lanes                                                   the epilogue, fused into the store
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ....targets import CpuTarget
from ....targets.target import BFLOAT16, FLOAT16, FLOAT32
from ...tir.analysis import find_annotated
from ...tir.epilogue import inline_epilogue
from ...tir.pair_products import HALF, widened
from ..bfloat16.numbers import from_bfloat16, to_bfloat16
from ..common import vector_tile
from ..injective.elementwise import schedule_spatial
from ..long_sums import split_sum

ANNOTATION = "tenfold.matvec"  # of the accumulating block: streams, vectors, parallel, as integers
STREAM_COST = {1: 1.3, 2: 1.1, 3: 1.03, 4: 1.0}  # time of one byte with so many streams a core, as measured; more of them gain nothing
MOST_STREAMS = 8         # that a kernel can have


@dataclass(frozen=True)
class Streams:
    """How the outputs are grouped.

    Parameters
    ----------
    count : int
        Blocks of a group: read side by side, each in one run of addresses.
    vectors : int
        Vectors of outputs of a block.
    parallel : bool
        The work is worth waking the other threads for.
    """

    count: int
    vectors: int
    parallel: bool = True


def number_bytes(target: CpuTarget) -> int:
    """Of a weight in memory."""
    return 4 if target.stored == FLOAT32 else 2


def choose_streams(channels: int, filters: int, target: CpuTarget) -> Streams:
    """The grouping that is done first on the core with most groups.

    Parameters
    ----------
    channels, filters : int
        Inputs and outputs of the layer.
    target : CpuTarget
        Gives lanes and cores.
    """
    vectors = max(1, target.model.line_bytes // (number_bytes(target) * target.lanes))  # of each stream in one step: whole lines
    blocks = ceil(filters / (vectors * target.lanes))
    parallel = cycles_saved(channels * filters, target) > target.model.launch_cycles
    cores = target.cores if parallel else 1

    def busiest(count: int) -> float:
        return ceil(ceil(blocks / count) / cores) * count * STREAM_COST[count]

    return Streams(min((s for s in STREAM_COST if s <= blocks), key=busiest), vectors, parallel)


def cycles_saved(weights: int, target: CpuTarget) -> float:
    """By all cores, against one, where so many weights lie in the L3 cache."""
    return number_bytes(target) * weights / target.model.l3_bytes_per_cycle * (1 - 1 / target.cores)


def pack_matrix(weight: np.ndarray, streams: Streams, lanes: int) -> np.ndarray:
    """(F, C) -> (group, block, input, output of the block); outputs are padded with zeros to whole groups."""
    filters, channels = weight.shape
    block = streams.vectors * lanes
    groups = ceil(filters / (streams.count * block))
    padded = np.zeros((groups * streams.count * block, channels), weight.dtype)
    padded[:filters] = weight
    return np.ascontiguousarray(padded.reshape(groups, streams.count, block, channels).transpose(0, 1, 3, 2))


def in_memory(packed: np.ndarray, target: CpuTarget) -> np.ndarray:
    """A weight as it lies in memory: float32, float16, or the bits of bfloat16 as uint16.

    It is rounded where the user asks for that precision. Otherwise it is shortened only if the numbers stay the same, as those of a network
    in 16 bits do. Numbers beyond the range of float16 stay float32.
    """
    if target.stored == FLOAT32:
        return packed
    short = to_bfloat16(packed) if target.stored == BFLOAT16 else _to_float16(packed)
    back = from_bfloat16(short) if target.stored == BFLOAT16 else short.astype(np.float32)
    fits = np.isfinite(back).all() if target.precision == target.stored else np.array_equal(back, packed)
    return short if fits else packed


def _to_float16(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def stored_name(name: str, weights: Sequence[np.ndarray], target: CpuTarget) -> str:
    """The name of a kernel by the weights that it reads: it tells of those of 16 bits."""
    return f"{target.stored}_{name}" if any(weight.itemsize == 2 for weight in weights) else name


def _as_float32(weight: te.Tensor, *index: ir.Expr) -> ir.Expr:
    """A weight as it is multiplied."""
    value, dtype = weight[index], str(weight.dtype)
    return widened(value) if dtype == HALF else value.astype("float32") if dtype == FLOAT16 else value


def matvec(data: te.Tensor, weight: te.Tensor, filters: int, streams: Streams) -> te.Tensor:
    """The product as TE.

    Parameters
    ----------
    data : te.Tensor
        Of any shape, C elements in all.
    weight : te.Tensor
        As `pack_matrix` makes it, or `in_memory` of that.

    Returns
    -------
    te.Tensor
        (1, ..., 1, F), of as many axes as `data`.
    """
    groups, count, channels, block = (int(d) for d in weight.shape)
    shape = [int(d) for d in data.shape]
    k = te.reduce_axis((0, channels), "k")
    attrs = {ANNOTATION: [streams.vectors, int(streams.parallel)]}
    acc = te.compute((groups, count, block), lambda g, b, v: te.sum(data[_index(k, shape)] * _as_float32(weight, g, b, k, v), axis=k),
                     name="matvec", attrs=attrs)
    return te.compute((1,) * (len(shape) - 1) + (filters,), lambda *i: acc[
        i[-1] // (count * block), i[-1] % (count * block) // block, i[-1] % block], name="crop")


def _index(position: ir.Expr, shape: Sequence[int]) -> tuple[ir.Expr, ...]:
    """The index of an element from its position in row-major order; axes of length 1 cost no division."""
    index = []
    for axis, size in reversed(list(enumerate(shape))):
        outer = prod(shape[:axis])
        index.append(0 if size == 1 else position if outer == 1 else position % size)
        if size != 1 and outer != 1:
            position = position // size
    return tuple(reversed(index))


def schedule_matvec(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions around `matvec`, with any element-wise epilogue."""
    s = Schedule(func)
    acc = find_annotated(s, ANNOTATION)
    if acc is None:
        return None
    # One block after the accumulators: crop, bias, activation, residual.
    out = inline_epilogue(s, acc)
    tile_matvec(s, acc, out, target)
    # What is larger than the result: a map that a gate multiplies.
    blocks = s.get_child_blocks(s.get_sblock("root"))
    last = [s.get(b).name_hint for b in blocks].index(s.get(out).name_hint)
    for block in blocks[last + 1:]:
        schedule_spatial(s, block, target)
    return s


def tile_matvec(s: Schedule, acc: SBlockRV, out: SBlockRV, target: CpuTarget) -> None:
    """Schedule one product and the block that stores what becomes of it."""
    vectors, parallel = (int(v) for v in s.get(acc).annotations[ANNOTATION])
    groups, count, block, _ = (int(v.dom.extent) for v in s.get(acc).iter_vars)
    part = split_sum(s, acc, s.get_loops(acc)[-1])
    # 1. The loops of the block behind: groups of blocks, then the outputs of a group as vectors.
    f = s.fuse(*s.get_loops(out))
    filters = int(s.get(f).extent)
    if filters == groups * count * block:
        task, *stored = s.split(f, [groups, count, vectors, target.lanes])
        s.compute_at(acc, task, preserve_unit_loops=True)
        _tile(s, *stored)
    else:
        # Outputs that don't fill the last group: accumulators in a nest of their own, cut to size in a second one.
        task = s.get_loops(acc)[0]
        tile = vector_tile(filters, target.lanes, 1)
        if tile is not None:
            s.vectorize(s.split(f, [None, tile])[1])
    if parallel:
        s.parallel(task)
    # 2. The accumulators of a group: unrolled, vectorised.
    number = _accumulate(s, acc, vectors)
    if part is not None:
        s.compute_at(part, number, preserve_unit_loops=True)
        _accumulate(s, part, vectors)


def _accumulate(s: Schedule, acc: SBlockRV, vectors: int) -> LoopRV:
    """Unroll and vectorise the accumulators of a group within the loop of their sums, which is returned."""
    stream, channel, k = s.get_loops(acc)[-3:]
    vector, lane = s.split(channel, [vectors, None])
    s.reorder(k, stream, vector, lane)
    _tile(s, stream, vector, lane)
    s.decompose_reduction(acc, k)
    return k


def _tile(s: Schedule, stream: LoopRV, vector: LoopRV, lane: LoopRV) -> None:
    s.unroll(stream)
    s.unroll(vector)
    s.vectorize(lane)
