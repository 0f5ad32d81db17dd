"""How the throughput of a tuner grows with its devices. Devices and builds are simulated: each takes a fixed time, and computes nothing.

    python tests/benchmarks/tuner/throughput.py [--devices 1 2 4] [--milliseconds 20] [--trials 640] [--json out.json]
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tuning"))

from tenfold.targets import resolve
from tenfold.tuning.candidates import Candidates
from tenfold.tuning.lanes import Lanes, Slot
from tenfold.tuning.state import TaskState
from tenfold.tuning.tuner import Limits, Tuner
from tuner_fakes import FakeBuilders, FakeDevice, conv_task, rugged

FILTERS = (32, 48, 64, 80, 96, 112, 128, 144)


def throughput(devices: int, seconds: float, trials: int) -> float:
    """Return trials a second on so many devices, of which each burst of a candidate takes `seconds`."""
    target = resolve("zen3")
    states = [TaskState(task, 1, Candidates(task, target), 0.0) for task in map(conv_task, FILTERS)]
    for state in states:
        state.candidates.propose(0)  # what is priced once, before the clock begins
    with tempfile.TemporaryDirectory() as folder:
        tuner = Tuner(states, Limits(trials=trials), Path(folder), lambda *_: None, lambda _: None)
        slots = [Slot(lambda seed=seed: FakeDevice(rugged, seconds, seed=seed), overlaps=True, lasting=True) for seed in range(devices)]
        begin = time.monotonic()
        Lanes(tuner, FakeBuilders(), slots).run(lambda: None)
        return tuner.made / (time.monotonic() - begin)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--milliseconds", type=float, default=20.0, help="of one burst of a candidate")
    parser.add_argument("--trials", type=int, default=640)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rates = {count: throughput(count, asked.milliseconds / 1e3, asked.trials) for count in asked.devices}
    first = rates[asked.devices[0]]
    for count, rate in rates.items():
        print(f"{count} simulated devices: {rate:6.2f} trials a second, {rate / first:.2f} times")
    if asked.json is not None:
        content = {"simulated": True, "milliseconds": asked.milliseconds, "trials": asked.trials, "trials_per_second": rates}
        asked.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
