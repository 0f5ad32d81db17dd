"""Races and duels on devices that are made up, and batches with entrants that fail."""
from __future__ import annotations

from dataclasses import replace

import pytest
from tenfold.tuning.candidates import Candidate
from tenfold.tuning.measuring import HALVINGS, Entrants, Failed, duel, race
from tenfold.tuning.trial import DeviceGone, measure
from tuner_fakes import FakeBuilders, FakeDevice, chance, rugged

ROUNDS = sum(rounds for rounds, _ in HALVINGS)


def programs(tmp_path, *keys):
    builders = FakeBuilders()
    return [builders._program(key, tmp_path / f"{number}") for number, key in enumerate(keys)]


def test_who_is_far_behind_is_timed_once(tmp_path):
    ms = {"first": 1.0, "slow": 2.0, "behind": 1.15, "near": 1.002, "fast": 0.8}
    standings = race(Entrants(FakeDevice(ms.get, noise=0.001), programs(tmp_path, *ms)))[1]
    assert [standing.rounds for standing in standings] == [ROUNDS, 1, 3, ROUNDS, ROUNDS]
    assert [round(standing.ratio, 2) for standing in standings] == [1, 2, 1.15, 1, 0.8]


def test_a_machine_that_changes_its_speed_changes_no_ratio(tmp_path):
    times = 0

    def ms(key):
        nonlocal times
        times += 1
        return (3.0 if times > 12 else 1.0) * {"first": 1.0, "other": 0.9}[key]

    _, standings = race(Entrants(FakeDevice(ms, noise=0), programs(tmp_path, "first", "other")))
    assert standings[1].ratio == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_duel_is_won_beyond_noise_only(tmp_path, seed):
    entrants = Entrants(FakeDevice({"one": 1.0, "equal": 1.0, "hair": 0.997, "faster": 0.95}.get, noise=0.01, seed=seed),
                        programs(tmp_path, "one", "equal", "hair", "faster"))
    assert duel(entrants, 0, 1) >= 1 and duel(entrants, 0, 2) >= 1
    assert duel(entrants, 0, 3) == pytest.approx(0.95, abs=0.02)


def test_who_fails_is_named(tmp_path):
    made = programs(tmp_path, "first", "second")
    with pytest.raises(Failed) as caught:
        Entrants(FakeDevice(rugged, dies_after=0), made)
    assert caught.value.number == 0


def test_a_batch_goes_on_without_those_that_crash(tmp_path):
    keys = ["first"] + [f"candidate {number}" for number in range(12)]
    made = programs(tmp_path, *keys)
    pairs = [(Candidate({key: {"k": 1}}), program) for key, program in zip(keys[1:], made[1:], strict=True)]
    device = FakeDevice(lambda key: 1.5 if key == "first" else rugged(key), crashing=0.3)
    outcome = measure(device, made[0], pairs)
    crashed = {candidate for (candidate, _), key in zip(pairs, keys[1:], strict=True) if chance(f"crash {key}") < 0.3}
    assert set(outcome.failed) == crashed and crashed and set(outcome.ratios) == {candidate for candidate, _ in pairs} - crashed
    assert outcome.winner not in crashed and not device.keys  # nothing stays loaded


def test_faster_but_wrong_does_not_win(tmp_path):
    made = programs(tmp_path, "first", "other")
    wrong = FakeDevice({"first": 1.0, "other": 0.5}.get)
    wrong.run = lambda handle, inputs: {"y": __import__("numpy").full(3, 1.0 if wrong.keys[handle] == "first" else 1.01)}
    other = Candidate({"other": {"k": 1}})
    outcome = measure(wrong, made[0], [(other, made[1])])
    assert outcome.winner is None and "differ from the model's choice" in outcome.failed[other]


def test_an_incumbent_that_does_not_run_is_a_device_that_is_gone(tmp_path):
    made = programs(tmp_path, "first")
    with pytest.raises(DeviceGone):
        measure(FakeDevice(rugged, dies_after=0), replace(made[0]), [])
