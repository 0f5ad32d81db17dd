"""What is measured: candidates that their neighbours do not show to be far from the front."""
from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from tenfold.factorization import METHODS, Choice, Layer
from tenfold.search.candidates import Candidate, fields
from tenfold.search.near_front import expected, far_from_front
from tenfold.search.survey import Option, _without_little, frontier, survey
from tenfold.support.progress import reporter

LAYER = Layer("conv", "conv2d", (64, 48, 3, 3), padding=(1, 1, 1, 1), input_size=(14, 14), output_size=(14, 14))


def candidate(rank, method="channel_svd", layer=LAYER):
    return Candidate(layer, Choice(method, (rank,)))


def option(rank, ms, error, method="channel_svd", **more):
    return Option(candidate(rank, method), ms, 1.0, error, **more)


def test_time_and_error_are_interpolated_in_macs():
    known = [option(8, 0.1, 0.4), option(32, 0.4, 0.1), option(16, 9.0, 9.0, "spatial_svd")]
    found = expected(candidate(16), known)  # MACs are in proportion to the rank
    assert found.ms == pytest.approx(0.2) and found.error == pytest.approx(0.2)
    assert expected(candidate(48), known) is expected(candidate(4), known) is None
    assert expected(candidate(16, layer=replace(LAYER, name="other")), known) is None


def test_an_error_that_is_not_known_may_be_none():
    """Above what was factored, because the dearer rank was not faster than the layer."""
    known = [option(8, 0.1, 0.4), option(48, 1.2, None, refused="not faster"), option(8, 0.1, 0.01, "spatial_svd")]
    assert expected(candidate(24), known).error == 0
    assert far_from_front(candidate(24), known) is None


@pytest.mark.parametrize(
    ("ms", "error", "far"),
    [(0.15, 0.2, True), (0.17, 0.2, False), (0.15, 0.21, False), (0.15, 0.1, True)],
)
def test_what_is_clearly_beaten_is_far(ms, error, far):
    known = [option(8, 0.1, 0.4), option(32, 0.4, 0.1), option(16, ms, error, "spatial_svd")]
    found = far_from_front(candidate(16), known)
    assert (found is not None) == far
    if found:
        assert found[0] == pytest.approx(0.2) and f"spatial_svd takes {ms:.4f} ms" in found[1] and "not measured" in found[1]


def test_what_is_clearly_slower_than_the_layer_is_far():
    known = [option(8, 0.9, 0.4), option(32, 3.6, None, refused="not faster")]
    assert "dense 1.0000 ms" in far_from_front(candidate(16), known)[1]
    assert far_from_front(candidate(10), known) is None


def test_what_failed_to_compile_says_nothing():
    assert expected(candidate(16), [option(8, 0.1, 0.4), option(32, inf, None, refused="does not compile")]) is None


class Table:
    """A millisecond for each million MACs, with a little noise that is always the same."""

    def __init__(self):
        self.asked = 0

    def ms(self, timed_layers, progress):
        self.asked += len(timed_layers)
        macs = [timed.layer.macs if timed.chain is None else timed.chain.macs(14, 14) for timed in timed_layers]
        return [each / 1e6 * (1 + 0.03 * ((each // 1000) % 7 - 3) / 3) for each in macs]

    def failure(self, timed):
        return None


class Errors:
    """A method's error falls with its MACs; two are better at few of them, two at many."""

    SUITS = {"channel_svd": 1.0, "spatial_svd": 6.0, "tucker2": 5.0, "cp": 0.9}

    def error(self, candidate):
        return 0.9 * (1 - candidate.macs / candidate.layer.macs) ** self.SUITS[candidate.choice.method] * (
            0.4 if self.SUITS[candidate.choice.method] < 2 else 1.0)

    def verdict(self, candidate):
        from tenfold.search.calibration.evaluation import Verdict

        return Verdict(None, 1.0, self.error(candidate) ** 2, 0.0, 0.1, 0.0)


def test_fewer_are_measured_and_the_front_is_the_same(monkeypatch):
    wide = replace(LAYER, weight_shape=(192, 192, 3, 3))
    methods = [METHODS[name] for name in Errors.SUITS]
    fronts, asked = [], []
    for skip in (True, False):
        if not skip:
            monkeypatch.setattr("tenfold.search.survey.far_from_front", lambda candidate, known: None)
        table = Table()
        (found,) = survey(fields([wide], 8, methods=methods), table, Errors(), {}, reporter(None))
        fronts.append([(option.candidate, option.ms) for option in frontier(found.open)])
        asked.append(table.asked)
    assert fronts[0] == fronts[1] and asked[0] <= 0.9 * asked[1]


@pytest.mark.parametrize(
    ("ms", "shape", "left"), [(0.001, (8, 3, 3, 3), True), (0.05, (8, 3, 3, 3), False), (0.001, (64, 48, 3, 3), False)]
)
def test_a_layer_of_little_time_and_few_weights_stays_as_it_is(ms, shape, left):
    """Many weights that take no time count where the file is to be small."""
    small = replace(LAYER, name="small", weight_shape=shape)
    first, second = _without_little(fields([LAYER, small], 8), [1.0, ms])
    assert first.ladders and (not second.ladders) == left
    assert not left or "it takes 0.10% of the time of all layers" in second.refused["all"]
