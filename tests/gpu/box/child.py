"""A process with a limit of time, that leaves none of its own behind."""
from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

OUT_OF_TIME = 124


def run(command: Sequence[str], seconds: float, capture: bool = False, folder: Path | None = None) -> tuple[int, str]:
    """Run a command.

    Parameters
    ----------
    command : sequence of str
    seconds : float
        After these it is killed, with all processes that it has started.
    capture : bool
        Whether what it says is returned, instead of shown.
    folder : Path, optional
        Where it runs.

    Returns
    -------
    int, str
        The exit code (`OUT_OF_TIME` where it was killed for that), and what it said.
    """
    pipe = subprocess.PIPE if capture else None
    started = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT if capture else None,
                               text=True, errors="replace", start_new_session=True)
    try:
        said = started.communicate(timeout=seconds)[0] or ""
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        return OUT_OF_TIME, (started.communicate()[0] or "") + f"\nit took more than {seconds:.0f} s"
    except BaseException:  # an interrupt of ours
        os.killpg(started.pid, signal.SIGKILL)
        raise
    return started.returncode, said
