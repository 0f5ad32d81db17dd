"""How many trials the tuner's proposals need, against random search and coordinate descent, on machines that are made up.

    python tests/benchmarks/tuner/study.py [--targets zen3 zen4 sm_80] [--machines 3] [--distance 1] [--trials 128]
        [--kernels 8] [--json out.json]

Each kernel's best is the least latency that any strategy, a large sample and a descent from its best points find; all of them are
latencies by `simulated.Machine`, so the figures say how the strategies compare, and nothing of a real machine.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[2] / "tuning"))

import numpy as np
from committed import convolutions, named, runs
from simulated import Machine, Task
from strategies import Strategy, coordinate_descent, proposer, random_search
from tenfold.schedules.backend import Kernel, backend_of
from tenfold.targets import Target
from tenfold.tuning.cost_model import CostModel, Group
from tenfold.tuning.features import FeatureMaker
from tenfold.tuning.pool import drawn

NEAR = 0.98           # of the best speed, that is to be reached
AT = (8, 16, 32, 64, 128, 256)  # trials after which the speed is noted
SAMPLED = 800         # points of each algorithm among which the best is looked for
LESSONS = 48          # measurements of each other kernel that a teacher has


def study(target: Target, machines: int, trials: int, count: int, distance: float = 1.0) -> Iterator[dict[str, object]]:
    """Yield one result of each kernel, machine and strategy."""
    for seed in range(machines):
        machine = Machine(target, seed, distance)
        tasks = [Task(kernel, machine, seed) for kernel in kernels_of(target, count)]
        lessons = [lesson(task, seed) for task in tasks]
        for number, task in enumerate(tasks):
            teacher = CostModel()
            teacher.fit(lessons[:number] + lessons[number + 1 :])
            found = {name: run(make(task, seed, teacher), task, trials) for name, make in STRATEGIES.items()}
            best = best_of(task, seed)
            for name, measured in found.items():
                speeds = best / np.minimum.accumulate(measured)
                needed = int(np.argmax(speeds >= NEAR)) + 1 if speeds[-1] >= NEAR else None
                yield {"target": target.name, "machine": seed, "distance": distance, "kernel": task.kernel.workload, "strategy": name,
                       "trials": needed, "speed": {at: round(float(speeds[min(at, len(speeds)) - 1]), 4) for at in AT if at <= trials}}


def kernels_of(target: Target, count: int) -> list[Kernel]:
    """Convolutions and chains from all over the committed shapes, those with estimates."""
    backend = backend_of(target)
    single = [backend.convolution(each) for each in convolutions()]
    chains = [part.kernel for links in runs()[::7] for part in backend.convolution_run(links, False, False) if part.kernel is not None]
    known = [kernel for kernel in single if "ms" in kernel.terms()]
    chains = [kernel for kernel in chains if kernel.name == "chain"]
    few = max(1, count // 4)
    return [*known[:: max(1, len(known) // (count - few))][: count - few], *chains[:: max(1, len(chains) // few)][:few]]


def lesson(task: Task, seed: int) -> Group:
    """Measurements of points drawn from a kernel's space, to learn from for others."""
    make, rng = FeatureMaker(task.kernel, task.machine.target), np.random.default_rng(seed)
    space = task.kernel.space()
    points = [point for knobs in space.alternatives for point in drawn(knobs, LESSONS // len(space.alternatives), rng)]
    return Group(np.stack([make(point) for point in points]), np.array([task.measure(point) for point in points]))


class Untaught(CostModel):
    """A model that never learns."""

    def fit(self, groups: Sequence[Group]) -> None:
        """Leave the analytical order as it is."""


STRATEGIES: dict[str, Callable[[Task, int, CostModel], Strategy]] = {
    "random": lambda task, seed, teacher: random_search(task.kernel, task.machine.target, seed),
    "descent": lambda task, seed, teacher: coordinate_descent(task.kernel, task.machine.target, seed),
    "proposer, analytical": lambda task, seed, teacher: proposer(task.kernel, task.machine.target, seed, model=Untaught()),
    "proposer": lambda task, seed, teacher: proposer(task.kernel, task.machine.target, seed),
    "proposer, taught": lambda task, seed, teacher: proposer(task.kernel, task.machine.target, seed, teacher),
}


def run(strategy: Strategy, task: Task, trials: int) -> list[float]:
    """Return the exact latencies of the points that a strategy asks for, in order; it is told measured ones."""
    found: list[float] = []
    point = next(strategy)
    while True:
        found.append(task.exact(point))
        if len(found) == trials:
            return found
        try:
            point = strategy.send(task.measure(point))
        except StopIteration:
            return found


def best_of(task: Task, seed: int) -> float:
    """The least latency, as far as it is found: a sample, and a descent from its best points."""
    space, rng = task.kernel.space(), np.random.default_rng(seed + 1000)
    points = [point for knobs in space.alternatives for point in drawn(knobs, SAMPLED, rng)]
    for here in sorted(points, key=task.exact)[:4]:
        while True:
            near = min(space.neighbours(here), key=task.exact, default=here)
            if task.exact(near) >= task.exact(here):
                break
            here = near
    return task.best


def table(results: list[dict]) -> str:
    """Return medians over all kernels and machines of a target, by strategy."""
    groups = defaultdict(list)
    for result in results:
        groups[result["target"], result["strategy"]].append(result)
    lines = [f"{'target':<14}{'strategy':<22}{'kernels':>8}{'reach 98 %':>12}{'trials, median':>16}" +
             "".join(f"{f'at {at}':>9}" for at in results[0]["speed"])]
    for (target, strategy), group in groups.items():
        needed = [each["trials"] for each in group]
        reached = [each for each in needed if each is not None]
        middle = float(np.median([each if each is not None else np.inf for each in needed]))
        speeds = [float(np.mean([each["speed"][at] for each in group])) for at in group[0]["speed"]]
        lines.append(f"{target:<14}{strategy:<22}{len(group):>8}{len(reached) / len(group):>12.0%}"
                     f"{'more' if middle == np.inf else f'{middle:.0f}':>16}" + "".join(f"{speed:>9.3f}" for speed in speeds))
    return "\n".join(lines)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=["zen3", "zen4", "sm_80"])
    parser.add_argument("--machines", type=int, default=3, help="made-up machines of each target")
    parser.add_argument("--distance", type=float, default=1.0, help="of the machines from the models")
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--kernels", type=int, default=8)
    parser.add_argument("--json", type=Path, help="file of all results")
    asked = parser.parse_args()
    results: list[dict] = []
    for name in asked.targets:
        results += study(named(name), asked.machines, asked.trials, asked.kernels, asked.distance)
        print(table([each for each in results if each["target"] == named(name).name]), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"simulated": True, "near": NEAR, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
