"""The curvature of the error in one stage, roughly: what makes one step of conjugate gradients go most of the way.

    N(w)  ~  L w R        L = sum_t U_t^T U_t        R = features S features^T

Group by group; L: how strongly the stages behind the stage listen to each of its channels together; R: how the features that it reads vary
together, S averaged over the places to which the stages behind move it. Exact where they have one tap.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from .objective import Moment, Objective
from .stage_view import StageView

LEAST_CURVATURE = 1e-2  # of the mean curvature: what varies less is not sped up, for it is mostly noise


def preconditioner(stage_view: StageView, goal: Objective) -> Callable[[np.ndarray], np.ndarray]:
    """A function that divides a gradient of the stage's weight, OIHW, by the rough curvature; the identity for element-wise metrics."""
    if not isinstance(goal, Moment):
        return lambda gradient: gradient
    left = [_factor(block) for block in _listening(stage_view)]
    right = [_factor(block) for block in stage_view.gram(_Average(stage_view, goal.moment).seen)]

    def divide(gradient: np.ndarray) -> np.ndarray:
        blocks = gradient.reshape(stage_view.groups, stage_view.shape[0] // stage_view.groups, -1)
        solve = scipy.linalg.cho_solve
        return np.stack([solve(r, solve(l, block).T).T for l, r, block in zip(left, right, blocks, strict=True)]).reshape(stage_view.shape)

    return divide


def _listening(stage_view: StageView) -> np.ndarray:
    """L of each group."""
    grouped = [u.reshape(len(u), stage_view.groups, -1).transpose(1, 2, 0) for u in stage_view.back]
    return sum(u @ u.transpose(0, 2, 1) for u in grouped)


class _Average:
    """S between the columns of c, averaged over where the stages behind put c, the places that they listen to counting more."""

    def __init__(self, stage_view: StageView, moment: np.ndarray):
        shares = np.array([np.vdot(u, u) for u in stage_view.back])
        shares = shares / shares.sum() if shares.any() else np.full(len(shares), 1 / len(shares))
        self._mean = sum(share * moment[np.ix_(columns, columns)] for share, columns in zip(shares, stage_view.back_columns, strict=True))

    def seen(self, c: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return c @ self._mean[columns]


def _factor(block: np.ndarray) -> tuple:
    block = block + (LEAST_CURVATURE * np.trace(block) / len(block) + np.finfo(np.float64).tiny) * np.eye(len(block))
    return scipy.linalg.cho_factor(block)
