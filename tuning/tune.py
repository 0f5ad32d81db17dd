"""Tuning a network: its tasks, on all devices that there are, with what was found before; then what that is worth in the whole."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from ..runner.bench.disturbance import Watch as Disturbance
from ..runner.build import describe_target, make_variant, read_plan, require_compiler, with_threads
from ..runner.devices.device import Device
from ..runner.tuning_records.tune_log import TuneLog
from ..support.errors import TenfoldError
from ..support.files.inputs import protect
from ..support.files.temporary import TemporaryFolder
from ..support.progress import Progress, reporter
from .builders import Builders
from .engines import TENFOLD, check_engine
from .journal import Journal
from .lanes import Lanes
from .places import Places, places_of
from .start import engine_of, states_of, tasks_of
from .state import TaskState
from .tuner import Limits, Tuner
from .whole_network import NetworkGain, WholeNetwork

if TYPE_CHECKING:
    import tvm

    from ..factorization.plan import Plan
    from ..targets import Target


@dataclass(frozen=True)
class TuningSettings:
    """How long and how to search.

    Attributes
    ----------
    trials : int, optional
        Candidates to measure, all kernels together. Default: as many as are expected to pay.
    minutes : float, optional
        Likewise.
    per_kernel : int
        Candidates to measure of one kernel.
    seed : int
        Of what is drawn.
    search : str
        What proposes candidates: ``tenfold``, or ``metaschedule`` for TVM's evolutionary search over the same spaces.
    """

    trials: int | None = None
    minutes: float | None = None
    per_kernel: int = 64
    seed: int = 0
    search: str = TENFOLD

    def check(self) -> None:
        """Raise TenfoldError for what can't be."""
        if self.trials is not None and self.trials < 1:
            raise TenfoldError(f"trials must be 1 or more, not {self.trials}")
        if self.minutes is not None and not self.minutes > 0:
            raise TenfoldError(f"minutes must be more than 0, not {self.minutes:g}")
        if self.per_kernel < 1:
            raise TenfoldError(f"trials of one kernel must be 1 or more, not {self.per_kernel}")
        check_engine(self.search)

    @property
    def limits(self) -> Limits:
        """For the loop."""
        return Limits(self.trials, None if self.minutes is None else 60 * self.minutes, self.per_kernel)


@dataclass
class Tuning:
    """What came of it.

    Attributes
    ----------
    target : Target
    device : str
        What measured.
    states : list of TaskState
        The tasks, those that take most of the network's time first.
    seconds : float
    trials, earlier : int
        Made now, and taken up from an earlier session.
    log : str
        The file of the records.
    gain : NetworkGain, optional
        Of the whole network; None where it was not timed.
    interrupted : bool
    notes : list of str
        What a user should know.
    """

    target: Target
    device: str
    states: list[TaskState]
    seconds: float
    trials: int
    earlier: int
    log: str
    gain: NetworkGain | None = None
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "target": describe_target(self.target), "cores": self.target.cores, "device": self.device, "seconds": round(self.seconds, 2),
            "trials": self.trials, "earlier_trials": self.earlier, "log": self.log, "interrupted": self.interrupted,
            "network": None if self.gain is None else {"before_ms": self.gain.before_ms, "after_ms": self.gain.after_ms},
            "kernels": [self._row(state) for state in self.states], "notes": self.notes,
        }

    def _row(self, state: TaskState) -> dict[str, Any]:
        dropped = self.gain is not None and state in self.gain.dropped
        return {
            "operator": state.task.operator, "workload": state.task.workload, "epilogue": state.task.epilogue, "count": state.count,
            "trials": state.trials, "failed": state.failed, "model_ms": _finite(state.base_ms), "best_ms": _finite(state.ms),
            "limit_ms": state.limit_ms, "kept": state.ms < state.base_ms and not dropped, "withdrawn": dropped, "ended": state.ended,
            "choices": {workload: dict(point) for workload, point in state.best.choices.items()},
            "curve": [[trials, _finite(ms)] for trials, ms in state.curve],
        }


Watch = Callable[[Tuner], None]


def tune(
    model: Any,
    target: str | Target | dict[str, Any] | None = "host",
    *,
    log: str | os.PathLike[str] | None = None,
    plan: Plan | str | os.PathLike[str] | None = None,
    threads: int | None = None,
    device: Device | str | None = None,
    settings: TuningSettings | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    **reading: Any,
) -> Tuning:
    """Search for faster kernels of a network, by measuring, and keep what is faster as records that `compile` uses.

    It begins with what the models choose, so it never ends with less. The same call again goes on where the last one was stopped.

    Parameters
    ----------
    model : path, onnx.ModelProto, torch.export.ExportedProgram or torch.nn.Module
    target : str, Target or dict
        As of `compile`.
    log : path, optional
        The folder of the records, and of the trials beside them. Default: the user's cache.
    plan : Plan or path, optional
        Factor the layers that it names first.
    threads : int, optional
        Default: the physical cores of the target.
    device : Device or str, optional
        What measures: ``here``, ``cuda:N``, ``HOST:PORT``, ``tracker:HOST:PORT/KEY`` (all devices of that key at once), or
        ``emulated:PRESET`` (cycles are modelled). Default: this machine.
    settings : TuningSettings, optional
    progress : callable, optional
        As of `compile`.
    watch : callable, optional
        Called with the `Tuner` a few times a second while it works.
    **reading
        As of `compile`.

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments; no device that can measure; another tuner at work on the same log.
    """
    from ..frontends import Reading
    from ..passes.simplify.network import load as load_network

    settings = settings or TuningSettings()
    settings.check()
    Reading.of("tune", reading)
    say = reporter(progress)
    require_compiler()
    with contextlib.ExitStack() as stack:
        places = stack.enter_context(places_of(device, target, say))
        chosen = with_threads(places.target, threads)
        places.check(chosen)
        say("reading the network")
        network = load_network(model, **reading)
        stack.enter_context(protect(model, plan))
        variant = make_variant(network, read_plan(plan))
        return tune_module(variant.mod, chosen, places, log, settings, say, watch)


def tune_module(mod: tvm.IRModule, target: Target, places: Places, log: str | os.PathLike[str] | None, settings: TuningSettings,
                say: Progress, watch: Watch | None = None) -> Tuning:
    """`tune` for a network that is read, with its plan applied, on devices that are open."""
    records = TuneLog(log, target, places.first)
    journal = Journal(records, places.modelled)
    with records.alone("tune", say), _working() as folder:
        say("finding the kernels of the network")
        states = states_of(tasks_of(mod, target), target, engine_of(settings.search, target, records, settings.seed))
        if not states:
            raise TenfoldError("the network has no kernels that can be tuned: it has neither convolutions nor fully connected layers")
        earlier = journal.restore(states)
        for state in states.values():
            if state.base_ms < inf:
                state.look_for_end(sum(each.count * each.ms for each in states.values() if each.ms < inf), settings.per_kernel)
        tuner = Tuner(list(states.values()), settings.limits, folder / "candidates", journal.keep, journal.record)
        disturbance = Disturbance()
        with Builders(target, places.builders(target)) as builders:
            lanes = Lanes(tuner, builders, places.slots(target), places.joining())
            say("measuring kernels")
            interrupted = lanes.run(lambda: None if watch is None else watch(tuner))
        load = disturbance.load()  # the processes that built and measured have ended: what they took is our own
        gained = [state for state in tuner.states if state.ms < state.base_ms]
        for state in gained:
            journal.record(state)
        gain = None
        if not places.modelled and not interrupted:
            say("timing the whole network")
            gain = WholeNetwork(mod, target, places.one(), folder).gain(gained)
            for state in gain.dropped:
                journal.withdraw(state)
        notes = places.notes()
        if places.here and not load.quiet:
            notes.insert(0, f"the machine was disturbed: {load}: tune again when it is quiet, into another --log")
        states_now = sorted(tuner.states, key=lambda state: -state.count * (state.base_ms if state.base_ms < inf else 0.0))
        return Tuning(target, places.describe(), states_now, tuner.seconds, tuner.made, earlier, str(records.file), gain,
                      interrupted, notes)


@contextlib.contextmanager
def _working() -> Iterator[Any]:
    folder = TemporaryFolder()
    try:
        yield folder.path
    finally:
        folder.remove()


def _finite(ms: float) -> float | None:
    return ms if ms < inf else None
