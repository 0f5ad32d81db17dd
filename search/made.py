"""By what a result was made: the command, the machine that its times are of, the versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..runner.bench.environment import describe_device, describe_machine
from ..runner.devices.here import Here
from ..support.command_line import command_line
from .timing.timer import gpu_of

if TYPE_CHECKING:
    from .timing.timer import Timer


def made_by(timer: Timer | None) -> dict[str, Any]:
    """What a report says of it.

    Parameters
    ----------
    timer : Timer or None
        What candidates were timed by. None, and a timer of the caller's that names no device: the machine is not known.
    """
    device = getattr(timer, "device", None)
    here = describe_machine(())
    machine = None if device is None else here if isinstance(device, Here) else describe_device(device)
    if machine is not None and timer is not None and (gpu := gpu_of(timer)) is not None:
        machine = {**machine, "gpu": {"name": gpu}}
    threads = None if machine is None or "gpu" in machine else getattr(getattr(timer, "target", None), "cores", None)
    return {"command": command_line(), "machine": machine, "threads": threads, "versions": {**here["versions"], "python": here["python"]}}
