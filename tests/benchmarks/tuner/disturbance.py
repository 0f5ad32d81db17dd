"""Whether building candidates on one core disturbs measuring on the others: the same kernels timed alone and beside a build, in turns.

    python tests/benchmarks/tuner/disturbance.py [--threads 1 2] [--rounds 12] [--json out.json]
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "tuning"))

from tenfold.runner.bench.environment import describe_machine
from tenfold.runner.devices.device import KERNELS
from tenfold.runner.devices.isolated import Isolated
from tenfold.targets import resolve
from tenfold.tuning.builders import Builders
from tenfold.tuning.candidates import Candidate, Candidates
from tenfold.tuning.trial import Program
from tuner_fakes import conv_task

TASKS = {"in the first caches": conv_task(32, 16, 14), "in the second cache": conv_task(128, 128, 14), "beyond": conv_task(64, 64, 112)}
BURSTS = 8  # of a round


@contextmanager
def building(builders: Builders, candidates: list[Candidate], folder: Path) -> Iterator[None]:
    """Build candidates again and again, on one core, until the block ends."""
    stop = threading.Event()

    def build() -> None:
        number = 0
        while not stop.is_set():
            builders.build(conv_task(64, 64, 28), candidates[:1], folder / str(number))
            number += 1

    thread = threading.Thread(target=build)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return for each kernel the milliseconds alone and beside a build, and how far single bursts lie apart (10 to 90 %)."""
    target = resolve("host").with_cores(threads)
    found = {}
    with Builders(target, 1) as builders, Isolated() as device, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        others = [Candidates(conv_task(64, 64, 28), target).first]
        for name, task in TASKS.items():
            [program] = builders.build(task, [Candidates(task, target).first], folder / name)
            assert isinstance(program, Program), program
            handle = device.load(program, KERNELS)
            times: dict[str, list[float]] = {"alone": [], "beside": []}
            for number in range(rounds):
                times["alone"] += [min(device.time(handle)) for _ in range(BURSTS)]
                with building(builders, others, folder / f"others{number}"):
                    times["beside"] += [min(device.time(handle)) for _ in range(BURSTS)]
            found[name] = {key: value for each, ms in times.items() for key, value in _figures(each, ms).items()}
    return found


def _figures(name: str, ms: list[float]) -> dict[str, float]:
    ordered = sorted(ms)
    return {f"{name}_ms": median(ms), f"{name}_spread": (ordered[-len(ms) // 10] - ordered[len(ms) // 10]) / median(ms)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    content: dict[str, Any] = {"machine": describe_machine(()), "threads": {}}
    for threads in asked.threads:
        rows = content["threads"][threads] = measure(threads, asked.rounds)
        for name, row in rows.items():
            print(f"{threads} threads, {name}: {row['alone_ms']:.4f} ms alone (spread {row['alone_spread']:.1%}), "
                  f"{row['beside_ms'] / row['alone_ms']:.3f} times that beside a build (spread {row['beside_spread']:.1%})", flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
