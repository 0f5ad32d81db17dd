"""What a report says of how it was made: what the machine did meanwhile."""
from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
from tenfold.runner.bench.disturbance import Usage, Watch, cpus
from tenfold.runner.devices.here import Here
from tenfold.search.made import disturbance, made_by


def watch(others: float) -> Watch:
    """For ten seconds, in which others took so many CPUs."""
    counts = iter([Usage(0.0, 0.0, 0.0, 0.0, 0), Usage(10.0, 10.0 + 10 * others, 0.0, 10.0, 0)])
    return Watch(lambda: next(counts))


HERE = SimpleNamespace(device=Here(), target=SimpleNamespace(cores=3))


def test_a_machine_that_others_use_is_told():
    with pytest.warns(RuntimeWarning, match=f"others took 1 of {len(cpus())} CPUs; search again while it is quiet"):
        found = disturbance(HERE, watch(1.0))
    assert found == f"the machine was disturbed while networks were timed: others took 1 of {len(cpus())} CPUs"
    assert made_by(HERE, found)["disturbance"] == {"warning": found}


@pytest.mark.parametrize(("timer", "others"), [
    (HERE, 0.0),
    (None, 1.0),
    (SimpleNamespace(), 1.0),  # of the caller's
    (SimpleNamespace(device=SimpleNamespace(name="board:9190")), 1.0),
    (SimpleNamespace(device=Here(), gpu="A GPU"), 1.0),
])
def test_of_a_quiet_machine_and_of_others_nothing_is_told(timer, others):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert disturbance(timer, watch(others)) is None


def test_the_machine_and_the_threads_of_the_times_are_kept():
    made = made_by(HERE)
    assert made["threads"] == 3 and made["machine"]["physical_cores"] > 0 and made["disturbance"] is None
    assert made_by(None)["machine"] is None and made_by(None)["threads"] is None
