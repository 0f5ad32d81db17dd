"""Where candidates are measured: the devices of a session, and the target that they have in common."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..codegen.code import check_tools
from ..runner.bench.modelled import Modelled, modelled_device
from ..runner.build import describe_target
from ..runner.devices.address import TRACKER, Place
from ..runner.devices.choose import device_of, gpu_named
from ..runner.devices.device import HERE, Device, check_times
from ..runner.devices.here import Here
from ..runner.devices.isolated import Isolated
from ..runner.devices.remote import Remote
from ..runner.devices.session import SILENCE
from ..runner.devices.tracker import Tracker, members
from ..support.errors import TenfoldError
from ..support.progress import Progress
from ..targets import resolve
from ..targets.detection import physical_cores
from ..targets.gpu_registry import target_of_gpu
from ..targets.gpu_target import CUDA
from .cost_model import note
from .lanes import Slot

if TYPE_CHECKING:
    from ..targets import Target


@dataclass
class Places:
    """The devices of a session.

    Attributes
    ----------
    target : Target
        What is compiled for.
    first : Device
        One of them, open.
    spec : str
        As the user named them.
    lent : bool
        The device was open before, and stays so.
    """

    target: Target
    first: Device
    spec: str
    lent: bool
    _stack: contextlib.ExitStack
    _slots: list[Slot] = field(default_factory=list)
    _one: Device | None = None

    @property
    def modelled(self) -> bool:
        """Times are modelled: no processor takes them."""
        return isinstance(self.first, Modelled)

    @property
    def here(self) -> bool:
        """It is this machine's CPU that measures."""
        return isinstance(self.first, Isolated)

    def check(self, target: Target) -> None:
        """Raise TenfoldError where code for a target can't run there, can't be compiled, or times say nothing."""
        if self.modelled:
            if target.cores != 1:
                raise TenfoldError(f"device {self.spec}: its cycles are those of one thread: give --threads 1")
        else:
            check_times(self.first)
        lack = self.first.check(describe_target(target))
        if lack is not None:
            raise TenfoldError(f"device {self.first.name}: it can't run target {target.name}: {lack}; give --device for one that can")
        check_tools(target)

    def slots(self, target: Target) -> list[Slot]:
        """Return room for each device that is there now; the first one is the one that is open."""
        elsewhere = isinstance(self.first, Remote)
        opened: list[Device] = [self.first]

        def open_one() -> Device:
            return self.first if self.lent else opened.pop() if opened else self._open()

        overlaps = elsewhere or gpu_named(self.first) is not None or self.free_cores(target) > 0
        count = physical_cores() if self.modelled else max(1, self._count()) if self._tracked else 1
        count = 1 if self.lent else count
        self._slots = [Slot(open_one, overlaps, elsewhere, self.lent) for _ in range(count)]
        return self._slots

    def free_cores(self, target: Target) -> int:
        """Return the cores of this machine that measuring leaves free: building on them does not disturb it. 0 where all are needed."""
        return max(0, physical_cores() - target.cores) if self.here else 0

    def builders(self, target: Target) -> int:
        """Return how many processes may build candidates at once."""
        return self.free_cores(target) or physical_cores()

    def joining(self) -> tuple[Callable[[], int], Callable[[], Slot]] | None:
        """Return what counts the devices that there are, and what makes room for one more; None where none can come."""
        if not self._tracked or self.lent:
            return None
        return self._count, lambda: Slot(self._open, True, True)

    def one(self) -> Device:
        """Return a device when all others are given back."""
        if self.lent:
            return self.first
        if self._one is None:
            self._one = self._stack.enter_context(self._open())
        return self._one

    def describe(self) -> str:
        """Name what measured."""
        names = sorted(set().union(*(slot.names for slot in self._slots)))
        return ", ".join(names) if len(names) > 1 else self.first.describe()

    def notes(self) -> list[str]:
        """Return what a user should know of it."""
        found = [f"a device was given up: {slot.ended}" for slot in self._slots if slot.ended]
        lost = [slot for slot in self._slots if slot.lost_to and not slot.ended]
        found += [f"a device was lost, and opened again or replaced: {slot.lost_to}" for slot in lost]
        if self.modelled:
            found.append("times are modelled cycles: no processor took them")
        return found + ([words] if (words := note()) else [])

    @property
    def _tracked(self) -> bool:
        return self.spec.startswith(f"{TRACKER}:")

    def _count(self) -> int:
        place = Place.of_device(self.spec)
        with contextlib.closing(Tracker(place, SILENCE)) as tracker:
            return len(members(tracker.summary(), place.key))

    def _open(self) -> Device:
        return open_device(self.spec, None)


@contextlib.contextmanager
def places_of(device: Device | str | None, target: Any, progress: Progress | None = None) -> Iterator[Places]:
    """Open the devices of a name, or take one that is open; see `tune`. They are closed at the end, but for one that was given.

    Raises
    ------
    TenfoldError
        There is no such device or target, or it does not answer.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(device, Here) and device.gpu is None:  # this process is not to run what may crash
            device = HERE
        lent = None if device is None or isinstance(device, str) else device
        spec = device or HERE if device is None or isinstance(device, str) else device.name
        first = lent or open_device(spec, progress)
        if lent is None:
            stack.callback(first.close)
        yield Places(_target(target, first), first, spec, lent is not None, stack)


def open_device(spec: str, progress: Progress | None) -> Device:
    """Open a device of a name. This machine's CPU is a process of its own: candidates may crash."""
    if spec == HERE:
        return Isolated()
    return modelled_device(spec) or device_of(spec, progress=progress)


def _target(target: Any, device: Device) -> Target:
    """The target, where none is named that of the device."""
    if isinstance(device, Modelled):
        chosen = device.target if target in (None, "host") else resolve(target)
        return chosen.with_cores(1)
    if target in (None, "host") and isinstance(device, Remote):
        return device.target
    if target in (None, "host") and (gpu := gpu_named(device)) is not None:
        return resolve(target_of_gpu(gpu) or CUDA)
    return resolve(target or "host")
