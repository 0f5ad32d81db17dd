"""What is known before choosing, and what it costs."""
from __future__ import annotations

from dataclasses import replace

import pytest
from tenfold.factorization import Choice, Layer
from tenfold.search.candidates import Candidate
from tenfold.search.choices import NODE_BYTES, Choices
from tenfold.search.costs import Costs, Whole
from tenfold.search.survey import LayerSurvey, Option, _Surveyor, beaten, frontier, promising
from tenfold.search.timing.latency_table import TimedLayer
from tenfold.support.progress import reporter

LAYER = Layer("conv", "conv2d", (64, 48, 3, 3), padding=(1, 1, 1, 1), input_size=(14, 14), output_size=(14, 14))


def option(method, rank, ms, error, **more):
    ranks = (rank, rank) if method == "tucker2" else (rank,)
    return Option(Candidate(LAYER, Choice(method, ranks)), ms, 1.0, error, **more)


def test_the_frontier_is_what_nothing_beats():
    options = [option("channel_svd", 8 * i, ms, error) for i, (ms, error) in enumerate([(0.1, 0.5), (0.2, 0.3), (0.3, 0.4), (0.4, 0.1)], 1)]
    assert frontier(options) == [options[3], options[1], options[0]]


def test_a_method_is_dropped_only_where_it_is_clearly_beaten_everywhere():
    good = [option("spatial_svd", 8, 0.1, 0.5), option("spatial_svd", 16, 0.3, 0.2)]
    close = [option("channel_svd", 8, 0.11, 0.5)]
    bad = [option("tucker2", 8, 0.5, 0.5), option("tucker2", 16, 0.6, 0.3)]
    assert promising([*good, *close, *bad]) == ["spatial_svd", "channel_svd"]
    better_once = option("tucker2", 24, 0.9, 0.1)
    assert "tucker2" in promising([*good, *bad, better_once])
    assert promising([option("tucker2", 8, 2.0, None, refused="not faster")]) == []


def test_what_can_not_be_better_is_not_factored():
    known = [option("spatial_svd", 16, 0.3, 0.2), option("channel_svd", 32, 0.5, 0.25), option("channel_svd", 8, 0.2, 0.6)]
    # channel_svd 16 has at least the error of 32, more than spatial_svd has in less time.
    assert beaten(option("channel_svd", 16, 0.35, None), known) is known[0]
    assert beaten(option("channel_svd", 16, 0.29, None), known) is None
    assert beaten(option("channel_svd", 40, 0.6, None), known) is None
    assert beaten(option("tucker2", 16, 0.35, None), known) is None
    # What is slower than something without any error to speak of is of no use, whatever its own may be.
    good = option("spatial_svd", 64, 0.3, 0.01)
    assert beaten(option("tucker2", 16, 0.35, None), [*known, good]) is good
    assert beaten(option("tucker2", 16, 0.25, None), [*known, good]) is None


class Table:
    """Every option takes a millisecond for each million MACs."""

    def ms(self, timed_layers, progress):
        return [timed.chain.macs(14, 14) / 1e6 for timed in timed_layers]

    def failure(self, timed):
        return None


class Errors:
    """Known errors; remembers what was asked for."""

    def __init__(self, **errors):
        self.errors, self.asked = errors, []

    def error(self, candidate):
        self.asked.append((candidate.choice.method, candidate.choice.ranks[0]))
        return self.errors[candidate.choice.method] / candidate.choice.ranks[0]


def test_the_dearest_ranks_are_factored_first_and_what_is_beaten_never():
    """channel_svd is worse than spatial_svd at any cost: its dearest ranks say so, and the cheaper ones are not factored."""
    ranks = {"spatial_svd": (8, 16, 32), "channel_svd": (8, 16, 32)}
    candidates = [Candidate(LAYER, Choice(method, (rank,))) for method, each in ranks.items() for rank in each]
    errors = Errors(spatial_svd=1.0, channel_svd=50.0)
    options = _Surveyor(Table(), errors, {}, reporter(None), {"conv": 100.0}).options(candidates, [])
    for method in ranks:
        asked = [rank for name, rank in errors.asked if name == method]
        assert asked == sorted(asked, reverse=True)
    beaten_ones = [o for o in options if o.refused]
    assert {o.candidate.choice.method for o in beaten_ones} == {"channel_svd"} and len(beaten_ones) == 2
    assert all("beaten by spatial_svd" in o.refused for o in beaten_ones)
    assert len(errors.asked) == len(candidates) - len(beaten_ones) == len(set(errors.asked))


def test_what_is_not_faster_is_refused_with_both_times_and_not_factored():
    errors = Errors(channel_svd=0.1)
    candidates = [Candidate(LAYER, Choice("channel_svd", (rank,))) for rank in (8, 16)]
    fast, slow = (Table().ms([TimedLayer(LAYER, c.outline())], None)[0] for c in candidates)
    options = _Surveyor(Table(), errors, {}, reporter(None), {"conv": slow}).options(candidates, [])
    assert {o.candidate.choice.ranks[0]: o.refused for o in options} == {8: None, 16: f"not faster: {slow:.4f} ms, dense {slow:.4f} ms"}
    assert fast < slow and errors.asked == [("channel_svd", 8)]


def test_what_does_not_compile_is_refused_and_not_factored():
    class Broken(Table):
        def failure(self, timed):
            return "RuntimeError: a check failed" if timed.chain.stages[0].out_channels == 8 else None

    errors = Errors(channel_svd=0.1)
    candidates = [Candidate(LAYER, Choice("channel_svd", (rank,))) for rank in (8, 16)]
    options = _Surveyor(Broken(), errors, {}, reporter(None), {"conv": 100.0}).options(candidates, [])
    refused = {o.candidate.choice.ranks[0]: o.refused for o in options}
    assert refused == {8: "does not compile: RuntimeError: a check failed", 16: None}
    assert errors.asked == [("channel_svd", 16)]


def test_factors_that_are_not_found_are_refused():
    class Diverging(Errors):
        def error(self, candidate):
            return None

    (option,) = _Surveyor(Table(), Diverging(), {}, reporter(None), {"conv": 100.0}).options([Candidate(LAYER, Choice("cp", (8,)))], [])
    assert "do not converge" in option.refused and option.error is None


def costs(options, rest=0.2, dense=2.2):
    """Of two layers that take 1 ms each by themselves, in a network where they take all but `rest` of `dense`."""
    survey = LayerSurvey(LAYER, 1.0, tuple(options), {})
    saved = 1.0 - min((o.ms for o in survey.open), default=1.0)
    whole = Whole(dense, dense - (dense - rest) / 2 * saved, 300_000)
    return Costs(Choices([survey, LayerSurvey(replace(LAYER, name="other"), 1.0, (), {"svd": "dense layers only"})]), whole)


def test_both_networks_are_predicted_as_they_were_measured():
    model = costs([option("channel_svd", 8, 0.4, 0.2, loss=0.1), option("channel_svd", 32, 0.7, 0.1, loss=0.05)], dense=2.9)
    assert model.predicted((0, 0)).ms == pytest.approx(model.whole.ms)
    assert model.predicted((1, 0)).ms == pytest.approx(model.whole.fastest_ms)
    assert model.predicted((2, 0)).ms == pytest.approx((model.whole.ms + model.whole.fastest_ms) / 2)
    assert model.choices.fastest == (1, 0)
    assert [model.at(share) for share in (1, 0, 0.5)] == pytest.approx([model.predicted((i, 0)).ms for i in range(3)])
    beside = {(0, 0): 10.0, (1, 0): 4.0}  # as the machine is now
    assert [model.foretold((i, 0), beside) for i in range(3)] == pytest.approx([10, 4, 7])
    assert model.foretold((2, 0), {**beside, (2, 0): 5.0}) == pytest.approx(5)


def test_a_third_network_bends_the_line():
    options = [option("channel_svd", 8, 0.4, 0.2, loss=0.1), option("channel_svd", 32, 0.7, 0.1, loss=0.05),
               option("channel_svd", 40, 0.85, 0.05, loss=0.01)]
    model = costs(options, dense=2.9)
    dense, fastest = model.whole.ms, model.whole.fastest_ms
    before = [model.predicted((i, 0)).ms for i in range(4)]
    model.know((2, 0), before[2] + 0.2)
    assert [model.predicted((i, 0)).ms for i in (0, 1, 2)] == pytest.approx([dense, fastest, before[2] + 0.2])
    share = (before[3] - before[2]) / (dense - before[2])
    assert model.predicted((3, 0)).ms == pytest.approx((1 - share) * (before[2] + 0.2) + share * dense)
    for i in (1, 2, 3):  # limits mean what is predicted
        ms = model.predicted((i, 0)).ms
        assert model.pick("loss", {"ms": ms + 1e-6}) == (i, 0)
    assert model.pick("loss", {"ms": fastest - 1e-3}) is None


def test_a_third_network_that_was_slower_than_the_dense_one():
    """Noise: what takes more work by itself is not predicted to take less time."""
    model = costs([option("channel_svd", 8, 0.4, 0.2, loss=0.1), option("channel_svd", 32, 0.7, 0.1, loss=0.05)], dense=2.9)
    model.know((2, 0), 3.1)
    assert model.predicted((1, 0)).ms <= model.predicted((2, 0)).ms <= model.predicted((0, 0)).ms


def test_the_dense_network_is_predicted_as_it_was_measured():
    model = costs([option("channel_svd", 8, 0.4, 0.2, loss=0.1)], rest=0.2, dense=2.6)
    assert model.scale == pytest.approx(1.2)  # both layers take 1 ms by themselves and 2.4 ms in the network
    dense, factored = model.predicted((0, 0)), model.predicted((1, 0))
    assert dense.ms == pytest.approx(2.6) and dense.loss == 0 and dense.bytes == 300_000
    assert factored.ms == pytest.approx(0.2 + 1.2 * 1.4) and factored.loss == 0.1
    chain = model.surveys[0].open[0].candidate.outline()
    assert factored.bytes == 300_000 - 4 * (LAYER.params - chain.params) + NODE_BYTES


def test_losses_that_are_known_better_change_the_choice():
    cheap, exact = option("channel_svd", 8, 0.2, 0.5, loss=0.5), option("channel_svd", 32, 0.6, 0.1, loss=0.1)
    model = costs([cheap, exact])
    assert model.losses((1, 0)) == [0.5, 0.0] and model.losses((2, 0)) == [0.1, 0.0]
    assert model.pick("ms", {"loss": 0.4}) == (2, 0)
    assert model.pick("ms", {"loss": 0.4}, [0.5, 1.0]) == (1, 0)
    assert model.pick("ms", {"loss": 0.4}, [5.0, 1.0]) == (0, 0)


def test_limits_are_those_of_the_whole_network():
    fast, exact = option("channel_svd", 8, 0.2, 0.5, loss=0.5), option("channel_svd", 32, 0.6, 0.1, loss=0.1)
    model = costs([fast, exact])
    assert model.pick("ms", {"loss": 0.2}) == (2, 0)
    assert model.pick("ms", {"loss": 1.0}) == (1, 0)
    assert model.pick("loss", {"ms": 2.0}) == (2, 0)
    assert model.pick("loss", {"ms": 1.5}) == (1, 0)
    assert model.pick("loss", {"ms": 1.0}) is None
    assert model.choices.factored((2, 0)) == {"conv": Choice("channel_svd", (32,))}


def test_what_is_refused_is_not_chosen_and_says_why():
    slow = option("channel_svd", 48, 1.5, None, refused="not faster: 1.5000 ms, dense 1.0000 ms")
    model = costs([slow])
    assert model.pick("ms", {}) == (0, 0)
    reasons = model.reasons((0, 0))
    assert "channel_svd 48" in reasons["conv"] and "1.5000" in reasons["conv"] and "1.0000" in reasons["conv"]
