"""Which candidates there are."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Layer
from tenfold.search.candidates import COARSE_STEPS, fields, spread

CONV = Layer("conv", "conv2d", (64, 48, 3, 3), padding=(1, 1, 1, 1), input_size=(14, 14), output_size=(14, 14))
LAYERS = [CONV, Layer("fc", "dense", (64, 128)), Layer("odd", "conv2d", (8, 1, 3, 3), groups=8, input_size=(9, 9), output_size=(7, 7))]


def test_ranks_are_multiples_of_the_vector_and_save_macs():
    for field in fields(LAYERS, 8):
        for name, ladder in field.ladders.items():
            limits = METHODS[name].max_ranks(field.layer)
            for candidate in ladder:
                assert candidate.macs < field.layer.macs
                if METHODS[name].spectral:
                    assert all(r % 8 == 0 or r == limit for r, limit in zip(candidate.choice.ranks, limits, strict=True))
            assert [c.macs for c in ladder] == sorted(c.macs for c in ladder)


def test_every_method_of_the_kind_is_a_candidate_or_refused():
    for field in fields(LAYERS, 8):
        kind = {name for name, method in METHODS.items() if method.kind == field.layer.kind and not method.starting_point}
        assert set(field.ladders) | set(field.refused) == kind and not set(field.ladders) & set(field.refused)
    assert "depthwise" in fields(LAYERS, 8)[2].refused["channel_svd"]


def test_the_metric_is_that_of_the_data_where_it_is_known():
    for field in fields(LAYERS, 8, ["conv"]):
        for ladder in field.ladders.values():
            assert {c.choice.metric for c in ladder} == {"covariance" if field.layer.name == "conv" else "frobenius"}


def test_ranks_that_variational_bayes_suggests_are_a_rung_more():
    """A core of 7 x 20 channels in noise, whose ratio no rung of the ladder has."""
    rng = np.random.default_rng(0)
    shapes = (64, 20), (20, 7, 3, 3), (48, 7)
    weight = np.einsum("fl,lkyx,ck->fcyx", *(rng.standard_normal(shape) for shape in shapes)).astype("float32")
    weight += 0.3 * weight.std() * rng.standard_normal(weight.shape).astype("float32")
    (plain,), (informed,) = fields([CONV], 8), fields([CONV], 8, weights={"conv": weight})
    before, after = ([c.choice.ranks for c in field.ladders["tucker2"]] for field in (plain, informed))
    assert set(after) - set(before) == {(8, 24)} and set(before) <= set(after)
    assert [c.macs for c in informed.ladders["tucker2"]] == sorted(c.macs for c in informed.ladders["tucker2"])
    assert {name: ladder for name, ladder in informed.ladders.items() if name != "tucker2"} == {
        name: ladder for name, ladder in plain.ladders.items() if name != "tucker2"
    }
    spoiled = np.full_like(weight, np.nan)
    assert fields([CONV], 8, weights={"conv": spoiled})[0].ladders == plain.ladders


def test_coarse_candidates_span_the_ladder():
    field = fields([CONV], 8)[0]
    coarse = field.coarse()
    for ladder in field.ladders.values():
        mine = [c for c in coarse if c in ladder]
        assert mine[0] == ladder[0] and mine[-1] == ladder[-1] and len(mine) == min(COARSE_STEPS, len(ladder))


@given(st.lists(st.integers(), max_size=30), st.integers(2, 8))
def test_spread_takes_the_ends_and_keeps_the_order(items, count):
    taken = spread(list(enumerate(items)), count)
    assert taken == sorted(taken) and len(set(taken)) == len(taken) == min(count, len(items))
    if len(items) > 1:
        assert taken[0] == (0, items[0]) and taken[-1] == (len(items) - 1, items[-1])


@pytest.mark.parametrize("method", ["svd", "spatial_svd", "channel_svd", "tucker2"])
def test_the_cost_of_a_candidate_is_its_chains(method):
    layer = LAYERS[1] if METHODS[method].kind == "dense" else CONV
    field = fields([layer], 8, methods=[METHODS[method]])[0]
    candidate = field.ladders[method][0]
    assert candidate.macs == candidate.outline().macs(*layer.input_size)
    assert candidate.params == candidate.outline().params
