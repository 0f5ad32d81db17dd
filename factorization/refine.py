"""Any chain, made nearer to its weight in any metric: alternating least squares over the stages.

The kernel of a chain is linear in the weight of one stage, so the error is quadratic in it. Where the metric is a covariance, the last
stage is solved in closed form; the others, and all stages in other metrics, take some steps of conjugate gradients from where they are.
No step raises the error. Directions that the data hardly shows keep, after few steps, the weights that they started with.
"""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg

from .chain import FactorChain
from .metrics import Metric
from .objective import Moment, Objective, objective
from .pieces import Piece, Pieces

SWEEPS = 2
STEPS = 3  # of conjugate gradients for one stage in one sweep
GAIN = 1e-2  # of the error: a sweep that gains less was the last
RIDGE = 1e-7  # of the mean curvature, towards the weights as they are, so that what nothing determines stays


def refine(chain: FactorChain, weight: np.ndarray, metric: Metric, sweeps: int = SWEEPS, steps: int = STEPS) -> FactorChain:
    """Lower the error of a chain.

    Parameters
    ----------
    chain
        A start whose kernel has the shape of ``weight``: the factors in the Frobenius norm, for example.
    weight
        OIHW or OI.
    metric
        The norm.
    sweeps, steps
        Sweeps over the stages, and steps of conjugate gradients for each stage in each.

    Returns
    -------
    FactorChain
        Of the same geometry, biases and permutations.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    return refined(chain, objective(rows if chain.permutation is None else rows[np.argsort(chain.permutation)], metric), sweeps, steps)


def refined(chain: FactorChain, goal: Objective, sweeps: int = SWEEPS, steps: int = STEPS) -> FactorChain:
    """`refine` for an objective whose rows are the channels of the chain's last stage."""
    pieces = Pieces(chain)
    error = goal.error(pieces.kernel())
    for _ in range(sweeps):
        for index in reversed(range(len(pieces))):
            piece, closed = pieces.piece(index), index == len(pieces) - 1 and isinstance(goal, Moment)
            solve = _closed_form(piece, goal, pieces.weights[index]) if closed else _conjugate(piece, goal, pieces.weights[index], steps)
            pieces.weights[index] = solve
        before, error = error, goal.error(pieces.kernel())
        if before - error <= GAIN * before:
            break
    stages = (replace(stage, weight=weight) for stage, weight in zip(chain.stages, balanced(pieces), strict=True))
    return replace(chain, stages=tuple(stages))


def balanced(pieces: Pieces) -> list[np.ndarray]:
    return pieces.weights


def _conjugate(piece: Piece, goal: Objective, weight: np.ndarray, steps: int) -> np.ndarray:
    """Some steps of conjugate gradients on the normal equations of one stage, from ``weight``."""

    def normal(w: np.ndarray) -> np.ndarray:
        return piece.inner_adjoint(goal.normal(piece, piece.inner(w)))

    residual = piece.inner_adjoint(piece.whole_adjoint(goal.wanted)) - normal(weight)
    direction, size = residual, np.vdot(residual, residual)
    start = size
    for _ in range(steps):
        if size <= 1e-20 * start or size == 0:
            break
        image = normal(direction)
        curvature = np.vdot(direction, image)
        if curvature <= 0:
            break
        length = size / curvature
        weight = weight + length * direction
        residual = residual - length * image
        before, size = size, np.vdot(residual, residual)
        direction = residual + size / before * direction
    return weight


def _closed_form(piece: Piece, goal: Moment, weight: np.ndarray) -> np.ndarray:
    """The last stage that is best: its responses to what the stages before it give, group by group."""
    groups, each = piece.groups, len(weight) // piece.groups
    wanted = goal.wanted.reshape(groups, each, -1)
    taps, width = len(piece.taps), piece.shape[1]
    front = piece.front
    seen = [goal.seen(front.reshape(-1, front.shape[2]), columns).reshape(groups, width, -1) for columns in piece.taps]
    gram = np.empty((groups, width, taps, width, taps))
    cross = np.empty((groups, each, width, taps))
    for t, columns in enumerate(piece.taps):
        cross[..., t] = wanted[:, :, columns] @ front.transpose(0, 2, 1)
        for s, response in enumerate(seen):
            gram[:, :, s, :, t] = response[:, :, columns] @ front.transpose(0, 2, 1)
    gram = gram.reshape(groups, width * taps, -1)
    now, solved = weight.reshape(groups, each, -1), np.empty((groups, each, width * taps))
    for g, (a, b) in enumerate(zip(gram, cross.reshape(groups, each, -1), strict=True)):
        ridge = RIDGE * np.trace(a) / len(a) + np.finfo(np.float64).tiny
        a[np.diag_indices(len(a))] += ridge
        solved[g] = scipy.linalg.solve(a, (b + ridge * now[g]).T, assume_a="pos").T
    return solved.reshape(piece.shape)
