"""A chain seen from one of its stages: its kernel is linear in that stage's weight while the other stages stay as they are.

    kernel = sum_t U_t . shift_t(c)        c = sum_s w_s . shift_s(P)

P: the kernel of the stages in front; w_s: the taps of the stage's weight, the unknowns; U_t: the taps of the kernel of the stages
behind. A shift moves a kernel to where a tap stands: here, a choice among the columns of a flattened kernel.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from math import gcd, prod

import numpy as np

from ..chain import FactorChain

Offsets = tuple[tuple[int, ...], tuple[int, ...]]  # rows and columns on which taps stand, in pixels of the chain's input


@dataclass(frozen=True, eq=False)
class StageView:
    """One stage of a chain between its front and its back.

    Attributes
    ----------
    shape : tuple of int
        OIHW of the stage's weight.
    groups : int
        Of the stage.
    front : ndarray
        P, (groups, inputs of one group, columns of P), float64.
    taps : list of ndarray
        For each tap of the stage the columns of c that P fills there.
    back : list of ndarray
        U_t, (F, outputs of the stage), float64.
    back_columns : list of ndarray
        For each of ``back`` the columns of the whole kernel that c fills there.
    width : int
        Columns of c.
    """

    shape: tuple[int, int, int, int]
    groups: int
    front: np.ndarray
    taps: list[np.ndarray]
    back: list[np.ndarray]
    back_columns: list[np.ndarray]
    width: int

    def inner(self, weight: np.ndarray) -> np.ndarray:
        """c, (outputs of the stage, width), for a weight of the stage, OIHW."""
        return _behind(weight, self.front, self.taps, self.width)

    def inner_adjoint(self, c: np.ndarray) -> np.ndarray:
        """The adjoint of `inner`: OIHW."""
        front = self.front.transpose(0, 2, 1)
        taps = [np.matmul(c[:, columns].reshape(self.groups, -1, len(columns)), front) for columns in self.taps]
        return np.stack(taps, axis=-1).reshape(self.shape)

    def whole(self, c: np.ndarray, width: int) -> np.ndarray:
        """The kernel, (F, width), of which c is the inner part."""
        kernel = np.zeros((len(self.back[0]), width))
        for u, columns in zip(self.back, self.back_columns, strict=True):
            kernel[:, columns] += u @ c
        return kernel

    def whole_adjoint(self, kernel: np.ndarray) -> np.ndarray:
        """The adjoint of `whole`: like c."""
        return sum(u.T @ kernel[:, columns] for u, columns in zip(self.back, self.back_columns, strict=True))

    def weighted(self, weighting: np.ndarray | None) -> StageView:
        """Weigh the outputs of the chain, F, against each other by a matrix; None leaves them as they are."""
        return self if weighting is None else replace(self, back=[weighting @ u for u in self.back])

    def gram(self, seen: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """How the features that the stage reads vary together, group by group.

        Feature (i, s) is channel i of the front where tap s of the stage meets it.

        Parameters
        ----------
        seen
            ``seen(p, columns)``: for each row of p, a kernel that is p in ``columns`` and zero elsewhere, its covariances with all columns.

        Returns
        -------
        ndarray
            (groups, features, features), features as in a flattened OIHW weight.
        """
        width, rows = self.shape[1], self.front.reshape(-1, self.front.shape[2])
        gram = np.empty((self.groups, width, len(self.taps), width, len(self.taps)))
        for s, columns in enumerate(self.taps):
            response = seen(rows, columns).reshape(self.groups, width, -1)
            for t, others in enumerate(self.taps):
                gram[:, :, s, :, t] = response[:, :, others] @ self.front.transpose(0, 2, 1)
        return gram.reshape(self.groups, width * len(self.taps), -1)


class ChainView:
    """A chain whose stages are replaced one at a time.

    Parameters
    ----------
    chain
        Where it starts. Biases and the permutation of its outputs do not matter.

    Attributes
    ----------
    weights : list of ndarray
        Of the stages, OIHW, float64: to be changed from outside.
    """

    def __init__(self, chain: FactorChain):
        self.weights = [stage.weight.astype(np.float64) for stage in chain.stages]
        self._stages = chain.stages
        self._offsets: list[Offsets] = []
        stride = (1, 1)
        for stage in chain.stages:
            rows, columns = (tuple(i * s * d for i in range(taps)) for taps, s, d in zip(stage.kernel, stride, stage.dilation, strict=True))
            self._offsets.append((rows, columns))
            stride = stride[0] * stage.stride[0], stride[1] * stage.stride[1]

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def width(self) -> int:
        """Columns of the whole kernel: C Y X."""
        rows, columns = self._grid()
        return self._stages[0].in_channels * len(rows) * len(columns)

    def _grid(self) -> Offsets:
        return _regular(reduce(_sums, self._offsets))

    def kernel(self) -> np.ndarray:
        """Kernel of the whole chain, (F, C Y X)."""
        values, filled = self._compose(self._stages[0].in_channels, range(len(self)))
        whole = np.zeros((len(values), self.width))
        whole[:, _columns(values.shape[1], filled, (0, 0), self._grid())] = values.reshape(len(values), -1)
        return whole

    def stage(self, index: int) -> StageView:
        """The chain as stage ``index`` sees it."""
        stage, inputs = self._stages[index], self._stages[0].in_channels
        front, filled = self._compose(inputs, range(index))
        back, behind = self._compose(stage.out_channels, range(index + 1, len(self)))
        inner, grid = _sums(filled, self._offsets[index]), self._grid()
        front = front if stage.input_permutation is None else front[stage.input_permutation]
        return StageView(
            shape=self.weights[index].shape,
            groups=stage.groups,
            front=np.ascontiguousarray(front.reshape(stage.groups, stage.weight.shape[1], -1)),
            taps=[_columns(inputs, filled, tap, inner) for tap in _each(self._offsets[index])],
            back=list(np.ascontiguousarray(back.transpose(2, 3, 0, 1).reshape(-1, *back.shape[:2]))),
            back_columns=[_columns(inputs, inner, tap, grid) for tap in _each(behind)],
            width=inputs * len(inner[0]) * len(inner[1]),
        )

    def _compose(self, inputs: int, indices: range) -> tuple[np.ndarray, Offsets]:
        """The kernel of some stages, one after the other, and where its taps stand: (outputs, inputs, rows, columns)."""
        kernel = np.eye(inputs)[:, :, None, None]
        filled: Offsets = (0,), (0,)
        for index in indices:
            stage, offsets = self._stages[index], self._offsets[index]
            if stage.input_permutation is not None:
                kernel = kernel[stage.input_permutation]
            grid = _sums(filled, offsets)
            taps = [_columns(inputs, filled, tap, grid) for tap in _each(offsets)]
            front = kernel.reshape(stage.groups, stage.weight.shape[1], -1)
            size = inputs, len(grid[0]), len(grid[1])
            kernel, filled = _behind(self.weights[index], front, taps, prod(size)).reshape(-1, *size), grid
        return kernel, filled


def _behind(weight: np.ndarray, front: np.ndarray, taps: list[np.ndarray], width: int) -> np.ndarray:
    """The kernel, (outputs, width), of a stage behind ``front``, (groups, inputs of one group, columns), which its taps move."""
    kernel = np.zeros((len(weight), width))
    grouped = weight.reshape(len(front), -1, front.shape[1], len(taps))
    for s, columns in enumerate(taps):
        kernel[:, columns] += np.matmul(grouped[..., s], front).reshape(len(weight), -1)
    return kernel


def _each(offsets: Offsets) -> Iterable[tuple[int, int]]:
    return ((row, column) for row in offsets[0] for column in offsets[1])


def _sums(first: Offsets, second: Offsets) -> Offsets:
    """Where taps stand when each of ``second`` moves all of ``first``."""
    rows, columns = (tuple(sorted({a + b for a in one for b in other})) for one, other in zip(first, second, strict=True))
    return rows, columns


def _regular(offsets: Offsets) -> Offsets:
    """The coarsest regular grid that holds them all: that of a kernel's rows and columns."""
    rows, columns = (tuple(range(0, axis[-1] + 1, gcd(*axis) or 1)) for axis in offsets)
    return rows, columns


def _columns(inputs: int, small: Offsets, shift: tuple[int, int], large: Offsets) -> np.ndarray:
    """The columns of a flattened kernel on the grid ``large`` that a kernel on ``small``, moved by ``shift``, fills, in its order."""
    rows, columns = ([grid.index(offset + move) for offset in axis] for axis, move, grid in zip(small, shift, large, strict=True))
    channels = np.arange(inputs)[:, None, None] * len(large[0]) * len(large[1])
    return (channels + np.array(rows)[:, None] * len(large[1]) + np.array(columns)).ravel()
