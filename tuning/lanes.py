"""Devices at work for a tuner: each has threads that take batches, build them and measure them, until nothing is left.

Where networks use all cores of this machine, batches are built and measured one after the other: beside a build a kernel may take three
times as long (`tests/benchmarks/tuner/disturbance.py`). Where they leave a core free, for a device elsewhere, and for a GPU two threads
take turns: one batch is built while the other is measured.
"""
from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..runner.devices.device import Device, Program
from ..support.errors import TenfoldError
from .builders import Builders
from .trial import DeviceGone, Outcome, measure
from .tuner import Job, Tuner

PAUSE = 0.25        # seconds between two looks at the work
LOOK = 5.0          # seconds between two counts of the devices that there are
TRIES = 3           # to open a device again that is gone


@dataclass
class Slot:
    """Room for one device.

    Attributes
    ----------
    open : callable
        Opens the device.
    overlaps : bool
        A batch may be built while another one is measured there.
    lent : bool
        The device is its owner's, who closes it.
    lasting : bool
        What is lost when code crashes there is the device, not a process of ours.
    names : set of str
        Of the devices that were opened.
    ended : str
        Why no device is opened any more; empty as long as one may be.
    lost_to : str
        Why the last device that was lost was lost; empty where none was.
    """

    open: Callable[[], Device]
    overlaps: bool = False
    lasting: bool = False
    lent: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    names: set[str] = field(default_factory=set)
    ended: str = ""
    lost_to: str = ""
    _device: Device | None = None
    _failures: int = 0

    def device(self) -> Device:
        """Return the device, opened; hold `lock` for it. TenfoldError where it can't be had."""
        if self._device is None:
            self._device = self.open()
            self.names.add(self._device.name)
        return self._device

    def works(self) -> None:
        """Note that it has measured something."""
        self._failures = 0

    def lost(self, why: str) -> bool:
        """Note that it is gone; says whether to try again."""
        self.close()
        self.lost_to = why
        self._failures += 1
        if self._failures > TRIES:
            self.ended = why
        return not self.ended

    def close(self) -> None:
        """Give the device back."""
        device, self._device = self._device, None
        if device is not None and not self.lent:
            with contextlib.suppress(TenfoldError, OSError):
                device.close()


class Lanes:
    """The threads of a tuner.

    Parameters
    ----------
    tuner : Tuner
    builders : Builders
    slots : list of Slot
        For the devices that are there at the beginning.
    join : callable, optional
        Says how many devices there are now; and one that opens a further one.
    """

    def __init__(self, tuner: Tuner, builders: Builders, slots: list[Slot],
                 join: tuple[Callable[[], int], Callable[[], Slot]] | None = None) -> None:
        self.tuner, self.slots = tuner, slots
        self._builders, self._join = builders, join
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._looked = time.monotonic()

    def run(self, watch: Callable[[], None]) -> bool:
        """Work until nothing is left, or an interrupt: then the batches under way are the last ones.

        Parameters
        ----------
        watch : callable
            Called a few times a second.

        Returns
        -------
        bool
            Whether it was interrupted.

        Raises
        ------
        TenfoldError
            No device is left.
        """
        interrupted = False
        try:
            for slot in list(self.slots):
                self._start(slot)
            while self._goes_on():
                try:
                    watch()
                    with self.tuner.changed:
                        self.tuner.changed.wait(PAUSE)
                    self._look_for_more()
                except KeyboardInterrupt:
                    if interrupted:
                        raise
                    interrupted = True
                    self.tuner.stop()
        finally:
            self.tuner.stop()
            for slot in self.slots:
                if slot.lock.acquire(timeout=PAUSE):
                    slot.close()
                    slot.lock.release()
        watch()
        if self._error is not None:
            raise self._error
        return interrupted

    def _goes_on(self) -> bool:
        if self._error is not None:
            return False
        working = any(thread.is_alive() for thread in self._threads)
        if not working and self._join is not None and not self.tuner.finished:
            return True
        if not working and not self.tuner.finished:
            ended = [slot.ended for slot in self.slots if slot.ended]
            raise TenfoldError(ended[-1] if ended else "no device is left to measure on")
        return working and not self.tuner.finished

    def _look_for_more(self) -> None:
        """Make use of devices that have come since."""
        if self._join is None or time.monotonic() - self._looked < LOOK or self.tuner.stopping:
            return
        self._looked = time.monotonic()
        count, another = self._join
        with contextlib.suppress(TenfoldError):  # a tracker that is away for a moment
            for _ in range(count() - sum(not slot.ended for slot in self.slots)):
                self.slots.append(another())
                self._start(self.slots[-1])

    def _start(self, slot: Slot) -> None:
        for _ in range(2 if slot.overlaps else 1):
            self._threads.append(threading.Thread(target=self._work, args=(slot,), daemon=True))
            self._threads[-1].start()

    def _work(self, slot: Slot) -> None:
        try:
            while not slot.ended and (job := self.tuner.next()) is not None:
                self._do(slot, job)
        except BaseException as error:
            self._error = error
            with self.tuner.changed:
                self.tuner.changed.notify_all()

    def _do(self, slot: Slot, job: Job) -> None:
        state = job.state
        known = state.built.get(job.incumbent.key)
        wanted = [*([] if known else [job.incumbent]), *job.candidates]
        try:
            built = self._builders.build(state.task, wanted, job.folder)
            incumbent = known or built.pop(0)
            if not isinstance(incumbent, Program):
                self.tuner.give_up(job, f"it can't be built: {incumbent}")
                return
            pairs = list(zip(job.candidates, built, strict=True))
            with slot.lock:
                outcome = self._measured(slot, incumbent, [(each, made) for each, made in pairs if isinstance(made, Program)])
            outcome.unbuilt = {each: made for each, made in pairs if isinstance(made, str)}
        except (DeviceGone, TenfoldError) as error:
            self.tuner.give_back(job)
            slot.lost(str(error))
            return
        except BaseException:
            self.tuner.give_back(job)
            raise
        state.built[job.incumbent.key] = incumbent
        made = {each: program for each, program in pairs if isinstance(program, Program)}
        if outcome.winner is not None:
            state.built = {outcome.winner.key: made[outcome.winner]}
        kept = {program.folder for program in state.built.values()}
        for program in made.values():
            if program.folder not in kept:
                shutil.rmtree(program.folder, ignore_errors=True)
        self.tuner.done(job, outcome, slot.lasting)

    @staticmethod
    def _measured(slot: Slot, incumbent: Program, programs: list[tuple]) -> Outcome:
        outcome = measure(slot.device(), incumbent, programs)
        slot.works()
        return outcome
