"""Any chain, made nearer to its weight in any metric: alternating least squares over the stages.

The kernel of a chain is linear in the weight of one stage, so the squared error is quadratic in it. Where the metric is a covariance, the
last stage is solved in closed form; the others, and all stages in other metrics, take steps of preconditioned conjugate gradients from
where they are. No step raises the error, and what the data hardly shows stays about where it started.
"""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg

from ..chain import FactorChain
from ..metrics import Metric
from .objective import Moment, Objective, objective
from .precondition import preconditioner
from .stage_view import ChainView, StageView

SWEEPS = 3
STEPS = 1  # of conjugate gradients for one stage in one sweep
LEAST_GAIN = 5e-3  # of the squared error: a sweep that gains less was the last
RIDGE = 1e-7  # of the mean curvature, towards the weights as they are: what nothing determines stays


def chain_als(chain: FactorChain, weight: np.ndarray, metric: Metric, sweeps: int = SWEEPS, steps: int = STEPS) -> FactorChain:
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
        Sweeps over the stages, and steps of conjugate gradients for each stage in each. No sweeps: only the last stage is solved.

    Returns
    -------
    FactorChain
        Of the same geometry, biases and permutations.

    Raises
    ------
    ValueError
        The chain's kernel has taps that the weight does not have (flattened layers' do).
    """
    if ChainView(chain).width != weight[0].size:
        raise ValueError(f"the chain's kernel has taps that the metric {metric.name} of the weight does not know")
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    order = slice(None) if chain.permutation is None else np.argsort(chain.permutation)
    return chain_als_towards(chain, objective(rows[order], metric.of_rows(order)), sweeps, steps)


def chain_als_towards(
    chain: FactorChain, goal: Objective, sweeps: int = SWEEPS, steps: int = STEPS, weighting: np.ndarray | None = None
) -> FactorChain:
    """Lower an objective whose rows are the channels of the chain's last stage; see `chain_als`.

    A weighted error is ``||weighting (K - W) S^(1/2)||``: the stages before the last keep what counts more. A last stage without groups is
    best whatever the weighting is; one with groups is fitted without it.

    Parameters
    ----------
    chain : FactorChain
        The start.
    goal : Objective
        Its rows are the channels of the last stage; a `Moment`, with ``weighting``.
    sweeps, steps : int
        As for `chain_als`.
    weighting : ndarray, (F, F), symmetric, optional
        How errors of these channels count against each other.
    """
    chain_view = ChainView(chain)
    last = len(chain_view) - 1
    error = _improve_last(chain_view, goal, steps)
    weighted = goal
    if weighting is not None:
        if not isinstance(goal, Moment):
            raise ValueError("only a Moment can be weighted")
        weighted = goal.weighted(weighting)
    for _ in range(sweeps if last else 0):
        for index in range(last):
            chain_view.weights[index] = _conjugate(chain_view.stage(index).weighted(weighting), weighted, chain_view.weights[index], steps)
        before, error = error, _improve_last(chain_view, goal, steps)
        if weighting is None and before - error <= LEAST_GAIN * before:  # a weighted error is not known, only how it changes
            break
    stages = (replace(stage, weight=weight) for stage, weight in zip(chain.stages, chain_view.weights, strict=True))
    return replace(chain, stages=tuple(stages))


def _improve_last(chain_view: ChainView, goal: Objective, steps: int) -> float:
    """Make the last stage better; the squared error of the chain then."""
    stage_view, weight = chain_view.stage(len(chain_view) - 1), chain_view.weights[-1]
    if not isinstance(goal, Moment):
        chain_view.weights[-1] = _conjugate(stage_view, goal, weight, max(steps, 1))
        return goal.error(chain_view.kernel())
    chain_view.weights[-1] = _closed_form(stage_view, goal, weight)
    return goal.constant - float(np.vdot(chain_view.kernel(), goal.wanted))  # of a least-squares solution


def _conjugate(stage_view: StageView, goal: Objective, weight: np.ndarray, steps: int) -> np.ndarray:
    """Take some steps of conjugate gradients on the normal equations of one stage, from ``weight``."""

    def normal(w: np.ndarray) -> np.ndarray:
        return stage_view.inner_adjoint(goal.normal(stage_view, stage_view.inner(w)))

    flatten = preconditioner(stage_view, goal)
    residual = stage_view.inner_adjoint(stage_view.whole_adjoint(goal.wanted)) - normal(weight)
    direction = flatten(residual)
    size = np.vdot(residual, direction)
    for step in range(1, steps + 1):
        image = normal(direction)
        curvature = np.vdot(direction, image)
        if size <= 0 or curvature <= 0:
            break
        weight = weight + size / curvature * direction
        if step < steps:
            residual = residual - size / curvature * image
            flat = flatten(residual)
            before, size = size, np.vdot(residual, flat)
            direction = flat + size / before * direction
    return weight


def _closed_form(stage_view: StageView, goal: Moment, weight: np.ndarray) -> np.ndarray:
    """The last stage that is best: least squares from what the stages before it give, group by group."""
    groups, each = stage_view.groups, len(weight) // stage_view.groups
    now, wanted = weight.reshape(groups, each, -1), goal.wanted.reshape(groups, each, -1)
    cross = np.stack([wanted[:, :, columns] @ stage_view.front.transpose(0, 2, 1) for columns in stage_view.taps], axis=-1)
    solved = np.empty_like(now)
    for g, (a, b) in enumerate(zip(stage_view.gram(goal.seen), cross.reshape(now.shape), strict=True)):
        ridge = RIDGE * np.trace(a) / len(a) + np.finfo(np.float64).tiny
        a[np.diag_indices(len(a))] += ridge
        target = (b + ridge * now[g]).T
        try:
            solved[g] = scipy.linalg.solve(a, target, assume_a="pos").T
        except scipy.linalg.LinAlgError:  # the images are all alike, or zero: many weights are best
            solved[g] = scipy.linalg.lstsq(a, target)[0].T
    return solved.reshape(stage_view.shape)
