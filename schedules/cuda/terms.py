"""What is known of kernels without a model of their time, a direct convolution and a matrix times a vector, in the terms of all kernels."""
from __future__ import annotations

from math import ceil, prod

from ...targets.gpu_model import GpuModel
from ...targets.gpu_target import WARP
from ..shapes import ConvWorkload, DenseWorkload
from ..terms import tail, terms
from .common import VECTOR, threads_for
from .direct.compute import DirectTile
from .matvec import STEP, Warps


def direct_terms(convolution: ConvWorkload, tile: DirectTile, model: GpuModel) -> dict[str, float]:
    """Return the terms of a convolution that is added up where the data lies; there is no estimate of its time."""
    geometry, (height, width) = convolution.geometry, convolution.output
    lanes = VECTOR if geometry.filters % VECTOR == 0 else 1
    tiles = ceil(width / tile.pixels)
    own = convolution.batch * height * tiles * (geometry.filters // lanes)  # threads
    threads = threads_for(own, tile.threads)
    blocks, held = ceil(own / threads), max(1, min(model.blocks, model.threads // threads))
    steps = convolution.channels // geometry.groups * prod(geometry.kernel)
    macs = convolution.batch * height * width * geometry.filters * steps
    image = 4 * convolution.batch * (prod(convolution.size) * convolution.channels + height * width * geometry.filters)
    return terms(
        macs=macs, excess=own * tile.pixels * lanes * steps / macs, l1_bytes=4 * own * steps * (tile.pixels * lanes + lanes),
        l2_bytes=image + convolution.weight_bytes, memory_bytes=image + convolution.weight_bytes, accumulators=tile.pixels * lanes,
        registers=tile.pixels * lanes, inner_fma=tile.pixels * lanes, inner_loads=tile.pixels + 1, inner_steps=steps, tasks=blocks,
        tail=tail(blocks, model.sms * held), cores=min(model.sms, blocks), threads=threads, resident=held, launches=1, kernels=1,
    )


def matvec_terms(layer: DenseWorkload, tile: Warps, model: GpuModel) -> dict[str, float]:
    """Return the terms of a matrix times a few vectors; there is no estimate of its time."""
    results, steps = layer.rows * ceil(layer.filters / tile.warps) * tile.warps, ceil(layer.channels / STEP)
    blocks, threads = results // tile.warps, tile.warps * WARP
    held = max(1, min(model.blocks, model.threads // threads))
    macs, weights = layer.rows * layer.channels * layer.filters, 4 * layer.channels * layer.filters
    return terms(
        macs=macs, excess=results * steps * STEP / macs, l1_bytes=2 * 4 * macs, l2_bytes=layer.rows * weights, memory_bytes=weights,
        accumulators=1, registers=1 + 2 * VECTOR, inner_fma=VECTOR, inner_loads=2, inner_steps=steps, tasks=blocks,
        tail=tail(blocks, model.sms * held), cores=min(model.sms, blocks), threads=threads, resident=held, launches=1, kernels=1,
    )
