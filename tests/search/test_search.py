"""A whole search on a small network, timed by a device that computes its times: budgets are kept, plans replay, interrupts lose nothing."""
from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import tenfold
from search_fakes import QUICK, ModelDevice, classifier, images, labels
from tenfold.passes.inventory import inventory
from tenfold.runner.data import Data
from tenfold.search.budget import Budget
from tenfold.search.calibration.evaluation import Judge, split
from tenfold.search.find import STANDARD_ERRORS, STANDARD_ERRORS_OF_ALL, Finder
from tenfold.search.search import Search
from tenfold.search.settings import Settings
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve

IMAGES = 400


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A model file, data, and a cache that the searches of this file share."""
    folder = tmp_path_factory.mktemp("search")
    model, x = classifier(), images(IMAGES)
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "d.npz", x=x, y=labels(model, x))
    return folder


def within(work, output, budget, *, data=None, device=None, progress=None, **settings):
    """A search that is timed by a device that computes its times."""
    options = Settings(**{"cache": work / "cache", "methods": QUICK, **settings})
    where = {"device": device or ModelDevice(), "target": "zen3", "progress": progress}
    return tenfold.compress(work / "net.onnx", output, budget, data=work / "d.npz" if data is None else data, settings=options, **where)


@pytest.fixture(scope="module")
def small(work):
    done = within(work, work / "small", Budget(max_drop=5))
    return done, work / "small"


@pytest.mark.slow
def test_the_budget_holds_on_the_held_out_images(small, work):
    done, folder = small
    network = tenfold.frontends.load(work / "net.onnx")
    held_out = split(Data.of(work / "d.npz"))[1]
    judge = Judge(network, held_out)
    small_network = tenfold.frontends.load(folder / "model.onnx")
    scores = np.concatenate([small_network.reference({"x": image[None]})[0] for image in held_out.x])
    verdict = judge.verdict(scores)
    assert done.plan.layers
    assert verdict.drop + verdict.uncertainty <= 5 + 1e-6
    assert done.search.verdict.drop == pytest.approx(verdict.drop) and done.after.accuracy == pytest.approx(verdict.accuracy)


def test_it_is_faster_and_says_by_how_much(small):
    done, folder = small
    assert done.plan.layers and done.after.ms < done.before.ms and done.after.macs < done.before.macs
    assert done.search.predicted_ms == pytest.approx(done.after.ms, rel=0.05)
    assert done.after.bytes == (folder / "model.onnx").stat().st_size < done.before.bytes
    report = json.loads((folder / "report.json").read_text())
    assert report["after"]["macs"] == tenfold.inspect(folder / "model.onnx").macs
    assert report["after"]["params"] == tenfold.inspect(folder / "model.onnx").params
    candidates = [candidate for layer in report["layers"] for candidate in layer["candidates"]]
    assert candidates and all(c["ms"] < c["dense_ms"] or c["refused"] for c in candidates)
    evaluated = [candidate["evaluated"] for candidate in candidates if candidate["evaluated"]]
    assert 0 < len(evaluated) < len(candidates)
    assert all(0 <= e["accuracy"] <= 1 and 0 <= e["agreement"] <= 1 and e["kl"] >= 0 for e in evaluated)


@pytest.mark.slow
def test_the_plan_replays_to_the_same_bytes(small, work, tmp_path):
    _, folder = small
    tenfold.compress(work / "net.onnx", tmp_path / "again", folder / "plan.json", data=work / "d.npz")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_a_replay_without_the_data_or_with_other_data_is_refused(small, work, tmp_path):
    _, folder = small
    with pytest.raises(TenfoldError, match="--data"):
        tenfold.compress(work / "net.onnx", tmp_path / "again", folder / "plan.json")
    with pytest.raises(TenfoldError, match="other data"):
        tenfold.compress(work / "net.onnx", tmp_path / "again", folder / "plan.json", data=images(IMAGES, seed=9))


@pytest.mark.slow
def test_a_second_search_measures_nothing_again(small, work):
    device = ModelDevice()
    done = within(work, work / "warm", Budget(max_drop=5), device=device)
    assert len(device.asked) == 1  # the yardstick
    assert done.plan == small[0].plan
    assert (work / "warm" / "model.onnx").read_bytes() == (work / "small" / "model.onnx").read_bytes()


@pytest.mark.slow
def test_an_interrupted_search_goes_on(work, small, tmp_path):
    def cut(step, done=None, total=None):
        if step.startswith("evaluating candidates") and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within(work, tmp_path / "out", Budget(max_drop=5), cache=tmp_path / "cold", progress=cut)
    assert not (tmp_path / "out").exists()
    (kept,) = (tmp_path / "cold" / "searches").glob("*-layers.jsonl")
    before = kept.read_text().splitlines()
    device = ModelDevice()
    done = within(work, tmp_path / "out", Budget(max_drop=5), cache=tmp_path / "cold", device=device)
    assert kept.read_text().splitlines()[: len(before)] == before and len(device.asked) == 1
    assert done.plan == small[0].plan


@pytest.mark.slow
def test_a_verdict_is_kept(work, small, monkeypatch):
    def judge(self, chains):
        raise AssertionError("a plan was verified again")

    monkeypatch.setattr("tenfold.search.calibration.evaluation.Judge.judge", judge)
    done = within(work, work / "kept", Budget(max_drop=5))
    assert done.search.verdict == small[0].search.verdict


@pytest.mark.slow
def test_time_is_bounded_and_accuracy_the_best(work):
    done = within(work, work / "fast", Budget(speedup=2))
    assert done.before.ms / done.after.ms >= 2
    slower = within(work, work / "slower", Budget(speedup=1.3))
    assert slower.search.verdict.kl < done.search.verdict.kl and slower.after.ms > done.after.ms


class Slowing(ModelDevice):
    """From the third network on everything but the yardstick takes a tenth longer."""

    def network(self, mod):
        self.networks = getattr(self, "networks", 0) + 1
        burst, factor = super().network(mod), 1.1 if self.networks > 2 else 1.0
        return lambda: factor * burst()


@pytest.mark.slow
def test_what_is_told_is_what_is_bounded(work, small):
    latency = 1.05 * small[0].after.ms
    done = within(work, work / "told", Budget(latency=latency), device=Slowing())
    assert done.after.ms <= latency and done.search.predicted_ms == pytest.approx(done.after.ms, rel=0.05)


class Apart(ModelDevice):
    """From the third network on those of many layers take longer, as when the cores have moved apart."""

    def network(self, mod):
        self.networks = getattr(self, "networks", 0) + 1
        burst, layers = super().network(mod), len(inventory(mod))
        return lambda: burst() + (0.05 if self.networks > 2 and layers > 3 else 0)


@pytest.mark.slow
def test_predictions_are_for_the_machine_as_it_is(work, small):
    done = within(work, work / "apart", Budget(max_drop=5), device=Apart())
    assert done.after.ms == pytest.approx(small[0].after.ms + 0.05)
    assert done.search.predicted_ms == pytest.approx(done.after.ms, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("others_hold", [True, False])
def test_where_no_plan_holds_any_more_the_next_are_more_careful(work, monkeypatch, others_hold):
    """As when a plan that was verified last moves the trend. Where none holds in the end, that is an error."""
    further, holds, fallen, asked, kept = Finder.further, Finder.holds, {}, [], []

    def moved(finder, choice):
        if fallen and choice not in fallen:
            asked.append(finder.costs.predicted(choice).loss)
        return holds(finder, choice) and not (fallen and (choice in fallen or not others_hold))

    def after(finder, found):
        fallen.update(found.tried)
        asked.append(finder.costs.predicted(found.best).loss)
        kept.extend(further(finder, found))
        return kept

    monkeypatch.setattr(Finder, "holds", moved)
    monkeypatch.setattr(Finder, "further", after)

    def find():
        return within(work, work / "careful", Budget(max_drop=5))

    if others_hold:
        assert find().search.verdict.drop <= 5
        assert kept and not set(kept) & set(fallen)
    else:
        with pytest.raises(TenfoldError, match="can't be met"):
            find()
        assert len(set(asked)) > 2 and min(asked) < asked[0]


def test_size_is_bounded(work):
    limit = 0.75 * (work / "net.onnx").stat().st_size
    done = within(work, work / "tight", Budget(size=limit / 1e6))
    assert (work / "tight" / "model.onnx").stat().st_size == done.after.bytes <= limit


@pytest.mark.slow
@pytest.mark.parametrize("method", ["flattened", "flattened_vhl"])
def test_a_structure_that_is_a_start_for_training(work, tmp_path, method):
    """Asked for by name: its kernel has more taps than the layer's; what it loses without training is told."""
    done = within(work, tmp_path / "out", Budget(speedup=1.3), methods=(method,))
    assert {layer.method for layer in done.layers} == {method, None} and all(layer.error for layer in done.layers if layer.method)
    assert done.search.verdict.kl > 0 and done.after.macs < done.before.macs
    tenfold.compress(work / "net.onnx", tmp_path / "again", tmp_path / "out" / "plan.json", data=work / "d.npz")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "out" / "model.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [{"max_drop": 5}, {"speedup": 2}, {"latency": 0.3}, {"max_drop": 5, "speedup": 2, "latency": 0.3}])
def test_bounds_together(work, small, bounds):
    """With a size that a network is known to have: predictions that are off by a little do not make it unreachable."""
    size = small[0].after.bytes
    budget = Budget(**bounds, size=size / 1e6)
    done = within(work, work / "both", budget)
    assert done.after.bytes <= size
    assert done.before.ms / done.after.ms >= bounds.get("speedup", 1) and done.after.ms <= bounds.get("latency", 1)
    most = bounds.get("max_drop", 100)
    if done.search.expected is None:
        assert done.search.verdict.drop + STANDARD_ERRORS_OF_ALL * done.search.verdict.uncertainty <= most
    else:
        assert max(done.search.verdict.drop, done.search.expected.drop + STANDARD_ERRORS * done.search.expected.uncertainty) <= most


@pytest.mark.slow
def test_bytes_are_predicted_and_suggested_ranks_looked_at(work, monkeypatch):
    asked = []
    monkeypatch.setattr("tenfold.factorization.methods.tucker2.suggested_ranks", lambda weight: asked.append(weight.shape) or (5, 9))
    wanted = Settings(cache=work / "cache", methods=QUICK)
    searching = Search(tenfold.frontends.load(work / "net.onnx"), Data.of(work / "d.npz"), resolve("zen3"), ModelDevice(), wanted)
    assert asked == [(32, 4, 3, 3), (32, 32, 3, 3)]
    assert (8, 16) in [option.candidate.choice.ranks for option in searching.surveys[1].options]
    for limit in (0.001, 1.0):
        chosen = searching.costs.pick("ms", {"loss": limit})
        assert any(chosen) and searching.costs.predicted(chosen).bytes == pytest.approx(searching.bytes(chosen), abs=400)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"max_drop": 1e-9}, r"can't be met: the most careful plan loses .* points"),
        ({"speedup": 100}, r"can't be met: the fastest network takes .* ms, .* times faster"),
        ({"latency": 1e-4}, r"can't be met: the fastest network takes"),
        ({"size": 1e-4}, r"can't be met: the smallest network has"),
        ({"size": 1e-4, "max_drop": 50}, r"can't be met: the smallest network has"),
        ({"speedup": 3, "max_drop": 1e-3}, r"can't be met: the most accurate network within the other bounds loses"),
        ({"latency": 1e3}, "already"),
    ],
)
def test_a_budget_that_can_not_be_met_says_what_can(work, tmp_path, bounds, words):
    with pytest.raises(TenfoldError, match=words) as caught:
        within(work, tmp_path / "out", Budget(**bounds))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_without_labels_agreement_is_bounded(work, tmp_path):
    x = Data.of(work / "d.npz").x
    done = within(work, tmp_path / "out", Budget(max_drop=8), data=x)
    assert not done.search.labels and done.before.accuracy == 1
    assert done.after.accuracy == pytest.approx(1 - done.search.verdict.drop / 100)


@pytest.mark.slow
def test_the_curve_goes_from_dense_to_fast(work, tmp_path):
    out = tmp_path / "curve"
    within(work, out, Budget(max_drop=5), pareto=True)
    points = json.loads((out / "pareto.json").read_text())["points"]
    assert not points[0]["layers"] and points[0]["drop"] == 0 and len(points) > 2
    times = [point["ms"] for point in points]
    assert times == sorted(times, reverse=True)
    assert (out / "pareto.png").read_bytes()[:4] == b"\x89PNG" and b"<svg" in (out / "pareto.svg").read_bytes()


class Noisy(ModelDevice):
    """Times of a machine that others disturb: each is off by a factor of its own."""

    def __init__(self, seed: int, spread: float):
        super().__init__()
        self.rng, self.spread = np.random.default_rng(seed), spread

    def kernels(self, mod):
        return self._disturbed(super().kernels(mod)())

    def network(self, mod):
        return self._disturbed(super().network(mod)())

    def _disturbed(self, ms):
        return lambda: ms * float(np.exp(self.spread * self.rng.standard_normal()))


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.3, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_disturbed_machine_ends_in_a_network_or_a_reason(work, tmp_path, monkeypatch, seed, spread):
    monkeypatch.setattr("tenfold.search.timing.stopwatch.WAIT_SECONDS", 0.0)
    monkeypatch.setattr("tenfold.search.timing.stopwatch.WAIT_PER_MODULE", 0.0)
    try:
        within(work, tmp_path / "o", Budget(max_drop=20), device=Noisy(seed, spread), cache=tmp_path / "cache", methods=("channel_svd",))
    except TenfoldError as error:
        assert "can't be met" in str(error)


def test_a_first_choice_that_is_the_fastest_is_not_measured_as_another(work, monkeypatch):
    """Two measurements of one network differ by noise, and their ratio to a small difference can be anything."""
    from tenfold.search.timing.network_timing import Timing

    class Known:
        whole = None
        known: list = []

        def know(self, indices, ms):
            self.known.append((indices, ms))

        def at(self, share):
            return share

    timing = object.__new__(Timing)
    timing.costs, timing.dense, timing._say, timing._first = Known(), (0, 0), print, None
    timing._choices = SimpleNamespace(fastest=(1, 1))
    monkeypatch.setattr(timing, "_outlined", lambda indices: indices, raising=False)
    monkeypatch.setattr(timing, "race", lambda modules: [1.0, 0.999, 0.2], raising=False)
    timing.know((1, 1))
    assert timing.costs.known == []
    timing.know((1, 0))
    assert timing.costs.known == [((1, 0), 0.0)]  # as fast as the fastest, and no faster
