"""What a tuner has found, kept as it is found: every trial, so that the same command goes on behind a stop; and records of what is better.

    LOG/<processor>/<model>-<cores>.jsonl            records: `compile` uses them
    LOG/<processor>/trials/<model>-<cores>.jsonl     trials: {"task": ..., "choices": {...}, "ratio": 0.93 or null, "base_ms": 0.41, ...}
"""
from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ..runner.tuning_records.record import MEASURED, MODELLED, Record, now
from ..runner.tuning_records.tune_log import TuneLog
from ..schedules.space import SPACE_VERSION, Point
from ..schedules.task import Task
from ..support.code_version import code_version
from ..support.files.json_lines import append_line, read_lines
from .candidates import Candidate
from .state import TaskState

TRIALS = "trials"  # the folder of files of trials, beside those of records


class Journal:
    """The trials and the records of one processor.

    Parameters
    ----------
    log : TuneLog
    modelled : bool
        Times are modelled: no processor takes them.
    """

    def __init__(self, log: TuneLog, modelled: bool = False) -> None:
        self.log = log
        self._how = MODELLED if modelled else MEASURED
        self._code = code_version("schedules", "passes", "codegen", package="apache-tvm")
        self._path = log.file.parent / TRIALS / log.file.name
        self._context = {"space": SPACE_VERSION, "code": self._code, "dtype": log.dtype, "how": self._how}

    def restore(self, states: Mapping[str, TaskState]) -> int:
        """Let tasks take up the trials that were made of them before, by this code; returns how many.

        Parameters
        ----------
        states : mapping of str to TaskState
            By `name_of` their tasks.
        """
        count = 0
        for line in read_lines(self._path).whole if self._path.exists() else ():
            trial = self._trial(line)
            state = states.get(trial["task"]) if trial is not None else None
            if trial is None or state is None:
                continue
            if state.base_ms == math.inf:
                state.base_ms = trial["base_ms"]
            ratio = trial["ratio"]
            state.measured(Candidate(trial["choices"]), None if ratio is None else ratio * state.base_ms)
            count += 1
        return count

    def keep(self, state: TaskState, candidate: Candidate, ratio: float | None) -> None:
        """Write down a trial.

        Parameters
        ----------
        ratio : float or None
            Latency over that of the model's choice; None where it failed.
        """
        trial = {"task": name_of(state.task), "choices": candidate.choices, "ratio": None if ratio is None else round(ratio, 5),
                 "base_ms": _rounded(state.base_ms), **self._context}
        append_line(self._path, json.dumps(trial, ensure_ascii=False))

    def record(self, state: TaskState) -> None:
        """Write records of a task's fastest candidate: one for each point that is not the model's choice."""
        self._write(state, state.best, state.ms)

    def withdraw(self, state: TaskState) -> None:
        """Write that a task's fastest candidate is no better than the model's choice, which makes its records void."""
        self._write(state, state.best, state.base_ms)

    def _write(self, state: TaskState, candidate: Candidate, ms: float) -> None:
        for workload, choice in changed(state, candidate).items():
            model_ms = state.candidates.model_ms(candidate, workload)
            self.log.append(Record(
                operator=state.task.operator, workload=workload, epilogue=state.task.epilogue, dtype=self.log.dtype,
                processor=self.log.processor, cores=self.log.cores, space=SPACE_VERSION, choice=choice, ms=_rounded(ms),
                base_ms=_rounded(state.base_ms), model_ms=model_ms, trials=state.trials, how=self._how,
                code=self._code, date=now()))

    def _trial(self, line: bytes) -> dict[str, Any] | None:
        """What a line says; None for what is none, or of other code."""
        try:
            trial = json.loads(line)
            if any(trial[name] != value for name, value in self._context.items()):
                return None
            ratio, base_ms = trial["ratio"], trial["base_ms"]
            sound = isinstance(trial["task"], str) and base_ms > 0 and (ratio is None or 0 < ratio < math.inf) \
                and all(isinstance(point, dict) for point in trial["choices"].values())
            return trial if sound else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def name_of(task: Task) -> str:
    """Name a task, all that its time depends on included."""
    return " | ".join(filter(None, (task.workload, task.epilogue, " ".join(task.cut))))


def changed(state: TaskState, candidate: Candidate) -> dict[str, Point]:
    """Return what a candidate is built from, where it is not what the models choose."""
    own = state.candidates.chosen(candidate)
    return {workload: point for workload, point in candidate.choices.items() if own.get(workload) != point}


def _rounded(ms: float) -> float:
    return float(f"{ms:.5g}")
