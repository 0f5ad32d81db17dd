"""A chain seen from its stages, and alternating least squares over them."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, kernel_of, layers, random_metrics, random_weight, sub_ranks
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS
from tenfold.factorization.solvers.chain_als import chain_als, chain_als_towards
from tenfold.factorization.solvers.objective import objective
from tenfold.factorization.solvers.precondition import preconditioner
from tenfold.factorization.solvers.stage_view import ChainView

SEEDS = st.integers(0, 2**32 - 1)
FORMS = [name for name, method in METHODS.items() if not method.starting_point]
each_form = pytest.mark.parametrize("name", FORMS)


def random_chain(name, layer, seed, part=0.5):
    """The form with random weights: not the factors of anything."""
    chain, rng = METHODS[name].outline(layer, sub_ranks(name, layer, part)), np.random.default_rng(seed)
    return replace(chain, stages=tuple(replace(s, weight=rng.standard_normal(s.weight.shape).astype(np.float32)) for s in chain.stages))


@each_form
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_pieces_compose_the_kernel_of_the_chain(name, data, seed):
    layer = data.draw(layers(name))
    chain = random_chain(name, layer, seed)
    kernel = ChainView(chain).kernel()
    np.testing.assert_allclose(kernel, kernel_of(chain, layer).reshape(kernel.shape), rtol=1e-5, atol=1e-5 * np.abs(kernel).max())
    for index, stage in enumerate(chain.stages):
        stage_view = ChainView(chain).stage(index)
        through = stage_view.whole(stage_view.inner(stage.weight.astype(np.float64)), kernel.shape[1])
        np.testing.assert_allclose(through, kernel, rtol=1e-9, atol=1e-9 * np.abs(kernel).max())


@each_form
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_adjoints(name, data, seed):
    """<A w, c> = <w, A* c> for both maps of every stage."""
    layer, rng = data.draw(layers(name)), np.random.default_rng(seed)
    chain_view = ChainView(random_chain(name, layer, seed))
    for index in range(len(chain_view)):
        stage_view = chain_view.stage(index)
        w, c = rng.standard_normal(stage_view.shape), rng.standard_normal((stage_view.shape[0], stage_view.width))
        kernel = rng.standard_normal((len(stage_view.back[0]), chain_view.width))
        assert np.vdot(stage_view.inner(w), c) == pytest.approx(np.vdot(w, stage_view.inner_adjoint(c)), rel=1e-9, abs=1e-9)
        behind = np.vdot(c, stage_view.whole_adjoint(kernel))
        assert np.vdot(stage_view.whole(c, chain_view.width), kernel) == pytest.approx(behind, rel=1e-9, abs=1e-9)


@each_form
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_the_objective_is_the_squared_distance(name, data, seed):
    layer = data.draw(layers(name))
    weight, chain = random_weight(layer, seed), random_chain(name, layer, seed + 1)
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    kernel = ChainView(chain).kernel()
    for metric in random_metrics(layer, seed):
        goal = objective(rows, metric)
        squared = metric.norm((rows - kernel).reshape(layer.weight_shape)) ** 2
        assert goal.error(kernel) == pytest.approx(squared, rel=1e-3)
        for index in range(len(chain.stages)):
            stage_view = ChainView(chain).stage(index)
            c = np.random.default_rng(seed).standard_normal((stage_view.shape[0], stage_view.width))
            slow = stage_view.whole_adjoint(goal.weigh(stage_view.whole(c, rows.shape[1])))
            np.testing.assert_allclose(goal.normal(stage_view, c), slow, rtol=1e-8, atol=1e-8 * np.abs(slow).max())


@pytest.mark.quick(4)
@each_form
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_no_sweep_raises_the_error(name, data, seed):
    layer, sweeps = data.draw(layers(name)), data.draw(st.integers(0, 4))
    weight = random_weight(layer, seed)
    start = METHODS[name].factorize(weight, layer, sub_ranks(name, layer, data.draw(st.floats(0, 1))))
    for metric in random_metrics(layer, seed):
        before = start.relative_error(weight, metric=metric)
        after = chain_als(start, weight, metric, sweeps=sweeps)
        assert after.relative_error(weight, metric=metric) <= before * (1 + 1e-4) + 1e-5
        assert [(s.weight.shape, s.stride, s.padding, s.dilation, s.groups) for s in after.stages] == [
            (s.weight.shape, s.stride, s.padding, s.dilation, s.groups) for s in start.stages
        ]


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", ["spatial_svd", "channel_svd", "tucker2", "cp", "separable_basis"])
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_errors_of_outputs_weighed_against_each_other(name, data, seed):
    """Sweeps lower the weighted error where the last stage has no groups, so that it is best for every weighting."""
    layer, rng = data.draw(layers(name)), np.random.default_rng(seed)
    weight, metric = random_weight(layer, seed), random_metrics(layer, seed)[0]
    rows, chain = weight.reshape(len(weight), -1).astype(np.float64), random_chain(name, layer, seed)
    goal = objective(rows if chain.permutation is None else rows[np.argsort(chain.permutation)], metric)
    assert chain.stages[-1].groups == 1
    square = rng.standard_normal((len(rows), len(rows)))
    weighting = square @ square.T / len(rows)

    def error(chain):
        difference = weighting @ (ChainView(chain).kernel() - np.linalg.solve(goal.weigh(np.eye(rows.shape[1])), goal.wanted.T).T)
        return float(np.vdot(difference, goal.weigh(difference)))

    start = error(chain_als_towards(chain, goal, sweeps=0))
    assert error(chain_als_towards(chain, goal, sweeps=3, weighting=weighting)) <= start * (1 + 1e-4) + 1e-6 * goal.constant


@each_form
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_the_last_stage_is_the_best_there_is(name, data, seed):
    """In the covariance metric: moving it a little any way does not lower the error."""
    layer, rng = data.draw(layers(name)), np.random.default_rng(seed)
    weight, metric = random_weight(layer, seed), random_metrics(layer, seed)[0]
    chain = chain_als(random_chain(name, layer, seed), weight, metric, sweeps=0)
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    goal = objective(rows if chain.permutation is None else rows[np.argsort(chain.permutation)], metric)
    chain_view = ChainView(chain)
    best = goal.error(chain_view.kernel())
    for _ in range(4):
        moved = ChainView(chain)
        step = rng.standard_normal(moved.weights[-1].shape)
        moved.weights[-1] = moved.weights[-1] + 1e-2 * np.linalg.norm(moved.weights[-1]) / np.linalg.norm(step) * step
        assert goal.error(moved.kernel()) >= best * (1 - 1e-5) - 1e-9


@each_form
@PROPERTY
@given(data=st.data(), seed=SEEDS)
def test_a_preconditioned_gradient_still_goes_downhill(name, data, seed):
    layer, rng = data.draw(layers(name)), np.random.default_rng(seed)
    chain_view = ChainView(random_chain(name, layer, seed))
    goal = objective(random_weight(layer, seed).reshape(layer.out_channels, -1).astype(np.float64), random_metrics(layer, seed)[0])
    for index in range(len(chain_view)):
        stage_view = chain_view.stage(index)
        gradient = rng.standard_normal(stage_view.shape)
        assert np.vdot(gradient, preconditioner(stage_view, goal)(gradient)) > 0


def test_a_kernel_of_other_taps_is_refused():
    """Flattened layers reach further than the weight: no metric of the weight knows what lies there."""
    layer = conv_layer(4, 3, 3, 3, padding=(1, 1, 1, 1))
    chain = METHODS["flattened"].outline(layer, (4,))
    with pytest.raises(ValueError, match="taps"):
        chain_als(chain, random_weight(layer, 0), random_metrics(layer, 0)[0])
