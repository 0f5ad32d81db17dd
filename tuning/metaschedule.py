"""MetaSchedule's search over the spaces of kernels: the second engine, `--search metaschedule`, with the interface of `propose.Proposer`.

    space          a function that does nothing, with one annotation for each knob, whose value is a `sample_categorical`
    search         MetaSchedule's `EvolutionarySearch`: populations of such traces, mutated, the best by its cost model next
    cost model     MetaSchedule's `XGBModel`, on the features of a point (`features.py`) instead of those of its loops
    measurement    the tuner's own: what was measured goes into MetaSchedule's database, and its cost model

The kernels' schedules can't be applied by MetaSchedule itself: a knob also decides how weights are packed, and which algorithm is used.
"""
from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..schedules.space import Knobs, Point
from ..support.errors import TenfoldError
from ..targets import Target
from .cost_model import xgboost
from .expectation import history_gain
from .features import FeatureMaker, Tunable
from .pool import Key, key_of

if TYPE_CHECKING:
    import tvm

BATCH = 8            # points that MetaSchedule is asked for at a time
WARM_UP = 8          # measurements that its model begins to learn with; its default of 100 is more than a kernel gets
MOST_TRIALS = 1 << 20
EMPTY = 6            # rounds without a new point, after which it has given up
FAILURES = 50        # populations without an allowed point, after which it has given up
ALTERNATIVE = "tenfold.alternative"  # annotations
KNOB = "tenfold.knob."


def require_xgboost() -> None:
    """Raise TenfoldError where the package is not installed that MetaSchedule's cost model needs."""
    if xgboost() is None:
        raise TenfoldError("--search metaschedule needs XGBoost: pip install 'tenfold[tune]'")


class EvolutionProposer:
    """Proposes points of one space by MetaSchedule's evolutionary search, each once.

    Parameters
    ----------
    kernel : Tunable
    target : Target
    seed : int
        The same seed and measurements give the same proposals.

    Raises
    ------
    TenfoldError
        XGBoost is not installed.
    """

    def __init__(self, kernel: Tunable, target: Target, seed: int = 0) -> None:
        require_xgboost()
        self._kernel, self._target, self._seed = kernel, target, seed
        self._space = kernel.space()
        self._ahead: list[Point] = []             # generated, and not handed out
        self._gone = {key_of(self._space.chosen)}  # is measured first, by whoever asks for proposals
        self._ms: dict[Key, float] = {}           # infinite where it failed
        self._history: list[float | None] = []
        self._search: _Search | None = None
        self._ended = False

    def propose(self, count: int) -> list[Point]:
        """Return up to `count` points that were not proposed before; fewer, or none, where MetaSchedule finds no more."""
        while len(self._ahead) < count and not self._ended:
            new = self._started().generate()
            self._ended = not new
            self._ahead += [point for point in new if key_of(point) not in self._gone]
        found, self._ahead = self._ahead[:count], self._ahead[count:]
        self._gone.update(map(key_of, found))
        return found

    def learn(self, point: Point, ms: float | None) -> None:
        """Take in a measurement; None where it failed.

        Raises
        ------
        TenfoldError
            The point is not in the space.
        """
        point = self._space.check(point, self._kernel.workload)
        good = ms is not None and 0 < ms < inf
        key = key_of(point)
        self._gone.add(key)
        self._ahead = [each for each in self._ahead if key_of(each) != key]
        self._ms[key] = min(self._ms.get(key, inf), ms if good and ms is not None else inf)
        self._history.append(ms if good else None)
        self._started().tell(point, self._ms[key])

    def give_back(self, points: Iterable[Point]) -> None:
        """Let points be proposed again that were not measured after all."""
        back = [point for point in points if key_of(point) in self._gone and key_of(point) not in self._ms and point != self._space.chosen]
        self._gone.difference_update(map(key_of, back))
        self._ahead = back + self._ahead

    def expected_gain(self) -> float:
        """Return by how many milliseconds the next trial may make the best latency less, by what the last ones gained."""
        best = min(self._ms.values(), default=inf)
        if best == inf or (self._ended and not self._ahead):
            return 0.0
        return best * history_gain(self._history)

    def _started(self) -> _Search:
        if self._search is None:
            self._search = _Search(self._kernel, self._target, self._seed)
        return self._search


class _Search:
    """MetaSchedule's objects for one kernel."""

    def __init__(self, kernel: Tunable, target: Target, seed: int) -> None:
        from tvm.s_tir import meta_schedule as ms

        self._ms = ms
        self._alternatives = kernel.space().alternatives
        with _without_intrinsics():
            self._context = ms.TuneContext(
                _nothing(), target=target.tvm_target(),
                space_generator=ms.space_generator.ScheduleFn(
                    self._spaces, sch_rules=[], postprocs=[_postprocessor(self._allowed)], mutator_probs={_mutator(seed): 1.0}),
                search_strategy=ms.search_strategy.EvolutionarySearch(init_min_unmeasured=1, max_fail_count=FAILURES),
                num_threads=1, rand_state=seed % (1 << 30) + 1, logger=logging.getLogger(f"{__name__}.quiet"),
            )  # fmt: skip
        self._database = ms.database.MemoryDatabase()
        self._entry = self._database.commit_workload(_nothing())
        self._model = _cost_model(FeatureMaker(kernel, target), self.point)
        self._designs = self._context.generate_design_space()
        self._context.pre_tuning(MOST_TRIALS, BATCH, design_spaces=self._designs, database=self._database, cost_model=self._model)

    def generate(self) -> list[Point]:
        """Return the next points; none where it has given up."""
        for _ in range(EMPTY):
            candidates = self._context.generate_measure_candidates()
            if candidates is None:
                return []
            if len(candidates):
                # It keeps count of its trials; what they took, it is told by `tell`.
                self._context.notify_runner_results(candidates, [self._ms.runner.RunnerResult([1.0], None) for _ in candidates])
                return [self.point(each.sch) for each in candidates]
        return []

    def tell(self, point: Point, ms: float) -> None:
        """Take in a latency in milliseconds; infinite where the point failed."""
        schedule = self._schedule(point)
        if schedule is None:
            return  # the model's choice may stand outside of the knobs
        candidate = self._ms.search_strategy.MeasureCandidate(schedule, [])
        seconds = None if ms == inf else [ms / 1e3]
        self._model.update(self._context, [candidate], [self._ms.runner.RunnerResult(seconds, None if seconds else "failed")])
        record = self._ms.database.TuningRecord(schedule.trace, self._entry, seconds or [1e10], self._context.target, [])
        self._database.commit_tuning_record(record)

    def point(self, schedule: Any) -> Point:
        """Return the point that a schedule's annotations say."""
        annotations = schedule.get(schedule.get_sblock("nothing")).annotations
        knobs = self._alternatives[int(annotations[ALTERNATIVE])]
        return {name: values[int(annotations[KNOB + name])] for name, values in knobs.values.items()}

    def _spaces(self, schedule: Any) -> list[Any]:
        """Return one design space for each set of knobs."""
        return [self._space(schedule.copy(), number, knobs) for number, knobs in enumerate(self._alternatives)]

    @staticmethod
    def _space(schedule: Any, number: int, knobs: Knobs) -> Any:
        block = schedule.get_sblock("nothing")
        schedule.annotate(block, ALTERNATIVE, number)
        for name, values in knobs.values.items():
            drawn = schedule.sample_categorical(list(range(len(values))), [1 / len(values)] * len(values))
            schedule.annotate(block, KNOB + name, drawn)
        return schedule

    def _allowed(self, schedule: Any) -> bool:
        point = self.point(schedule)
        return any(point in knobs for knobs in self._alternatives)

    def _schedule(self, point: Point) -> Any | None:
        """Return the schedule of a point; None where no set of knobs has it."""
        from tvm.s_tir import Schedule

        for design, knobs in zip(self._designs, self._alternatives, strict=True):
            if point in knobs:
                trace = design.trace
                drawn = [each for each in trace.insts if each.kind.name == "SampleCategorical"]
                for instruction, (name, values) in zip(drawn, knobs.values.items(), strict=True):
                    trace = trace.with_decision(instruction, list(values).index(point[name]), remove_postproc=True)
                schedule = Schedule(_nothing(), debug_mask="none")
                trace.apply_to_schedule(schedule, remove_postproc=True)
                return schedule
        return None


@contextlib.contextmanager
def _without_intrinsics() -> Iterator[None]:
    """Keep a context of MetaSchedule from importing TVM's tensor intrinsics: that takes 20 seconds, and no knob needs them."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


@cache
def _nothing() -> tvm.IRModule:
    """Return a function with one block, to hang annotations on."""
    from tvm import IRModule, te

    source = te.placeholder((1,), name="source")
    result = te.compute((1,), lambda i: source[i], name="nothing")
    return IRModule({"main": te.create_prim_func([source, result]).with_attr("global_symbol", "main")})


def _postprocessor(allowed: Any) -> Any:
    """Return what refuses the schedules whose knobs can't be combined."""
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.postproc import PyPostproc

    @derived_object
    class Allowed(PyPostproc):
        def _initialize_with_tune_context(self, context: Any) -> None:
            pass

        def apply(self, sch: Any) -> bool:
            return bool(allowed(sch))

        def clone(self) -> Any:
            return Allowed()

    return Allowed()


def _mutator(seed: int) -> Any:
    """Return what changes one knob of a trace to any other value: MetaSchedule's own mutators know tiles of loops only."""
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.mutator import PyMutator

    rng = np.random.default_rng(seed)

    @derived_object
    class OneKnob(PyMutator):
        def _initialize_with_tune_context(self, context: Any) -> None:
            pass

        def apply(self, trace: Any, _: Any) -> Any:
            drawn = [each for each in trace.insts if each.kind.name == "SampleCategorical" and len(each.attrs[0]) > 1]
            if not drawn:
                return None
            instruction = drawn[rng.integers(len(drawn))]
            step = int(rng.integers(1, len(instruction.attrs[0])))
            decision = (int(trace.get_decision(instruction)) + step) % len(instruction.attrs[0])
            return trace.with_decision(instruction, decision, remove_postproc=True)

        def clone(self) -> Any:
            return OneKnob()

    return OneKnob()


def _cost_model(features: FeatureMaker, point_of: Any) -> Any:
    """Return MetaSchedule's XGBoost model on the features of points."""
    import tvm
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.cost_model import XGBModel
    from tvm.s_tir.meta_schedule.feature_extractor import PyFeatureExtractor

    @derived_object
    class PointFeatures(PyFeatureExtractor):
        def extract_from(self, context: Any, candidates: Any) -> list[Any]:
            return [tvm.runtime.tensor(features(point_of(each.sch))[None]) for each in candidates]

    return XGBModel(extractor=PointFeatures(), num_warmup_samples=WARM_UP, num_tuning_cores=1)
