"""What choices cost: sums of layers on a line through networks that were measured."""
from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from tenfold.search.choices import NODE_BYTES, Choices
from tenfold.search.costs import Costs, Whole
from tenfold.search.survey import fastest


def option(ms, loss, params, stages, dense_ms):
    chain = SimpleNamespace(params=params, stages=[None] * stages)
    choice = SimpleNamespace(method="svd", ranks=(4,))
    candidate = SimpleNamespace(outline=lambda: chain, params=params, choice=choice)
    return SimpleNamespace(ms=ms, loss=loss, candidate=candidate, dense_ms=dense_ms, refused="too slow")


@dataclass
class Survey:
    name: str
    dense_ms: float
    params: int
    open: list = field(default_factory=list)
    options: list = field(default_factory=list)
    refused: dict = field(default_factory=dict)
    reason: str | None = None

    @property
    def layer(self):
        return SimpleNamespace(name=self.name, params=self.params, reason=self.reason)


def surveys():
    first = Survey("a", 4.0, 100, [option(2.0, 0.1, 50, 2, 4.0), option(1.0, 0.5, 20, 3, 4.0)])
    second = Survey("b", 2.0, 60, [option(1.0, 0.2, 30, 2, 2.0)])
    return [first, second, Survey("c", 1.0, 10)]


@pytest.fixture
def costs():
    # Alone: 7 ms dense, 3 ms at the fastest. The whole network: 16 and 8 ms, so that a layer's millisecond counts as two.
    return Costs(Choices(surveys()), Whole(16.0, 8.0, 10_000))


def test_layers_are_scaled_to_the_two_networks_that_were_measured(costs):
    assert costs.scale == 2.0 and costs.rest_ms == 2.0
    assert costs.predicted((0, 0, 0)).ms == 16.0
    assert costs.predicted(costs.choices.fastest).ms == 8.0 and costs.choices.fastest == (2, 1, 0)
    assert costs.predicted((1, 0, 0)).ms == pytest.approx(12.0)


def test_without_anything_saved_the_scale_is_one():
    assert Costs(Choices([Survey("c", 1.0, 10)]), Whole(5.0, 5.0, 100)).scale == 1.0
    assert Costs(Choices(surveys()), Whole(8.0, 9.0, 100)).scale == 0.0  # noise: the fastest is not faster
    little = Survey("a", 1.0, 10, [option(0.5, 0.1, 5, 2, 1.0)])
    assert Costs(Choices([little]), Whole(5.0, 4.0, 100)).scale == 2.0


def test_bytes_are_those_of_weights_and_of_further_stages(costs):
    dense, small = costs.predicted((0, 0, 0)), costs.predicted((2, 0, 0))
    assert dense.bytes == 10_000
    assert small.bytes - dense.bytes == 4 * (20 - 100) + 2 * NODE_BYTES


def test_losses_add_up(costs):
    assert costs.losses((1, 1, 0)) == [0.1, 0.2, 0.0]
    assert costs.predicted((1, 1, 0)).loss == pytest.approx(0.3)


def test_a_further_network_breaks_the_line(costs):
    costs.know((1, 0, 0), 11.0)  # predicted as 12
    assert costs.predicted((1, 0, 0)).ms == pytest.approx(11.0)
    assert costs.predicted((0, 0, 0)).ms == 16.0 and costs.predicted(costs.choices.fastest).ms == 8.0
    assert costs.predicted((1, 1, 0)).ms == pytest.approx(8.0 + (11.0 - 8.0) / 2)  # half way between 8 and 12 as predicted
    costs.know((1, 0, 0), 7.0)  # more work never takes less time
    assert costs.predicted((1, 0, 0)).ms == 8.0


def test_limits_go_through_the_broken_line(costs):
    assert costs.pick("loss", {"ms": 12.0}) == (1, 0, 0)
    costs.know((1, 0, 0), 13.0)
    assert costs.pick("loss", {"ms": 12.5}) != (1, 0, 0)
    assert costs.pick("loss", {"ms": 13.5}) == (1, 0, 0)
    assert costs.pick("ms", {"loss": -1.0}) is None


def test_factors_correct_predicted_losses(costs):
    assert costs.pick("ms", {"loss": 0.3}) == (1, 1, 0)
    assert costs.pick("ms", {"loss": 0.3}, factors=[10.0, 1.0, 1.0]) == (0, 1, 0)


def test_what_is_foretold_lies_between_what_was_measured_beside_it(costs):
    measured = {(0, 0, 0): 32.0, (2, 1, 0): 16.0}
    assert costs.foretold((1, 0, 0), measured) == pytest.approx(24.0)
    assert costs.foretold((2, 1, 0), measured) == 16.0
    assert costs.at(0.25) == 10.0


def test_reasons_of_layers_that_stay_dense(costs):
    reasons = costs.reasons((1, 0, 0))
    assert set(reasons) == {"b", "c"}
    assert reasons["b"] == "dense is the better choice: at most 1.0000 of 2.0000 ms could be saved"
    assert reasons["c"] == "no method applies"
    refused = Survey("d", 1.0, 1, [], [option(3.0, None, 1, 2, 1.0), option(2.0, None, 1, 2, 1.0)])
    other = Survey("e", 1.0, 1, refused={"svd": "rank 1", "cp": "rank 1", "tucker2": "no"})
    told = Survey("f", 1.0, 1, reason="minor")
    reasons = Costs(Choices([refused, other, told]), Whole(3.0, 3.0, 100)).reasons((0, 0, 0))
    assert reasons == {"d": "svd 4: too slow", "e": "rank 1; no", "f": "minor"}
    assert fastest(refused) is None


def test_choices_are_those_of_a_plan(costs):
    assert list(costs.choices.factored((0, 1, 0))) == ["b"]
    assert costs.choices.chosen((0, 1, 0))["a"] is None
