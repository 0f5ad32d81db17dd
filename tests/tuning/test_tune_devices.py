"""`tenfold tune` on devices: all of a tracker's key, one of which dies while another one joins; and a CPU whose cycles are modelled."""
from __future__ import annotations

import contextlib
import json
import os
import signal

import onnx
import pytest
import tenfold
from conftest import tiny_network
from modelled_checks import LACKS
from tenfold.runner.tuning_records.tune_log import TuneLog
from tenfold.targets import resolve
from tenfold.tuning.tune import TuningSettings
from tracker_checks import device, running_tracker, spec_of, wait_until


@pytest.mark.slow
def test_devices_of_a_tracker_die_and_join(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.tuning.lanes.LOOK", 0.2)
    onnx.save(tiny_network(36), tmp_path / "net.onnx")
    with running_tracker() as tracker, contextlib.ExitStack() as stack:
        first = stack.enter_context(device(tracker, "c++"))
        wait_until(lambda: tracker.free() == 1)
        second = []

        def watch(tuner):
            if tuner.made and not second:
                # Both processes, as of a board without power, and before the other device starts: that may take longer than all trials.
                os.kill(first.session(), signal.SIGKILL)
                first.process.send_signal(signal.SIGKILL)
                second.append(stack.enter_context(device(tracker, "c++")))

        found = tenfold.tune(tmp_path / "net.onnx", device=spec_of(tracker), log=tmp_path / "log", threads=1,
                             settings=TuningSettings(trials=14), watch=watch)
        content = found.to_json()
        assert content["trials"] == 14 and second and second[0].address in content["device"]
        assert any("a device was lost" in note or "a device was given up" in note for note in content["notes"])
        assert sum(kernel["trials"] for kernel in content["kernels"]) == 14
        assert content["network"]["after_ms"] <= 1.01 * content["network"]["before_ms"]


@pytest.mark.slow
def test_a_modelled_cpu_is_tuned_by_its_cycles(tmp_path):
    if LACKS["cortex-a72"]:
        pytest.skip(LACKS["cortex-a72"])
    onnx.save(tiny_network(8), tmp_path / "net.onnx")
    found = tenfold.tune(tmp_path / "net.onnx", device="emulated:cortex-a72", log=tmp_path / "log", settings=TuningSettings(trials=6))
    content = json.loads(json.dumps(found.to_json()))
    assert content["target"]["name"] == "cortex-a72" and content["cores"] == 1 and content["trials"] == 6
    assert "times are modelled cycles: no processor took them" in content["notes"] and content["network"] is None
    assert all(kernel["model_ms"] is None or kernel["best_ms"] <= kernel["model_ms"] for kernel in content["kernels"])
    target = resolve("cortex-a72").with_cores(1)
    assert all(record.how == "modelled" for record in TuneLog(tmp_path / "log", target).best().values())
