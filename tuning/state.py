"""Where the tuning of each task stands."""
from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from ..runner.devices.device import Program
from ..schedules.task import Task
from .candidates import Candidate, Candidates

NEAR_LIMIT = 0.95     # of what the machine could do: a task that is there is left
REFUTED = 1.05        # times it: the machine is faster than its description, and what it could do is not known
LEAST_GAIN = 0.0005   # of its latency: a task whose next trial is expected to gain less is left
LEAST_SHARE = 0.0001  # of the whole network's latency, likewise
UNSEEN_GAIN = 0.05    # of its latency: what the first trials of a task are expected to gain


@dataclass
class TaskState:
    """The tuning of one task.

    Attributes
    ----------
    task : Task
    count : int
        How often the network has it.
    candidates : Candidates
    limit_ms : float
        The least milliseconds that the machine could take for it (`roofline`).
    base_ms : float
        Of the model's choice; infinite before it was measured.
    ms : float
        Of the fastest candidate, on the machine as fast as it was when the model's choice was measured.
    trials : int
        Candidates that were measured, or that failed.
    failed : int
    ended : str
        Why there are no more trials; empty as long as there may be.
    curve : list of (int, float)
        Trials, and the best milliseconds after them.
    busy : int
        Batches under way.
    failures : dict of str to int
        How often a candidate has failed, by its key.
    known : list of (Candidate, float)
        Those that were the fastest, one after the other, with their milliseconds.
    built : dict of str to Program
        The fastest candidates that are still at hand as they were built, by key.
    """

    task: Task
    count: int
    candidates: Candidates
    limit_ms: float
    base_ms: float = inf
    ms: float = inf
    trials: int = 0
    failed: int = 0
    ended: str = ""
    curve: list[tuple[int, float]] = field(default_factory=list)
    busy: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    known: list[tuple[Candidate, float]] = field(default_factory=list)
    built: dict[str, Program] = field(default_factory=dict)

    @property
    def best(self) -> Candidate:
        """The fastest candidate known."""
        return self.candidates.best if self.ms < inf else self.candidates.first

    @property
    def share_of_limit(self) -> float:
        """Part of what the machine could do at best; 0 where that is not known, or where a measurement has refuted it."""
        share = self.limit_ms / self.ms if self.ms < inf else 0.0
        return share if share <= REFUTED else 0.0

    @property
    def gained_ms(self) -> float:
        """Milliseconds of the network that were gained."""
        return self.count * (self.base_ms - self.ms) if self.ms < inf else 0.0

    def expected(self) -> float:
        """Return the milliseconds of the network that the next trial may gain, less where the limit is near."""
        if self.ms == inf:
            return inf
        gain = self.candidates.expected_gain()
        room = max(0.0, 1 - self.share_of_limit)
        return self.count * min(gain, UNSEEN_GAIN * self.ms) * room

    def measured(self, candidate: Candidate, ms: float | None) -> None:
        """Note the outcome of a trial."""
        self.trials += 1
        self.failed += ms is None
        self.candidates.learn(candidate, ms)
        if ms is not None and ms < self.ms:
            self.ms = ms
            self.known.append((candidate, ms))
        self.curve.append((self.trials, self.ms))

    def look_for_end(self, network_ms: float, most: int) -> None:
        """Set `ended` where further trials are not worth it.

        Parameters
        ----------
        network_ms : float
            Of all tasks together.
        most : int
            Trials of a task.
        """
        if self.share_of_limit >= NEAR_LIMIT:
            self.ended = f"at {100 * self.share_of_limit:.0f} % of what the machine can do"
        elif self.trials >= most:
            self.ended = f"{most} trials were made"
        else:
            gain = self.candidates.expected_gain()
            if gain == 0:
                self.ended = "nothing is left to try"
            elif gain < LEAST_GAIN * self.ms or self.count * gain < LEAST_SHARE * network_ms:
                self.ended = "no more gain is expected"
