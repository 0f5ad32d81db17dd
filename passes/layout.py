"""Arithmetic of axis orders: how a tensor lies in memory against the shape it logically has.

`stored == transpose(logical, order)`: an NCHW tensor with order (0, 2, 3, 1) lies as NHWC. Pure Python and NumPy, no TVM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import mul

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The order in which the elements of a tensor of some logical shape lie.

    Attributes
    ----------
    order : tuple of int
        Stored axis i holds logical axis `order[i]`.
    sizes, scramble : tuple of int
        Not empty only where the last logical axis is a merge of several axes that lie in another order: it splits into `sizes`, which
        lie in the order `scramble`. A flattened (N, C * H * W) that was never permuted back from N, H, W, C has sizes (C, H, W) and
        scramble (1, 2, 0).
    """

    order: Shape
    sizes: Shape = ()
    scramble: Shape = ()

    @property
    def plain(self) -> bool:
        """Whether the tensor lies just as its shape says."""
        return self.order == tuple(range(len(self.order))) and not self.sizes

    def fit(self, shape: Shape) -> Layout:
        """The layout of a tensor that is broadcast against one of this layout: a last axis of size 1 has nothing to scramble."""
        return Layout(self.order) if self.sizes and shape[-1] == 1 else self

    def stored(self, shape: Shape) -> Shape:
        """The shape in memory of a tensor of logical shape `shape`."""
        return tuple(shape[axis] for axis in self.order)

    def position(self, axis: int) -> int:
        """The stored axis that holds logical axis `axis` (negative counts from the end)."""
        return self.order.index(axis % len(self.order))


def identity(rank: int) -> Layout:
    """The layout of a tensor that lies as its shape says."""
    return Layout(tuple(range(rank)))


NHWC = Layout((0, 2, 3, 1))


@dataclass(frozen=True)
class Move:
    """How elements get from one layout to another: reshape to `split`, permute by `axes`, reshape to `shape`."""

    split: Shape
    axes: Shape
    shape: Shape

    @property
    def free(self) -> bool:
        """Whether memory stays as it is, because only axes of size 1 change places: then a reshape to `shape` does it."""
        moved = [axis for axis in self.axes if self.split[axis] != 1]
        return moved == sorted(moved)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Move the elements of an array."""
        return array.reshape(self.split).transpose(self.axes).reshape(self.shape)


def compose(first: Move, second: Move) -> Move | None:
    """One move for `first` and then `second`, or None if `second` splits an axis that `first` did not."""
    places = [axis for axis in range(len(first.split)) if first.split[axis] != 1]
    parts = [axis for axis in first.axes if first.split[axis] != 1]
    groups: list[list[int]] = []
    for size in second.split:
        group: list[int] = []
        while prod(first.split[axis] for axis in group) < size and parts:
            group.append(parts.pop(0))
        if prod(first.split[axis] for axis in group) != size:
            return None
        groups.append(group)
    axes = tuple(places.index(part) for axis in second.axes for part in groups[axis])
    return Move(tuple(first.split[axis] for axis in places), axes, second.shape)


def move(shape: Shape, source: Layout, target: Layout) -> Move:
    """How a tensor gets from one layout to another.

    Parameters
    ----------
    shape : tuple of int
        Its logical shape.
    source, target : Layout
        At most one of them may have a scrambled last axis, unless both split it alike.

    Raises
    ------
    ValueError
        Both have scrambled last axes that are split in different ways.
    """
    sizes = source.sizes or target.sizes
    if sizes and (target.sizes or sizes) != sizes:
        raise ValueError(f"no single permute leads from {source} to {target}")
    have, want = _parts(source, len(sizes)), _parts(target, len(sizes))
    parts = shape[:-1] + sizes if sizes else shape
    return Move(tuple(parts[p] for p in have), tuple(have.index(p) for p in want), target.stored(shape))


def _parts(layout: Layout, splits: int) -> Shape:
    """The order of the axes once the last logical axis, r - 1, is split into the `splits` axes r - 1, r, ..."""
    if not splits:
        return layout.order
    last = len(layout.order) - 1
    inner = layout.scramble or tuple(range(splits))
    return tuple(p for axis in layout.order for p in ((last + i for i in inner) if axis == last else (axis,)))


def widened(layout: Layout, more: int) -> Layout:
    """The layout of the same tensor with `more` axes of size 1 in front."""
    return Layout(tuple(range(more)) + tuple(axis + more for axis in layout.order), layout.sizes, layout.scramble)


def relabel(layout: Layout, axes: Sequence[int]) -> Layout:
    """The layout of `permute_dims(x, axes)` when x lies as `layout` and not one element moves."""
    if layout.sizes:
        raise ValueError("a scrambled axis can't be transposed without moving it")
    return Layout(tuple(tuple(axes).index(axis) for axis in layout.order))


def without(layout: Layout, axes: Sequence[int]) -> Layout:
    """The layout after the logical axes `axes` are gone, as in a reduction that keeps no dimensions."""
    kept = [axis for axis in range(len(layout.order)) if axis not in axes]
    return Layout(tuple(kept.index(axis) for axis in layout.order if axis in kept))


def replaced(layout: Layout, axis: int, count: int) -> Layout:
    """The layout after one logical axis became several.

    Parameters
    ----------
    layout : Layout
        The layout before.
    axis : int
        The logical axis.
    count : int
        How many axes it became. They lie together; 0 if it is gone.
    """
    result: list[int] = []
    for old in layout.order:
        if old == axis:
            result += range(axis, axis + count)
        else:
            result.append(old if old < axis else old + count - 1)
    return Layout(tuple(result))


def reshaped(shape: Shape, layout: Layout, target: Shape) -> tuple[Move, Layout]:
    """Reshape a tensor that lies as `layout` (nothing scrambled), moving as little as possible.

    An axis that splits stays where it lies. Axes that merge must lie next to each other in logical order: if they do not, they are
    permuted to where the first of them lies, except when they are the last ones in memory and merge into the last axis: that axis
    is then left scrambled.

        (N, C, H, W) lying as NHWC -> (N, g, c, H, W) lying as N, H, W, g, c               nothing moves
        (N, C, 1, 1) lying as NHWC -> (N, C)                                               nothing moves
        (N, C, H, W) lying as NHWC -> (N, C * H * W) lying as N, H, W, C: scrambled        nothing moves

    Parameters
    ----------
    shape, target : tuple of int
        Logical shapes before and after, of the same number of elements.
    layout : Layout
        How the tensor lies before.

    Returns
    -------
    Move, Layout
        What to do to the stored tensor, and the layout of the result.
    """
    parts, owners, runs = _common_parts(shape, target)
    lying = [p for axis in layout.order for p in owners[axis]]
    groups = [run for run, _ in runs]
    home = {p: i for i, group in enumerate(groups) for p in group}
    sequence = list(dict.fromkeys(home[p] for p in lying))
    wanted = [p for i in sequence for p in groups[i]]
    split, axes = tuple(parts[p] for p in lying), tuple(lying.index(p) for p in wanted)
    scramble: Shape = ()
    sizes: Shape = ()
    if lying != wanted and sequence:
        last = sequence[-1]
        start = len(wanted) - len(groups[last])
        whole = len(runs[last][1]) == 1 and runs[last][1][0] == len(target) - 1
        if whole and lying[:start] == wanted[:start]:
            sizes = tuple(parts[p] for p in groups[last])
            scramble = tuple(groups[last].index(p) for p in lying[start:])
            axes = tuple(range(len(axes)))
    order = _with_units([axis for i in sequence for axis in runs[i][1]], len(target))
    result = Layout(order, sizes, scramble)
    here = layout.stored(shape)
    if tuple(size for size in here if size != 1) == split:  # no need to split: keep the axes of size 1, at the front
        units = [i for i, size in enumerate(here) if size == 1]
        others = [i for i, size in enumerate(here) if size != 1]
        split, axes = here, tuple(units) + tuple(others[axis] for axis in axes)
    return Move(split, axes, result.stored(target)), result


def _common_parts(shape: Shape, target: Shape) -> tuple[list[int], dict[int, list[int]], list[tuple[list[int], list[int]]]]:
    """Cut both shapes into the same parts.

    Returns the sizes of the parts; for each axis of `shape` the parts it consists of; and runs (parts, axes of `target`) such that the
    parts, next to each other in this order, make up these axes.
    """
    parts: list[int] = []
    owners: dict[int, list[int]] = {axis: [] for axis in range(len(shape))}
    runs: list[tuple[list[int], list[int]]] = []
    old = [axis for axis, size in enumerate(shape) if size != 1]
    new = [axis for axis, size in enumerate(target) if size != 1]
    while old:
        a, b = [old.pop(0)], [new.pop(0)]
        while (left := prod(shape[i] for i in a)) != (right := prod(target[j] for j in b)):
            (a if left < right else b).append((old if left < right else new).pop(0))
        ends_a, ends_b = list(accumulate((shape[i] for i in a), mul)), list(accumulate((target[j] for j in b), mul))
        cuts = sorted({1, *ends_a, *ends_b})
        first = len(parts)
        if all(high % low == 0 for low, high in zip(cuts, cuts[1:], strict=False)):
            parts += [high // low for low, high in zip(cuts, cuts[1:], strict=False)]
            start = 1
            for axis, end in zip(a, ends_a, strict=True):
                owners[axis] = [first + i for i in range(cuts.index(start), cuts.index(end))]
                start = end
            start = 1
            for axis, end in zip(b, ends_b, strict=True):
                runs.append(([first + i for i in range(cuts.index(start), cuts.index(end))], [axis]))
                start = end
        else:  # (6, 4) -> (4, 6): nothing common; the old axes must lie together as one run
            parts += [shape[i] for i in a]
            owners.update({axis: [first + i] for i, axis in enumerate(a)})
            runs.append((list(range(first, len(parts))), b))
    return parts, owners, runs


def _with_units(order: list[int], rank: int) -> Shape:
    """Put the axes of size 1 into a stored order of the others.

    The result is channels-last where that fits, else the order of the shape, else each such axis lies beside its neighbour.
    """
    for candidate in ((NHWC.order,) if rank == 4 else ()) + (tuple(range(rank)),):
        if [axis for axis in candidate if axis in order] == order:
            return candidate
    full = list(order)
    for axis in range(rank):
        if axis not in order:
            full.insert(full.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(full)
