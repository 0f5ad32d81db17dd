"""What a tuner begins with: the tasks of a network, and what is known of others."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..runner.tuning_records.tune_log import TuneLog
from ..schedules.task import Task
from ..targets import Target
from .candidates import Candidates
from .cost_model import CostModel
from .engines import TENFOLD, Engine
from .journal import name_of
from .roofline import limit_ms
from .state import TaskState

if TYPE_CHECKING:
    import tvm


def tasks_of(mod: tvm.IRModule, target: Target) -> Counter[Task]:
    """Find the tasks of a network as it is compiled: of a large batch, those of one piece of it. Of tasks with the same layers one is kept.

    Which steps are behind a layer makes little difference to which kernel is fastest, and a record has room for one choice: the steps
    that occur most often stand for all.
    """
    from ..codegen.batch_split import count_pieces, with_batch
    from ..passes.find_tasks import find_tasks
    from ..schedules.backend import backend_of

    backend = backend_of(target)
    pieces = count_pieces(mod, backend)
    piece = mod if pieces == 1 else with_batch(mod, int(mod["main"].params[0].ty.shape.values[0]) // pieces)
    found = find_tasks(mod if piece is None else piece, backend)
    alike: dict[tuple[str, tuple[str, ...]], list[Task]] = {}
    for task in found:
        alike.setdefault((task.workload, task.cut), []).append(task)
    return Counter({max(tasks, key=lambda task: found[task]): sum(found[task] for task in tasks) for tasks in alike.values()})


def engine_of(name: str, target: Target, log: TuneLog, seed: int) -> Engine:
    """Return a search by its name; Tenfold's own has learned from all records that there are."""
    return Engine(name, seed, taught(log, target, seed) if name == TENFOLD else None)


def states_of(tasks: Mapping[Task, int], target: Target, engine: Engine) -> dict[str, TaskState]:
    """Return tasks by name, with nothing measured."""
    return {name_of(task): TaskState(task, count, Candidates(task, target, engine), limit_ms(task, target))
            for task, count in tasks.items()}


def taught(log: TuneLog, target: Target, seed: int) -> CostModel | None:
    """Return a cost model that has learned from all records that there are; None where nothing can be learned.

    A record says of two points which is faster: the tuner's, and the model's own choice.
    """
    from .lessons import lessons

    groups = lessons(log.everywhere(), target)
    if not groups:
        return None
    model = CostModel(seed=seed)
    model.fit(groups)
    return model if model.trained else None


