"""What records are worth in the whole network: it is timed with them and without, in turns; those that make it slower are left out.

A kernel is tuned by itself, with its data in the caches. In the network it may find them elsewhere.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ..runner.build import build_library, program_of
from ..runner.devices.device import NETWORK, Device
from ..schedules.space import Point
from ..targets import Target
from .journal import changed
from .state import TaskState

if TYPE_CHECKING:
    import tvm

ROUNDS = 11
NOISE = 0.01  # of the latency: what is closer than this counts as equal


@dataclass(frozen=True)
class NetworkGain:
    """The whole network before and after tuning.

    Attributes
    ----------
    before_ms, after_ms : float
        Medians of runs in turns: with the model's choices, and with what was kept.
    dropped : tuple of TaskState
        Tasks whose best candidates made it slower, so that their records are withdrawn.
    """

    before_ms: float
    after_ms: float
    dropped: tuple[TaskState, ...] = ()


class WholeNetwork:
    """Builds and times a network with what some tasks have gained.

    Parameters
    ----------
    mod : tvm.IRModule
        As imported, a plan applied.
    target : Target
    device : Device
    folder : Path
        For what is built.
    """

    def __init__(self, mod: tvm.IRModule, target: Target, device: Device, folder: Path) -> None:
        self._mod, self._target, self._device, self._folder = mod, target, device, folder
        self._count = 0

    def gain(self, states: Sequence[TaskState]) -> NetworkGain:
        """Time the network with the model's choices, and with what tasks have gained; leave out what makes it slower."""
        kept = list(states)
        dropped: list[TaskState] = []
        before, after = self._times([], kept)
        while after > before * (1 + NOISE) and kept:
            worst = self._worst(kept)
            kept = [state for state in kept if state not in worst]
            dropped += worst
            before, after = self._times([], kept)
        return NetworkGain(before, after, tuple(dropped))

    def _worst(self, states: list[TaskState]) -> list[TaskState]:
        """Of tasks that together make the network slower, the half that does more harm, halved until one is left."""
        while len(states) > 1:
            half = len(states) // 2
            first, second = states[:half], states[half:]
            one, other = self._times(first, second)
            states = first if one > other else second
        return states

    def _times(self, one: Sequence[TaskState], other: Sequence[TaskState]) -> tuple[float, float]:
        """Milliseconds of the network with what some tasks have gained, and with what others have, in turns."""
        handles = [self._load(states) for states in (one, other)]
        try:
            times: list[list[float]] = [[], []]
            for turn in range(ROUNDS + 1):
                for number in (0, 1) if turn % 2 else (1, 0):
                    ms = min(self._device.time(handles[number]))  # what disturbs a run only makes it longer
                    if turn:  # the first one pays for what others find warm
                        times[number].append(ms)
            # How they compare is decided round by round: the machine may change its speed between rounds.
            ratio = median(b / a for a, b in zip(*times, strict=True))
            return median(times[0]), median(times[0]) * ratio
        finally:
            for handle in handles:
                self._device.drop(handle)

    def _load(self, states: Sequence[TaskState]) -> int:
        self._count += 1
        folder = self._folder / f"network{self._count}"
        folder.mkdir(parents=True)
        points: dict[str, Point] = {}
        for state in states:
            points.update(changed(state, state.best))
        built = build_library(self._mod, self._target, folder, tuned=points)
        return self._device.load(program_of(self._mod, built, folder, self._target.cores), NETWORK)
