"""A matrix times a vector, or a few of them: reading the weights, each of use only once, takes the time.

Each warp has a result. Its threads read neighbouring vectors of the weights of that result, and add up across the warp.
"""
from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from tvm import te, tirx
from tvm.s_tir import Schedule

from ...targets import GpuTarget
from ...targets.gpu_target import WARP
from ..tir.analysis import find_annotated
from ..tir.epilogue import inline_epilogue
from .common import BLOCKS, THREADS_X, THREADS_Y, VECTOR, schedule_spatial, wide_number

ANNOTATION = "tenfold.matvec"  # of the accumulating block: warps of a block
STEP = WARP * VECTOR  # terms that a warp reads at a time


@dataclass(frozen=True)
class Warps:
    """How many warps, each with a result, a block has."""

    warps: int


def pack_rows(weight: np.ndarray, tile: Warps) -> np.ndarray:
    """Fill up a matrix (F, C) with zeros to whole blocks of results, and each row to whole steps of a warp."""
    filters, channels = weight.shape
    packed = np.zeros((ceil(filters / tile.warps) * tile.warps, ceil(channels / STEP) * STEP), weight.dtype)
    packed[:filters, :channels] = weight
    return packed


def matvec(data: te.Tensor, weight: te.Tensor, filters: int, tile: Warps) -> te.Tensor:
    """Write the products as TE: (..., C) -> (..., F), the weight as `pack_rows` makes it."""
    *lead, channels = (int(size) for size in data.shape)
    k = te.reduce_axis((0, int(weight.shape[1])), "k")

    def product(*index: tirx.Var) -> te.Tensor:
        *row, f = index
        value = data[tuple([*row, k])]
        if int(weight.shape[1]) > channels:
            value = tirx.if_then_else(k < channels, value, tirx.const(0, data.dtype))
        return te.sum(wide_number(value, data) * wide_number(weight[f, k], weight), axis=k)

    sums = te.compute((*lead, int(weight.shape[0])), product, name="matvec", attrs={ANNOTATION: [tile.warps]})
    return te.compute((*lead, filters), lambda *i: sums(*i), name="crop")


def schedule_matvec(func: tirx.PrimFunc, target: GpuTarget) -> Schedule | None:
    """Schedule a function around `matvec`, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    product = find_annotated(s, ANNOTATION)
    if product is None:
        return None
    warps = int(s.get(product).annotations[ANNOTATION][0])
    out = inline_epilogue(s, product)
    blocks = s.get_child_blocks(s.get_sblock("root"))
    behind = blocks[[s.get(block).name_hint for block in blocks].index(s.get(out).name_hint) + 1 :]
    # 1. A warp for each result; its terms: steps of the warp, lanes, a vector of each lane.
    *results, term = s.get_loops(product)
    block, warp = s.split(s.fuse(*results) if len(results) > 1 else results[0], [None, warps])
    step, lane, vector = s.split(term, [None, WARP, VECTOR])
    s.reorder(block, warp, lane, step, vector)
    s.bind(block, BLOCKS)
    s.bind(warp, THREADS_Y)
    s.bind(lane, THREADS_X)
    s.unroll(vector)
    weights = s.cache_read(product, 1, "local")
    s.compute_at(weights, step)
    s.vectorize(s.get_loops(weights)[-1])
    data = s.cache_read(product, 0, "local")
    s.compute_at(data, step)
    s.vectorize(s.get_loops(data)[-1])
    # 2. The epilogue behind the sum across the warp, which all its threads know.
    s.set_scope(product, 0, "local")
    s.reverse_compute_at(out, warp, preserve_unit_loops=True)
    for each in behind:
        schedule_spatial(s, each)
    return s
