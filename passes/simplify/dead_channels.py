"""Channels that nobody reads, and channels that are constant, are taken out of the layers that make them and of those that read them.

    Conv W, b -> Relu -> Conv W', b'     ->   Conv without row c -> Relu -> Conv without column c, bias b' + W'[:, c] relu(b[c])
                                              where row c of W is 0
                                         ->   likewise, without that bias, where column c of W' is 0

The first is what a batch norm with a scale of 0 leaves behind: pruning by sparse scales. A constant that is not 0 can't pass a layer that
pads, because that reads zeros beside it. Channels of residual sums belong together, and so do those around a depthwise layer.

As many channels are kept as make the number a multiple of 16 where it was one (or of 8, 4, 2): vectors have that many numbers, and a
network is slower with 63 channels than with 64.
"""
from __future__ import annotations

import math

import numpy as np
from onnxscript import ir

from ...frontends.onnx.initializers import is_constant, set_constant
from .channel_region import Region, region_of, settle, weight_of
from .editing import add_integers, fits, operator, sizes
from .linear import AFFINE, LAYERS
from .rewrite import Rewrite

BLOCK = 16


class DeadChannels(Rewrite):
    """Take channels out."""

    name = "dead_channels"

    def at(self, node: ir.Node) -> str | None:
        """Rewrite the region of what this node makes."""
        if operator(node) not in LAYERS or (sizes(node.outputs[0]) or (0, 0))[1:2] in ((), (0,), (1,)):
            return None
        region = region_of(node.outputs[0])
        if region is None or not region.readers or not any(layer.nodes[0] is node for layer in region.makers[:1]):
            return None
        settle(region)
        keep = _kept(region)
        if keep is None or not may_change(region):
            return None
        return _take_out(region, keep)


def _kept(region: Region) -> np.ndarray | None:
    """The channels that stay, in order; None where all do."""
    dead = np.ones(region.channels, bool)
    for reader in region.readers:
        node, constants = reader.nodes[0], region.values[reader.source]
        unread = ~_columns(weight_of(node), region).any(axis=(0, 2))
        # Zeros are beside a constant where the reader pads; the bias of a MatMul is in an Add behind it, or nowhere.
        passes = not reader.grid.padded and operator(node) != "MatMul"
        dead &= unread | (constants == 0) | (passes & ~np.isnan(constants))
    block = math.gcd(region.channels, BLOCK)
    keep = max(-(-int((~dead).sum()) // block) * block, block)
    if keep >= region.channels:
        return None
    gone = np.flatnonzero(dead)[keep - region.channels :]
    return np.setdiff1d(np.arange(region.channels), gone)


def _columns(weight: np.ndarray, region: Region) -> np.ndarray:
    """The weight of a reader as (outputs, channels, numbers for each channel)."""
    return weight.reshape(len(weight), region.channels, -1)


def may_change(region: Region) -> bool:
    """Whether the constants of all nodes are theirs alone, so that changing them changes nothing else, and Gemm is in its plain form."""
    nodes = [layer.nodes[0] for layer in (*region.makers, *region.readers)]
    nodes += [node for node in region.inner if operator(node) in ("Conv", *AFFINE)]
    if any(value is not None and is_constant(value) and len(value.uses()) > 1 for node in nodes for value in node.inputs):
        return False
    gemms = [node for node in nodes if operator(node) == "Gemm"]
    return all(node.attributes.get_float("alpha", 1.0) == 1 and node.attributes.get_float("beta", 1.0) == 1 for node in gemms)


def _take_out(region: Region, keep: np.ndarray) -> str | None:
    """Take all channels but those to keep out of the region."""
    changed = {layer.nodes[0]: (weight_of(layer.nodes[0]), layer.offset) for layer in (*region.makers, *region.readers)}
    gone = np.setdiff1d(np.arange(region.channels), keep)
    for reader in region.readers:
        node = reader.nodes[0]
        weight, bias = changed[node]
        columns = _columns(weight, region)
        # A channel that nobody reads may have any value.
        steps = columns[:, gone].sum(axis=2, dtype=np.float64) * np.nan_to_num(region.values[reader.source][gone])
        changed[node] = columns[:, keep].reshape(len(weight), -1, weight.shape[2]), bias + steps.sum(axis=1)
    for maker in region.makers:
        weight, bias = changed[maker.nodes[0]]
        changed[maker.nodes[0]] = weight[keep], bias[keep]
    if not all(fits(node.outputs[0], bias) for node, (_, bias) in changed.items()):
        return None
    for node, (weight, bias) in changed.items():
        _store(node, weight, bias)
    for node in region.inner:
        _cut(node, region.channels, keep)
    for node, count in region.flat.items():
        images = (sizes(node.outputs[0]) or (1,))[0]
        if operator(node) == "Reshape":
            node.replace_input_with(1, add_integers(f"{node.name}.shape", (images, len(keep) * count), node.graph))
    for value in region.values:
        shape = list(sizes(value) or ())
        shape[1] = shape[1] // region.channels * len(keep)
        value.shape = ir.Shape(shape)
    return region.makers[0].nodes[0].name


def _store(node: ir.Node, weight: np.ndarray, bias: np.ndarray) -> None:
    """Give a layer another weight, (outputs, inputs, taps), and bias."""
    if operator(node) == "Conv":
        kernel = (sizes(node.inputs[1]) or ())[2:]
        set_constant(node, 1, weight.reshape(*weight.shape[:2], *kernel))
    else:
        plain = operator(node) == "Gemm" and node.attributes.get_int("transB", 0)
        set_constant(node, 1, weight[:, :, 0] if plain else weight[:, :, 0].T)
    if operator(node) != "MatMul" and (bias.any() or (len(node.inputs) > 2 and node.inputs[2] is not None)):
        set_constant(node, 2, bias)


def _cut(node: ir.Node, channels: int, keep: np.ndarray) -> None:
    """Take channels out of the constants of a node that works channel by channel."""
    if operator(node) == "Conv":
        for index in (1, 2):
            if index < len(node.inputs) and node.inputs[index] is not None:
                set_constant(node, index, node.inputs[index].const_value.numpy()[keep])
        node.attributes["group"] = ir.AttrInt64("group", len(keep))
    elif operator(node) in AFFINE and any(map(is_constant, node.inputs)):
        index = 0 if is_constant(node.inputs[0]) else 1
        array = node.inputs[index].const_value.numpy()
        rank = len(sizes(node.outputs[0]) or ())
        if array.size == channels > 1:
            set_constant(node, index, array.take(keep, array.ndim - rank + 1))
