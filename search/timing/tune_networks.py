"""The last networks of a search, tuned: their kernels are searched by measuring, and the timer compiles by what is found from then on."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...runner.bench.timed_module import TimedModules
from ...support.errors import TenfoldError
from ...support.progress import Progress
from ...tuning.places import places_of
from ...tuning.tune import TuningSettings, tune_module

if TYPE_CHECKING:
    import tvm

    from .timer import Timer


def tune_networks(mods: Sequence[tvm.IRModule], timer: Timer, say: Progress) -> None:
    """Tune networks, one after the other; records go to the user's log.

    Trials end by themselves, where no more gain is expected. What several networks have in common is tuned once.

    Raises
    ------
    TenfoldError
        The timer is no device's.
    """
    if not isinstance(timer, TimedModules):
        raise TenfoldError("--tune needs a device that measures, not a timer of your own")
    for number, mod in enumerate(mods):
        def watch(tuner: object, number: int = number) -> None:
            say("tuning the last networks", number, len(mods))

        with places_of(timer.device, timer.target) as places:
            tune_module(mod, timer.target, places, None, TuningSettings(), say, watch)
    timer.read_records()
