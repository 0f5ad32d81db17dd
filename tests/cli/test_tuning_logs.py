"""Commands that compile by records of a tuner."""
from __future__ import annotations

import json
import os
from dataclasses import replace

from record_samples import other_pixels, record
from tenfold.runner.devices.here import Here
from tenfold.runner.tuning_records.tune_log import TuneLog
from tenfold.targets import resolve


def test_compile_by_tuning_logs(tenfold, work):
    choices = json.loads((work / "net" / "manifest.json").read_text())["choices"]
    log = TuneLog(work / "logs", resolve("host"), Here())
    [(workload, point)] = other_pixels(choices).items()
    log.append(record(workload, processor=log.processor, cores=log.cores, choice=point))
    code, out, err = tenfold("compile", "net.onnx", "-o", "tuned", "--tune-log", "logs", "--json", "said.json")
    assert code == 0 and f"1 of {len(choices)} kernels are built by records of the tuner (1 measured)" in out and "warning" not in err
    assert json.loads((work / "said.json").read_text())["manifest"]["choices"][workload] == point
    assert "1 measured" in tenfold("inspect", "tuned")[1]
    code, out, _ = tenfold("compile", "net.onnx", "-o", "plain", "--no-tune-log")
    assert code == 0 and "tuner" not in out
    assert json.loads((work / "plain" / "manifest.json").read_text())["choices"] == choices
    log.append(record("dense 1x128 filters 5", processor=replace(log.processor, model="Another CPU"), cores=log.cores))
    os.rename(log.file.with_name("another-cpu-" + log.file.name.rpartition("-")[2]), log.file)  # of another CPU only
    code, out, _ = tenfold("compile", "net.onnx", "-o", "other", "--tune-log", "logs")
    assert code == 0 and "no kernel: 1 record of other processors" in out


def test_tuning_logs_that_can_not_be(tenfold, work):
    code, _, err = tenfold("compile", "net.onnx", "-o", "out", "--tune-log", "nowhere")
    assert code == 2 and err.count("\n") == 1 and "nowhere: tuning logs can't be read: there is no such folder" in err
    code, _, err = tenfold("compile", "net.onnx", "-o", "out", "--tune-log", ".", "--no-tune-log")
    assert code == 2 and "give one of them" in err
    assert not (work / "out").exists()
