"""The latency table: every shape once, kept, resumed, and known by what it depends on."""
from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from search_fakes import CONV, PER_MAC, ModelDevice
from tenfold.factorization import METHODS, Layer
from tenfold.passes.inventory import inventory
from tenfold.search.timing import latency_table
from tenfold.search.timing.latency_table import LatencyTable, TimedLayer
from tenfold.support import interrupts
from tenfold.targets import resolve

CONV_LAYER = Layer("conv", "conv2d", (32, 16, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))
DENSE = Layer("fc", "dense", (10, 64))


@pytest.fixture
def target():
    return resolve("zen3")


def timed_layers(layer=CONV_LAYER):
    outlines = (METHODS["channel_svd"].outline(layer, (rank,)) for rank in (4, 8, 12))
    return [TimedLayer(layer), *(TimedLayer(layer, outline, ("relax.nn.relu",)) for outline in outlines)]


def test_a_layer_is_measured_as_it_is(target, tmp_path):
    device = ModelDevice()
    ms = LatencyTable(target, device, tmp_path).ms([*timed_layers(), TimedLayer(DENSE)])
    chain = METHODS["channel_svd"].outline(CONV_LAYER, (8,))
    assert ms[0] == pytest.approx(CONV + PER_MAC * CONV_LAYER.macs, rel=1e-3)
    assert ms[2] == pytest.approx(2 * CONV + PER_MAC * chain.macs(8, 8), rel=1e-3)
    assert ms[4] == pytest.approx(CONV + PER_MAC * 640, rel=1e-3)


def test_every_shape_is_measured_once(target, tmp_path):
    device = ModelDevice()
    table = LatencyTable(target, device, tmp_path)
    first = table.ms(timed_layers())
    asked = len(device.asked)
    assert asked == 5  # the yardstick, and four
    assert table.ms([*timed_layers(replace(CONV_LAYER, name="another")), *timed_layers()]) == [*first, *first]
    assert len(device.asked) == asked
    again = ModelDevice()
    assert LatencyTable(target, again, tmp_path).ms(timed_layers()) == first
    assert not again.asked


def test_kernels_by_other_records_of_a_tuner_are_measured_anew(target, tmp_path):
    def asked(records):
        device = ModelDevice()
        if records is not None:
            device.tuned = type("Tuned", (), {"digest": records})
        LatencyTable(target, device, tmp_path).ms(timed_layers())
        return len(device.asked)

    assert [asked(records) for records in (None, "", "abc", "abc", "def", None)] == [5, 0, 5, 0, 5, 0]


def test_what_is_finished_survives_an_interrupt(target, tmp_path, monkeypatch):
    monkeypatch.setattr(latency_table, "BATCH_SIZE", 1)
    with pytest.raises(KeyboardInterrupt):
        LatencyTable(target, ModelDevice(interrupt_at=4), tmp_path).ms(timed_layers())
    device = ModelDevice()
    LatencyTable(target, device, tmp_path).ms(timed_layers())
    assert len(device.asked) == 3  # the yardstick, and the two that were left


class Failing(ModelDevice):
    """Can't compile chains whose first stage has 8 filters."""

    def kernels(self, mod):
        if any(layer.weight_shape[0] == 8 for layer in inventory(mod)):
            raise RuntimeError("InternalError: Check failed: (a) is false:\n  a page of C++")
        return super().kernels(mod)


def test_what_does_not_compile_takes_forever_and_says_why(target, tmp_path):
    """The others are measured; another session of the table tries again."""
    table = LatencyTable(target, Failing(), tmp_path)
    ms = table.ms(timed_layers())
    assert ms[2] == inf and all(value < 1 for value in (*ms[:2], ms[3]))
    failures = [table.failure(timed) for timed in timed_layers()]
    assert failures[2] == "RuntimeError: InternalError: Check failed: (a) is false: a page of C++"
    assert failures[:2] == [None, None] and failures[3] is None
    assert table.ms(timed_layers()) == ms
    again = LatencyTable(target, ModelDevice(), tmp_path)
    assert again.ms(timed_layers())[2] < 1 and len(again.device.asked) == 2  # the yardstick, and the one that was left


@pytest.mark.parametrize("caught", [[], [2]])
def test_an_interrupt_that_went_through_the_compiler_is_no_failure(target, tmp_path, monkeypatch, caught):
    class Interrupted(ModelDevice):
        def kernels(self, mod):
            if self.asked:
                raise RuntimeError("a page of C++" if caught else "KeyboardInterrupt: and a page of C++")
            return super().kernels(mod)

    monkeypatch.setattr(interrupts, "caught", caught)
    with pytest.raises(KeyboardInterrupt):
        LatencyTable(target, Interrupted(), tmp_path).ms(timed_layers())


def test_another_machine_threads_or_schedules_are_measured_again(target, tmp_path, monkeypatch):
    LatencyTable(target, ModelDevice(), tmp_path).ms(timed_layers())
    for other in (replace(target, cores=target.cores + 1), replace(target, description="another CPU")):
        device = ModelDevice()
        LatencyTable(other, device, tmp_path).ms(timed_layers())
        assert len(device.asked) == 5
    monkeypatch.setattr(latency_table, "code_version", lambda *folders, package: "other")
    device = ModelDevice()
    LatencyTable(target, device, tmp_path).ms(timed_layers())
    assert len(device.asked) == 5


def test_steps_strides_and_permutations_are_part_of_the_key():
    method = METHODS["channel_svd"]
    chain = method.outline(CONV_LAYER, (4,))
    strided = replace(CONV_LAYER, stride=(2, 2), output_size=(4, 4))
    keys = [
        TimedLayer(CONV_LAYER),
        TimedLayer(CONV_LAYER, None, ("relax.nn.relu",)),
        TimedLayer(strided),
        TimedLayer(CONV_LAYER, chain),
        TimedLayer(strided, method.outline(strided, (4,))),
        TimedLayer(CONV_LAYER, replace(chain, permutation=range(32))),
        TimedLayer(replace(CONV_LAYER, batch=2)),
    ]
    assert len({str(timed.key()) for timed in keys}) == len(keys)
    assert TimedLayer(replace(CONV_LAYER, name="x")).key() == TimedLayer(CONV_LAYER).key()


def test_times_of_a_disturbed_machine_are_taken_again_when_it_is_quiet(target, tmp_path):
    table = LatencyTable(target, ModelDevice(), tmp_path)
    table.ms(timed_layers())
    record = dict(next(iter(table._store)))
    table._store.put({**record, "ms": 99.0, "yardstick_ms": 10 * record["yardstick_ms"]})
    device = ModelDevice()
    assert 99.0 not in LatencyTable(target, device, tmp_path).ms(timed_layers())
    assert len(device.asked) == 2
