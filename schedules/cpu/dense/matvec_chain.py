"""Fully connected layers of one image that follow each other, in one kernel: the threads are woken once, and meet between two layers.

    [the average of a map: `averaged.py`]
    launch on all threads
        parallel groups of outputs of the first layer           as in `matvec`, bias and activation in the store
        barrier
        parallel groups of outputs of the second layer
        ...

Where all layers together are not worth waking the threads for, they run on one, without barriers. Behind an average each layer has a launch
of its own: a network has many such kernels, and at a barrier all wait for a thread whose core another program has, while a task that nobody
has begun is taken by another thread.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import tvm_ffi
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV
from tvm.s_tir.stmt import SBlock

from ....targets import CpuTarget
from ...steps import activated
from ...tir.epilogue import inline_epilogue
from .averaged import NAMES, schedule_average
from .matvec import ANNOTATION, Streams, choose_streams, cycles_saved, matvec, tile_matvec


@dataclass(frozen=True)
class DenseStage:
    """One fully connected layer of a chain.

    Parameters
    ----------
    filters : int
        Outputs.
    streams : Streams
        How they are grouped.
    steps : tuple of (str, ...)
        Element-wise operators behind it, as of `ChainStage`.
    """

    filters: int
    streams: Streams
    steps: tuple[tuple, ...] = ()


def choose_chain(channels: int, filters: Sequence[int], target: CpuTarget) -> list[Streams]:
    """The grouping of every layer of a chain that has `channels` inputs; all or none run on several threads.

    The last layer may stay on one thread by itself: nothing waits for it.
    """
    inputs = [channels, *filters[:-1]]
    saved = cycles_saved(sum(c * f for c, f in zip(inputs, filters, strict=True)), target)
    pays = saved > target.model.launch_cycles + target.model.barrier_cycles * (len(filters) - 1)
    found = [_shared(c, f, target) if pays else None for c, f in zip(inputs, filters, strict=True)]
    if not pays or None in found[:-1]:
        found = [None] * len(filters)
    return [streams or replace(choose_streams(c, f, target), parallel=False) for streams, c, f in zip(found, inputs, filters, strict=True)]


def _shared(channels: int, filters: int, target: CpuTarget) -> Streams | None:
    """Groups for every thread; None where one vector holds all outputs."""
    streams = choose_streams(channels, filters, replace(target, cores=max(2, target.cores)))
    vectors = -(-filters // target.lanes)
    if vectors < 2:
        return None
    width = min(streams.vectors, -(-vectors // 2))
    count = min(streams.count, max(1, -(-vectors // width) // 2))
    return Streams(count, width, True)


def matvec_chain(data: te.Tensor, weights: Sequence[te.Tensor], operands: Sequence[te.Tensor], stages: Sequence[DenseStage]) -> te.Tensor:
    """The chain as TE.

    Parameters
    ----------
    data : te.Tensor
        Of any shape, C elements in all.
    weights : sequence of te.Tensor
        As `pack_matrix` makes them.
    operands : sequence of te.Tensor
        The values that the stages' steps name, filled up to `stored_outputs` of their stage.
    stages : sequence of DenseStage
        The last has no steps: what follows it is fused like that of any layer.

    Returns
    -------
    te.Tensor
        (1, ..., 1, F), of as many axes as `data`.
    """
    for i, (stage, weight) in enumerate(zip(stages[:-1], weights, strict=False)):
        data = _vector(matvec(data, weight, stored_outputs(weight.shape), stage.streams), stage, operands, f"vector{i}")
    return matvec(data, weights[-1], stages[-1].filters, stages[-1].streams)


def _vector(product: te.Tensor, stage: DenseStage, operands: Sequence[te.Tensor], name: str) -> te.Tensor:
    """The activated outputs of a stage."""
    return te.compute(product.shape, lambda *at: activated(product(*at), stage.steps, operands, at[-1]), name=name)


def stored_outputs(packed: Sequence[int]) -> int:
    """Outputs of a layer with those that fill its last group, from the shape of its packed weight."""
    groups, count, _, block = (int(d) for d in packed)
    return groups * count * block


def schedule_matvec_chain(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions around `matvec_chain`, with any element-wise epilogue."""
    s = Schedule(func)
    products = [b for b in s.get_child_blocks(s.get_sblock("root")) if ANNOTATION in s.get(b).annotations]
    if len(products) < 2:
        return None
    names = {s.get(b).name_hint for b in products}
    stores = [_store(s, names, i) for i in range(len(products) - 1)]
    stores.append(inline_epilogue(s, products[-1], keep=("vector", *NAMES, *names)))
    launched = [bool(int(s.get(b).annotations[ANNOTATION][1])) for b in products]
    averaged = schedule_average(s, target)
    for product, store in zip(products, stores, strict=True):
        tile_matvec(s, product, store, target)
    return _one_launch(s) if any(launched) and not averaged else s


def _store(s: Schedule, products: set[str], index: int) -> SBlockRV:
    """The block that stores the activated outputs of a layer; what lies between it and the product is inlined."""
    store = s.get_sblock(f"vector{index}")
    for producer in s.get_producers(store):
        if s.get(producer).name_hint not in products:
            s.compute_inline(producer)
    return store


def _one_launch(s: Schedule) -> Schedule:
    """Put the parallel nests, up to the last of them, into one launch, with a barrier behind each but the last."""
    func = s.mod["main"]

    def launched(block: SBlock) -> SBlock:
        if block.name_hint != "root":
            return block
        nests = list(block.body.seq)
        parallel = [i for i, nest in enumerate(nests) if isinstance(nest, tirx.For) and nest.kind == tirx.ForKind.PARALLEL]
        last = parallel[-1]
        if last == 0:
            return block
        together = [_pragma("barrier_when_finish", nest) for nest in nests[:last]] + [nests[last]]
        launch = _pragma("launch_point", tirx.SeqStmt(together))
        body = tirx.SeqStmt([launch, *nests[last + 1 :]]) if nests[last + 1 :] else launch
        return SBlock(block.iter_vars, block.reads, block.writes, block.name_hint, body, block.init, block.alloc_buffers,
                      block.match_buffers, block.annotations)

    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, (SBlock, launched), order="post")))


def _pragma(name: str, body: tirx.Stmt) -> tirx.AttrStmt:
    return tirx.AttrStmt(0, f"pragma_parallel_{name}", tirx.const(1, "int32"), body)
