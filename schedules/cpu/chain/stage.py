"""The stages of a fused chain: their register tiles, how channels lie between them, and weights packed to match.

Groups with few filters are interleaved, so that the lanes of a vector belong to several groups: of m groups, lane l works for group l % m.

    m = 1    a a a a a a a a    one group's filters fill the vector                   its input is broadcast
    m = 2    a b a b a b a b    lanes / 2 filters of two groups                       a pair of channels is
    m = 8    a b c d e f g h    one filter each of as many groups as lanes            a vector of channels, as of a depthwise convolution

For that, the channels of the m groups lie interleaved in the plane that is read.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from ...shapes import ConvGeometry
from ..conv2d.depthwise import pack_depthwise


@dataclass(frozen=True)
class ChainStage:
    """One convolution of a chain, or a max-pooling.

    Parameters
    ----------
    geometry : ConvGeometry
        The convolution's attributes.
    pixels, vectors : int
        The register tile. A depthwise stage has one vector, which is stated as 0.
    steps : tuple of (str, ...)
        Element-wise operators behind it, by the names of Relax: ``("relax.add", i)`` and ``("relax.multiply", i)`` with operand i of the
        chain, one value per channel; ``("relax.clip", low, high)``; ``("relax.nn.relu",)`` and others of `operators.ELEMENTWISE`.
    interleaved : int
        Groups whose filters share a vector: 1, or as many as fill it with the same number of filters each.
    table : int, optional
        The operand of the chain that says where each channel lies that the stage reads (`ChannelLayout.places`), if it reads them in
        another order than they are made in. A stage that is depthwise or has interleaved groups can't have one.
    pools : bool
        It takes the largest number of each window, channel by channel: a depthwise stage without weights.
    """

    geometry: ConvGeometry
    pixels: int
    vectors: int
    steps: tuple[tuple[Any, ...], ...] = ()
    interleaved: int = 1
    table: int | None = None
    pools: bool = False

    @property
    def depthwise(self) -> bool:
        """Whether it works channel by channel."""
        return self.vectors == 0

    @property
    def sets(self) -> int:
        """How many sets of interleaved groups there are."""
        return self.geometry.groups // self.interleaved

    @property
    def per_set(self) -> int:
        """How many filters a set has."""
        return self.geometry.filters // self.sets

    def block(self, lanes: int) -> int:
        """How many channels a register tile has."""
        return max(1, self.vectors) * lanes

    def blocks(self, lanes: int) -> int:
        """How many register tiles the filters of a set fill."""
        return ceil(self.per_set / self.block(lanes))

    def spread_evenly(self, lanes: int) -> bool:
        """Whether all blocks can have the same number of filters, as the last stage needs, which has no padding to store.

        Interleaved groups have to fill one block, so that its stores are of whole groups.
        """
        return self.per_set == self.block(lanes) if self.interleaved > 1 else self.per_set % self.blocks(lanes) == 0

    @property
    def adds_up_in_own_order(self) -> bool:
        """Whether an average behind it adds up the filters in the order in which the lanes compute them.

        Then only the few sums are put in order, and not every pixel. As a last stage it has no padding.
        """
        return self.interleaved > 1

    def natural_order(self, lanes: int) -> np.ndarray:
        """The filters in the order in which the lanes compute them."""
        if self.interleaved == 1:
            return np.arange(self.geometry.filters)
        filters = np.arange(self.geometry.filters).reshape(self.sets, self.interleaved, -1, lanes // self.interleaved)
        return filters.transpose(0, 2, 3, 1).ravel()

    def input_order(self, channels: int) -> np.ndarray:
        """The input channels in the order in which an interleaved stage can read them."""
        return np.arange(channels).reshape(self.sets, self.interleaved, channels // self.geometry.groups).transpose(0, 2, 1).ravel()


@dataclass(frozen=True)
class ChannelLayout:
    """How the channels of a plane lie: in groups, each filled up with zeros.

    Parameters
    ----------
    groups : int
        How many groups.
    used, stored : int
        Channels of a group, without and with the zeros.
    order : tuple of int, optional
        The numbers of the channels in the order in which they lie. By default they lie as they are numbered.
    apart : bool
        Every group has a plane of its own, so that who reads one group does not get the others into the cache.
    """

    groups: int
    used: int
    stored: int
    order: tuple[int, ...] | None = None
    apart: bool = False

    @property
    def parts(self) -> int:
        """How many planes there are."""
        return self.groups if self.apart else 1

    @property
    def size(self) -> int:
        """How many channels are stored, zeros included."""
        return self.groups * self.stored

    @property
    def identity(self) -> bool:
        """Whether every channel lies where its number says."""
        return (self.groups == 1 or self.used == self.stored) and self.order is None

    @property
    def channels(self) -> np.ndarray:
        """The numbers of the channels in the order in which they lie."""
        return np.arange(self.groups * self.used) if self.order is None else np.array(self.order)

    def at(self, rank: Any) -> Any:
        """The place of the channel that comes at `rank` in the order; `rank` may be a number, an array or an expression."""
        return rank if self.groups == 1 or self.used == self.stored else rank // self.used * self.stored + rank % self.used

    def places(self, channels: np.ndarray) -> np.ndarray:
        """The places of the channels with these numbers."""
        ranks = np.argsort(self.channels)
        return self.at(ranks[channels])

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Put the last axis of an array, which is channels, in the order in which they lie, with the zeros."""
        split = values[..., self.channels].reshape(*values.shape[:-1], self.groups, self.used)
        padded = np.pad(split, [(0, 0)] * (split.ndim - 1) + [(0, self.stored - self.used)])
        return np.ascontiguousarray(padded.reshape(*values.shape[:-1], self.size))


def layouts(stages: Sequence[ChainStage], lanes: int) -> list[ChannelLayout]:
    """How the channels of each stage's output lie. A depthwise stage keeps the layout of its input."""
    return list(_layouts(tuple(replace(stage, pixels=1, steps=()) for stage in stages), lanes))


@lru_cache(maxsize=1024)  # all points of a chain's space ask, and most differ in pixels alone
def _layouts(stages: tuple[ChainStage, ...], lanes: int) -> tuple[ChannelLayout, ...]:
    found: list[ChannelLayout] = []
    for i, stage in enumerate(stages):
        if stage.depthwise:
            filters = stage.geometry.filters
            found.append(found[-1] if found else ChannelLayout(1, filters, ceil(filters / lanes) * lanes))
            continue
        order = stage.natural_order(lanes)
        reader = next((behind for behind in stages[i + 1:] if not behind.depthwise), None)
        if stage.interleaved == 1 and reader is not None and reader.interleaved > 1:
            order = reader.input_order(stage.geometry.filters)
        identity = np.array_equal(order, np.arange(len(order)))
        groups = stage.sets, stage.per_set, stage.blocks(lanes) * stage.block(lanes)
        apart = False
        if i + 1 < len(stages) and not stages[i + 1].depthwise:
            each = stage.per_set // stages[i + 1].sets
            apart = stage.sets == 1 < stages[i + 1].sets and stage.blocks(lanes) == 1 and each > 0 and lanes % each == 0
            apart = apart and stages[i + 1].table is None
            if apart:
                groups = stages[i + 1].sets, each, each
            elif 2 * stage.per_set <= lanes:
                groups = stage.sets, stage.per_set, 1 << (stage.per_set - 1).bit_length()
        found.append(ChannelLayout(*groups, None if identity else tuple(order.tolist()), apart))
    return tuple(found)


@dataclass(frozen=True)
class Wiring:
    """The filter that each lane computes, and the input channel that it reads in each step.

    Parameters
    ----------
    filters : ndarray
        (set of groups, block, lane): the number of the filter; -1 for none.
    channels : ndarray
        (set of groups, step, block, lane): the input channel, counted within the filter's group.
    """

    filters: np.ndarray
    channels: np.ndarray


def wiring(stage: ChainStage, source: ChannelLayout, result: ChannelLayout, last: bool, lanes: int) -> Wiring | None:
    """Wire a stage that is not depthwise.

    Parameters
    ----------
    stage : ChainStage
        The stage.
    source, result : ChannelLayout
        How the channels that it reads lie, and those that it makes.
    last : bool
        It is the last stage of its chain, whose blocks have no padding.
    lanes : int
        Numbers in a vector.

    Returns
    -------
    Wiring or None
        None if the channels that it reads do not lie as it needs them.
    """
    sets, m, blocks, block = stage.sets, stage.interleaved, stage.blocks(lanes), stage.block(lanes)
    inputs, channels = source.groups * source.used // stage.geometry.groups, source.channels.reshape(sets, -1, m)
    filled = stage.per_set // blocks if last else block
    rank = np.arange(blocks)[:, None] * filled + np.arange(block)
    exists = (np.arange(block) < filled) & (rank < stage.per_set)
    order = (stage.natural_order(lanes) if last else result.channels).reshape(sets, -1)
    filters = np.where(exists, order[:, np.minimum(rank, stage.per_set - 1)], -1)
    groups = np.where(filters < 0, np.arange(sets)[:, None, None] * m, filters // (stage.geometry.filters // stage.geometry.groups))
    read = channels[:, :, np.arange(block) % m][:, :, None, :] - (groups * inputs)[:, None]
    valid = np.broadcast_to((filters >= 0)[:, None], read.shape)
    own_set = np.all((groups // m == np.arange(sets)[:, None, None]) | (filters < 0))
    place = source.at(np.arange(source.groups * source.used)).reshape(sets, -1, m)
    if not own_set or np.any(valid & ((read < 0) | (read >= inputs))) or np.any(place - place[..., :1] != np.arange(m)):
        return None
    return Wiring(filters, np.where(valid, read, 0))


def wirings(stages: Sequence[ChainStage], channels: int, lanes: int) -> list[Wiring | None] | None:
    """Wire all stages of a chain.

    Parameters
    ----------
    stages : sequence of ChainStage
        The stages in order.
    channels : int
        Channels of the image.
    lanes : int
        Numbers in a vector.

    Returns
    -------
    list of Wiring or None
        An entry for each stage, None for a depthwise one. None if a stage can't read what the one before it makes.
    """
    found: list[Wiring | None] = []
    source = ChannelLayout(1, channels, channels)
    for i, (stage, result) in enumerate(zip(stages, layouts(stages, lanes), strict=True)):
        if stage.table is not None:
            source = ChannelLayout(1, source.groups * source.used, source.groups * source.used)  # as the table shows it
        found.append(None if stage.depthwise else wiring(stage, source, result, i + 1 == len(stages), lanes))
        if found[-1] is None and not stage.depthwise:
            return None
        source = result
    return found


def can_be_wired(stages: Sequence[ChainStage], channels: int, lanes: int) -> bool:
    """Whether every stage can read what the one before it makes, as `wirings` finds out."""
    return _wired(tuple(replace(stage, pixels=1, steps=()) for stage in stages), channels, lanes)


@lru_cache(maxsize=1024)  # as of `_layouts`
def _wired(stages: tuple[ChainStage, ...], channels: int, lanes: int) -> bool:
    return wirings(stages, channels, lanes) is not None


def pack_chain(weights: Sequence[np.ndarray | None], stages: Sequence[ChainStage], lanes: int) -> list[np.ndarray]:
    """Pack the weights of all stages for `chain`.

    Parameters
    ----------
    weights : sequence of ndarray
        (F, C / groups, KH, KW) of each stage; None for one that pools. The first stage has a weight.
    stages : sequence of ChainStage
        Stages that can be wired (`wirings`).
    lanes : int
        Numbers in a vector.

    Returns
    -------
    list of ndarray
        For each stage that has a weight: (set of groups, block, kernel row, kernel column, input channel, lane), or of a depthwise stage
        (kernel row, kernel column, channel).
    """
    packed: list[np.ndarray] = []
    first = weights[0]
    assert first is not None
    wires = wirings(stages, first.shape[1] * stages[0].geometry.groups, lanes)
    assert wires is not None
    for weight, wired, layout in zip(weights, wires, layouts(stages, lanes), strict=True):
        if weight is None:
            continue
        if wired is None:  # depthwise
            packed.append(layout.spread(pack_depthwise(weight)))
            continue
        taken = weight[wired.filters[:, None], wired.channels]  # (set, step, block, lane, kernel row, kernel column)
        taken = np.where((wired.filters >= 0)[:, None, :, :, None, None], taken, np.zeros((), weight.dtype))
        packed.append(np.ascontiguousarray(taken.transpose(0, 2, 4, 5, 1, 3)))
    return packed

