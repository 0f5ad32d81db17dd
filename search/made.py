"""By what a result was made: the command, the machine that its times are of, the versions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ..runner.bench.disturbance import Watch
from ..runner.bench.environment import describe_device, describe_machine
from ..runner.devices.here import Here
from ..support.command_line import command_line
from .timing.timer import gpu_of

if TYPE_CHECKING:
    from .timing.timer import Timer


def disturbance(timer: Timer | None, watch: Watch) -> str | None:
    """What speaks against the times of a search on this machine: told in a RuntimeWarning, and returned. None: nothing is known.

    Parameters
    ----------
    timer : Timer or None
        What candidates were timed by. What others do on a device elsewhere is not known.
    watch : Watch
        From before the first time that was taken.
    """
    if timer is None or not isinstance(getattr(timer, "device", None), Here) or gpu_of(timer) is not None:
        return None
    load = watch.load()
    if load.quiet:
        return None
    words = f"the machine was disturbed while networks were timed: {load}"
    warnings.warn(f"{words}; search again while it is quiet, or measure the result with tenfold bench --until-stable", RuntimeWarning,
                  stacklevel=3)
    return words


def made_by(timer: Timer | None, disturbed: str | None = None) -> dict[str, Any]:
    """What a report says of it.

    Parameters
    ----------
    timer : Timer or None
        What candidates were timed by. None, and a timer of the caller's that names no device: the machine is not known.
    disturbed : str or None
        As of `disturbance`.
    """
    device = getattr(timer, "device", None)
    here = describe_machine(())
    machine = None if device is None else here if isinstance(device, Here) else describe_device(device)
    if machine is not None and timer is not None and (gpu := gpu_of(timer)) is not None:
        machine = {**machine, "gpu": {"name": gpu}}
    threads = None if machine is None or "gpu" in machine else getattr(getattr(timer, "target", None), "cores", None)
    facts = {"command": command_line(), "machine": machine, "threads": threads, "disturbance": disturbed and {"warning": disturbed}}
    return {**facts, "versions": {**here["versions"], "python": here["python"]}}
