"""What the modules of a search are timed by: this machine, another one, or whatever the caller brings."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ...runner.bench.timed_module import TimedModule
from ...runner.build import with_threads
from ...support.errors import TenfoldError

if TYPE_CHECKING:
    import tvm

    from ...runner.devices.device import Device
    from ...support.progress import Progress
    from ...targets import Target
    from ..settings import Settings


@runtime_checkable
class Timer(Protocol):
    """Compiles modules and gives back timed ones: functions that run the module a few times and return the median, in milliseconds."""

    def kernels(self, mod: tvm.IRModule) -> TimedModule:
        """Without what a call takes besides its kernels."""

    def network(self, mod: tvm.IRModule) -> TimedModule:
        """The whole call."""


def model_of(timer: Timer) -> str | None:
    """By what model the milliseconds of a timer are made; None where they are measured."""
    return getattr(getattr(timer, "device", None), "model", None)


def records_of(timer: Timer) -> str:
    """A hash of the tuner's records that a timer builds kernels from; empty for none."""
    return getattr(getattr(timer, "tuned", None), "digest", "")


def gpu_of(timer: Timer) -> str | None:
    """The GPU that a timer's modules run on; None of a CPU."""
    return getattr(timer, "gpu", None)


@contextlib.contextmanager
def open_timer(
    device: str | Device | Timer | None, target: Any, settings: Settings, progress: Progress | None = None
) -> Iterator[tuple[Target, Timer]]:
    """The target of a search, and what its modules are timed by.

    Parameters
    ----------
    device : str, Device, Timer or None
        ``here``; ``cuda:N``, a GPU of this machine; ``HOST:PORT``, where ``tenfold serve`` runs; ``tracker:HOST:PORT/KEY``, any that is
        registered there; ``emulated:CPU``, a preset whose cycles are modelled, on one thread (`runner.bench.modelled`); a device that is
        open; a Timer of the caller's; None: this machine.
    target : str, Target, dict or None
        None or ``host``: the machine, the CPU or the GPU that modules are timed on.
    settings : Settings
        Its threads and its silence.
    progress : Progress, optional
        Told what is waited for.

    Raises
    ------
    TenfoldError
        There is no such target, its code does not run where modules are timed, or the device does not answer.
    """
    from ...codegen.code import check_tools
    from ...runner.bench.modelled import Modelled, modelled_device
    from ...runner.bench.timed_module import TimedModules
    from ...runner.devices.choose import device_of, gpu_named
    from ...runner.devices.device import HERE
    from ...runner.devices.remote import Remote
    from ...targets import resolve
    from ...targets.gpu_registry import target_of_gpu
    from ...targets.gpu_target import CUDA

    if settings.silence is not None and not isinstance(device, str):
        raise TenfoldError("--silence is a limit for a device: give --device HOST:PORT too")
    with contextlib.ExitStack() as stack:
        where: Device | Timer
        modelled = modelled_device(device) if isinstance(device, str) else None
        if modelled is not None:
            where = stack.enter_context(modelled)
        elif device is None or isinstance(device, str):
            named = HERE if device is None else device
            where = stack.enter_context(device_of(named, silence=settings.silence, progress=progress))
        else:
            where = device
        if target in (None, "host") and isinstance(where, Remote):
            target = where.target
        elif target in (None, "host") and (gpu := gpu_named(where)) is not None:
            target = target_of_gpu(gpu) or CUDA
        threads = settings.threads
        if isinstance(where, Modelled):
            target = where.target if target in (None, "host") else target
            if threads not in (None, 1):
                raise TenfoldError(f"device {where.name}: its cycles are those of one thread: give --threads 1")
            threads = 1
        chosen = with_threads(resolve(target or "host"), threads)
        check_tools(chosen)  # a compiler that is missing or fails is told now, not after an hour
        yield chosen, where if isinstance(where, Timer) else TimedModules(chosen, where)
