"""The loop of tuning: which task gets the next trials, and what is learned from them. It knows no devices: `lanes` work for it.

Trials go where they are expected to gain most of the network's milliseconds: how often a task occurs, times what its next trial may gain,
times its distance from what the machine could do.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

from .candidates import Candidate
from .state import TaskState
from .trial import Outcome

Keep = Callable[[TaskState, Candidate, "float | None"], None]
BATCH = 8          # candidates that are built and measured together
TRIES = 2          # of a candidate on which a device seems to fail


@dataclass(frozen=True)
class Limits:
    """How long to go on.

    Attributes
    ----------
    trials : int or None
        Of all tasks together, without those of earlier sessions.
    seconds : float or None
    per_task : int
        Trials of one task.
    """

    trials: int | None = None
    seconds: float | None = None
    per_task: int = 64


@dataclass(frozen=True)
class Job:
    """Candidates of a task, to be measured beside the fastest one known."""

    state: TaskState
    incumbent: Candidate
    candidates: list[Candidate]
    folder: Path
    first: bool = False  # of its task: the incumbent is a trial, too


class Tuner:
    """Hands out batches and takes their outcomes. May be used by several threads at once.

    Parameters
    ----------
    states : sequence of TaskState
    limits : Limits
    folder : Path
        For what is built.
    keep : callable
        Told of each trial: a state, a candidate, and its latency over that of the model's choice, or None where it failed.
    better : callable
        Told of each state whose best candidate is another one.
    """

    def __init__(self, states: Sequence[TaskState], limits: Limits, folder: Path, keep: Keep,
                 better: Callable[[TaskState], None]) -> None:
        self.states, self.limits = list(states), limits
        self._folder, self._keep, self._better = folder, keep, better
        self._begin = time.monotonic()
        self._earlier = self.trials
        self._jobs = 0
        self._under_way = 0
        self._asked = 0  # candidates of the batches under way
        self.changed = threading.Condition(threading.RLock())
        self.stopping = False

    @property
    def trials(self) -> int:
        """All that were made, those of earlier sessions included."""
        return sum(state.trials for state in self.states)

    @property
    def made(self) -> int:
        """Those that were made now."""
        return self.trials - self._earlier

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begin

    @property
    def network_ms(self) -> float:
        """Of all tasks that were measured, as often as they occur."""
        return sum(state.count * state.ms for state in self.states if state.ms < inf)

    @property
    def finished(self) -> bool:
        """Whether nothing is under way, and nothing will be."""
        with self.changed:
            ended = self.stopping or self._used_up() or all(state.ended for state in self.states)
            return ended and not self._under_way

    def stop(self) -> None:
        """Hand out nothing more."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()

    def next(self) -> Job | None:
        """Return the next batch, as soon as there is one; None where nothing is left to do."""
        with self.changed:
            while True:
                if self.stopping or self._used_up():
                    return None
                job = self._job()
                if job is not None:
                    return job
                if not self._under_way and all(state.ended for state in self.states):
                    return None
                self.changed.wait(0.1 if not self._under_way else None)

    def done(self, job: Job, outcome: Outcome, lasting: bool) -> None:
        """Take the outcome of a batch.

        Parameters
        ----------
        lasting : bool
            A device that crashes under a candidate is gone, as one elsewhere is: it may have been the device's fault, so the candidate gets
            another chance.
        """
        with self.changed:
            state = job.state
            if state.base_ms == inf:  # the incumbent of the first batch is the model's choice
                state.base_ms = outcome.ms
                self._note(state, job.incumbent, outcome.ms)
            scale = self._ms_of(state, job.incumbent)
            for candidate, ratio in outcome.ratios.items():
                # Only a winner of a duel is faster: of many that are as fast as the incumbent some seem to be by chance.
                ratio = ratio if candidate == outcome.winner else max(ratio, 1.0)
                self._note(state, candidate, scale * ratio)
            for candidate in outcome.unbuilt:
                self._note(state, candidate, None)
            for candidate in outcome.failed:
                state.failures[candidate.key] = state.failures.get(candidate.key, 0) + 1
                if lasting and state.failures[candidate.key] < TRIES:
                    state.candidates.give_back([candidate])
                else:
                    self._note(state, candidate, None)
            if outcome.winner is not None and state.best == outcome.winner:
                self._better(state)
            self._finish(job)

    def give_back(self, job: Job) -> None:
        """Take back a batch that was not measured."""
        with self.changed:
            job.state.candidates.give_back(job.candidates)
            self._finish(job)

    def give_up(self, job: Job, why: str) -> None:
        """End a task whose fastest candidate can't even be built."""
        with self.changed:
            job.state.ended = why
            self._finish(job)

    def _finish(self, job: Job) -> None:
        job.state.busy -= 1
        self._under_way -= 1
        self._asked -= len(job.candidates) + job.first
        if job.state.base_ms < inf and not job.state.ended:
            job.state.look_for_end(self.network_ms, self.limits.per_task)
        self.changed.notify_all()

    def _note(self, state: TaskState, candidate: Candidate, ms: float | None) -> None:
        state.measured(candidate, ms)
        self._keep(state, candidate, None if ms is None else ms / state.base_ms)

    @staticmethod
    def _ms_of(state: TaskState, candidate: Candidate) -> float:
        """Of a candidate that was the best once: another batch may have found a better one meanwhile."""
        return next((ms for known, ms in reversed(state.known) if known == candidate), state.ms)

    def _used_up(self) -> bool:
        trials, seconds = self.limits.trials, self.limits.seconds
        return (trials is not None and self.made >= trials) or (seconds is not None and self.seconds >= seconds)

    def _job(self) -> Job | None:
        """A batch for the task that is most worth it, if there is one that can be begun.

        The last batches are small, so that several devices end at about the same time.
        """
        most = BATCH
        if self.limits.trials is not None:
            room = self.limits.trials - self.made - self._asked
            if room <= 0:
                return None
            most = min(BATCH, room, ceil(room / (self._under_way + 1)))
        free = [state for state in self.states if not state.ended and not (state.busy and state.base_ms == inf)]
        for state in sorted(free, key=lambda state: -self._worth(state)):
            left = min(most, self.limits.per_task - state.trials)
            incumbent = state.best
            first = state.base_ms == inf
            count = left - first
            candidates = [each for each in state.candidates.propose(count) if each != incumbent] if count > 0 else []
            if candidates or first:
                self._jobs += 1
                self._under_way += 1
                self._asked += len(candidates) + first
                state.busy += 1
                return Job(state, incumbent, candidates, self._folder / str(self._jobs), first)
            if not state.busy:
                state.ended = "nothing is left to try"
        return None

    def _worth(self, state: TaskState) -> float:
        """What the next trial of a task may gain; less where others of it are under way."""
        return state.expected() / (1 + state.busy) if state.ms < inf else inf


