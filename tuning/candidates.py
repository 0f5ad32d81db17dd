"""The candidates of a task: ways to cut its layers into kernels, and the points of these kernels.

    candidate    the cut of the task's run, and a point for each of its kernels, by workload      -> `compile(choices=...)`
    way          one cut: its kernels, a proposer for each                                         the model's own is first

In a way, proposals for one kernel keep the best points known for the others. Most tasks have one kernel by the model; some have two, which
one could replace.
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import inf

from ..schedules.backend import JOINS, Backend, Kernel, Run, backend_of, kernels_of
from ..schedules.shapes import ConvWorkload, DenseWorkload
from ..schedules.space import Point
from ..schedules.task import Task
from ..targets import Target
from .engines import Engine

MOST_WAYS = 6        # of a task that are tried
ENUMERATED = 3       # layers, up to which all cuts are looked at; of longer runs the model's, and those next to it
KEPT_UP = 1.3        # times the best latency of the task: a way whose own best is slower gets no more trials


@dataclass(frozen=True)
class Candidate:
    """One way to build all kernels of a task.

    Attributes
    ----------
    choices : mapping of str to Point
        Points by workload, the cut of the run among them.
    """

    choices: Mapping[str, Point]

    def __post_init__(self) -> None:
        """Bring points to the form that spaces have, where lists of JSON are tuples."""
        points = {workload: {knob: tuple(value) if isinstance(value, list) else value for knob, value in point.items()}
                  for workload, point in self.choices.items()}
        object.__setattr__(self, "choices", points)

    @cached_property
    def key(self) -> str:
        """Name it: equal for equal choices, also as JSON has them."""
        return json.dumps(self.choices, sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Candidate) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Way:
    """A cut of the task's layers, with the best points known for its kernels."""

    def __init__(self, cut: dict[str, Point], kernels: list[Kernel], target: Target, engine: Engine) -> None:
        self.cut, self.kernels = cut, kernels
        self.proposers = {kernel.workload: engine.proposals(kernel, target) for kernel in kernels}
        self.best: dict[str, Point] = {kernel.workload: kernel.point for kernel in kernels}
        self.ms = inf
        self._turn = 0

    def first(self) -> Candidate:
        """Return the candidate that the models choose for this cut."""
        return self._with({})

    def propose(self, count: int) -> list[Candidate]:
        """Return candidates that were not proposed yet; fewer, or none, where no point is left."""
        found: list[Candidate] = []
        spent = 0
        while len(found) < count and spent < len(self.kernels):
            kernel = self.kernels[self._turn % len(self.kernels)]
            self._turn += 1
            share = count - len(found) if len(self.kernels) == 1 else max(1, count // 2)
            points = self.proposers[kernel.workload].propose(min(share, count - len(found)))
            spent = 0 if points else spent + 1
            found += [self._with({kernel.workload: point}) for point in points]
        return found

    def owns(self, candidate: Candidate) -> bool:
        """Whether a candidate is of this cut."""
        own = {**self.cut, **self.best}
        return candidate.choices.keys() == own.keys() and all(candidate.choices[run] == cut for run, cut in self.cut.items())

    def learn(self, candidate: Candidate, ms: float | None) -> None:
        """Take in the latency of a candidate of this cut; None where it failed."""
        for workload, proposer in self.proposers.items():
            point = candidate.choices[workload]
            others = all(candidate.choices[other] == self.best[other] for other in self.proposers if other != workload)
            if others or len(self.proposers) == 1:
                proposer.learn(point, ms)
        if ms is not None and ms < self.ms:
            self.ms = ms
            self.best = {workload: candidate.choices[workload] for workload in self.proposers}

    def give_back(self, candidates: Iterable[Candidate]) -> None:
        """Take back candidates that were not measured."""
        for candidate in candidates:
            for workload, proposer in self.proposers.items():
                if candidate.choices[workload] != self.best[workload]:
                    proposer.give_back([candidate.choices[workload]])

    def expected_gain(self) -> float:
        """Return the milliseconds that the next trial may gain."""
        return max((proposer.expected_gain() for proposer in self.proposers.values()), default=0.0)

    @property
    def chosen(self) -> dict[str, Point]:
        """What the models choose for the kernels of this cut."""
        return {kernel.workload: kernel.point for kernel in self.kernels}

    def model_ms(self, workload: str, point: Point) -> float | None:
        """Return the estimate of a kernel from a point, in milliseconds; None where the model has none."""
        kernel = next((kernel for kernel in self.kernels if kernel.workload == workload), None)
        ms = None if kernel is None else kernel.terms_at(point).get("ms")
        return ms if ms is not None and ms > 0 else None

    def _with(self, points: Mapping[str, Point]) -> Candidate:
        return Candidate({**self.cut, **self.best, **points})


class Candidates:
    """What can be tried for a task.

    Parameters
    ----------
    task : Task
    target : Target
    engine : Engine, optional
        What proposes points. Default: Tenfold's own search, which has learned nothing yet.
    """

    def __init__(self, task: Task, target: Target, engine: Engine | None = None) -> None:
        backend, engine = backend_of(target), engine or Engine()
        self.ways = [Way(cut, kernels, target, engine) for cut, kernels in _ways(task, backend)]
        self._tried: set[str] = set()

    @property
    def first(self) -> Candidate:
        """What the models choose."""
        return self.ways[0].first()

    @property
    def best(self) -> Candidate:
        """The fastest known."""
        return min(self.ways, key=lambda way: way.ms).first()

    @property
    def best_ms(self) -> float:
        """Its milliseconds; infinite where nothing was measured."""
        return min(way.ms for way in self.ways)

    def propose(self, count: int) -> list[Candidate]:
        """Return up to `count` candidates that were not tried yet: first what the models choose for each cut, then points of the best."""
        found = [way.first() for way in self.ways if way.first().key not in self._tried][:count]
        self._tried.update(each.key for each in found)
        for way in sorted(self._promising(), key=lambda way: way.ms):
            while len(found) < count:
                new = [each for each in way.propose(count - len(found)) if each.key not in self._tried]
                if not new:
                    break
                self._tried.update(each.key for each in new)
                found += new
        return found

    def learn(self, candidate: Candidate, ms: float | None) -> None:
        """Take in the latency of a candidate, proposed or not; None where it failed. Of a way that there is not any more: nothing."""
        for way in self.ways:
            if way.owns(candidate):
                self._tried.add(candidate.key)
                way.learn(candidate, ms)

    def chosen(self, candidate: Candidate) -> dict[str, Point]:
        """Return what the models choose: the task's own cut, and for the kernels of the candidate's cut the points that they would have."""
        way = next((way for way in self.ways if way.owns(candidate)), self.ways[0])
        return {**self.ways[0].cut, **way.chosen}

    def model_ms(self, candidate: Candidate, workload: str) -> float | None:
        """Return the model's estimate of one of a candidate's kernels, in milliseconds; None where there is none."""
        way = next((way for way in self.ways if way.owns(candidate)), self.ways[0])
        return way.model_ms(workload, candidate.choices[workload])

    def give_back(self, candidates: Iterable[Candidate]) -> None:
        """Let candidates be proposed again that were not measured after all."""
        candidates = list(candidates)
        self._tried.difference_update(each.key for each in candidates)
        for way in self.ways:
            way.give_back(each for each in candidates if way.owns(each))

    def expected_gain(self) -> float:
        """Return the milliseconds that the next trial may gain."""
        if any(way.first().key not in self._tried for way in self.ways):
            return inf
        return max((way.expected_gain() for way in self._promising()), default=0.0)

    def _promising(self) -> list[Way]:
        return [way for way in self.ways if way.ms <= KEPT_UP * self.best_ms and way.ms < inf]


def forced_cut(task: Task, backend: Backend) -> dict[str, Point]:
    """Return the choice that makes a task's own network have the cut that the task says; nothing for tasks without one."""
    run = _run(task, backend)
    return {} if run is None else {run.workload: {f"layer{i}": kind for i, kind in enumerate(task.cut)}}


def _run(task: Task, backend: Backend) -> Run | None:
    workloads = [layer.workload for layer in task.layers]
    if not task.cut:
        return None
    return backend.run([each for each in workloads if isinstance(each, ConvWorkload)], task.source_nchw, task.result_nchw)


def _ways(task: Task, backend: Backend) -> Iterator[tuple[dict[str, Point], list[Kernel]]]:
    """The cuts of a task and the kernels of each, as the models have them: the model's, the best with one kernel, the next best."""
    run = _run(task, backend)
    if run is None:
        yield {}, [_kernel_alone(task, backend)]
        return
    own = forced_cut(task, backend)[run.workload]
    others = sorted((point for point in _cuts(run, own) if point != own), key=lambda point: run.terms_at(point).get("ms", inf))
    whole = [point for point in others if len(kernels_of(point)) == 1][:1]
    for cut in [own, *whole, *(point for point in others if point not in whole)][:MOST_WAYS]:
        yield {run.workload: cut}, _kernels(run, cut, task, backend)


def _cuts(run: Run, own: Point) -> Iterator[Point]:
    """Cuts that are worth a look."""
    space = run.space()
    if len(own) <= ENUMERATED:
        yield from space
        return
    yield from islice(space.neighbours(own), 32)
    single = {knob: "own" for knob in own}
    if single in space:
        yield single
    whole = {knob: JOINS if i else "chain" for i, knob in enumerate(own)}
    if whole in space:
        yield whole


def _kernels(run: Run, cut: Point, task: Task, backend: Backend) -> list[Kernel]:
    found, begin = {}, 0
    for part in run.parts(cut):
        workload = task.layers[begin].workload
        kernel = part.kernel
        if kernel is None and isinstance(workload, ConvWorkload) and not (workload.pools or workload.averages):
            kernel = backend.convolution(workload)
        if kernel is not None:
            found[kernel.workload] = kernel
        begin += part.count
    return list(found.values())


def _kernel_alone(task: Task, backend: Backend) -> Kernel:
    workloads = [layer.workload for layer in task.layers]
    dense = [each for each in workloads if isinstance(each, DenseWorkload)]
    kernel: Kernel | None
    if dense:
        kernel = backend.dense(dense[0]) if len(dense) == 1 else backend.dense_run(dense)
    else:
        [workload] = workloads
        assert isinstance(workload, ConvWorkload)
        kernel = backend.convolution(workload)
    assert kernel is not None, task.workload  # `find_tasks` leaves out what has none
    return kernel


