"""Modules that are compiled and timed on this machine."""
from __future__ import annotations

import pytest
from tenfold.factorization import METHODS, Layer
from tenfold.frontends import load
from tenfold.passes.layer_module import layer_module
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices.here import Here
from tenfold.support.errors import TenfoldError
from tenfold.targets import detection, resolve

CONV = Layer("conv", "conv2d", (32, 16, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))


@pytest.fixture(scope="module")
def host():
    return TimedModules(resolve("host"), Here())


def test_kernels_of_a_layer_and_of_a_chain(host):
    for chain in (None, METHODS["tucker2"].outline(CONV, (8, 8))):
        assert 0 < host.kernels(layer_module(CONV, chain, ("relax.add", "relax.nn.relu")))() < 1000


def test_a_network(host, tiny_file):
    mod = load(tiny_file).mod
    assert 0 < host.network(mod)() < 1000


def test_a_target_that_can_not_run_here(monkeypatch):
    monkeypatch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: frozenset(detection.cpu_flags() - {"avx2"}))
    with pytest.raises(TenfoldError, match="another CPU.*avx2.*can't be timed here"):
        TimedModules(resolve("zen3"), Here())


def test_times_under_emulation_say_nothing():
    class Fake(Here):
        name, is_real = "emulated:max", False

    with pytest.raises(TenfoldError, match="emulated:max: times under emulation"):
        TimedModules(resolve("host"), Fake())


def test_what_nobody_times_any_more_is_dropped(tiny_file):
    device = Here()
    module = TimedModules(resolve("host"), device).network(load(tiny_file).mod)
    assert len(device._loaded) == 1
    del module
    assert not device._loaded
