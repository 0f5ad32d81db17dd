"""`tenfold doctor`: what this machine can do, and what it lacks."""
from __future__ import annotations

from .answer import Answer
from .app import command
from .options import Device
from .work import Work


@command
def doctor(work: Work, device: Device = None) -> Answer:
    """Say what this machine can compile for, run, emulate and reach, what is missing for more, and a line for bug reports."""
    work.say("looking at this machine")
    from ..runner.doctor.doctor import doctor as look
    from ..runner.doctor.table import findings_table, health_lines

    health = look(device, progress=work.say)
    return Answer([findings_table(health), *health_lines(health)], health.to_dict())
