"""Modules that are compiled to be timed: on this machine or another one, their kernels alone or the whole call."""
from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.cuda.capability import gpu_for
from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...targets.gpu_target import GpuTarget
from ..build import build_library, describe_target, program_of
from ..devices.device import HERE, KERNELS, NETWORK, Device, check_times
from ..devices.here import Here
from ..devices.remote import Remote
from ..tuning_records.tuned import Tuned, TuneLogs

if TYPE_CHECKING:
    import tvm

    from ...targets import Target

TimedModule = Callable[[], float]


class TimedModules:
    """Compiles modules and gives back timed ones: functions that run the module a few times and return the median, in milliseconds.

    Parameters
    ----------
    target : Target
        Code for it must run on the device; its `cores` are the threads.
    device : Device
    tune_log : bool or path
        As of `compile`.

    Attributes
    ----------
    gpu : str, optional
        The GPU that modules run on; None where they run on a CPU.

    Raises
    ------
    TenfoldError
        The device lacks what the target's code needs, or its times say nothing.
    """

    def __init__(self, target: Target, device: Device, tune_log: TuneLogs = True) -> None:
        if not getattr(device, "is_modelled", False):
            check_times(device)
        lack = device.check(describe_target(target))
        if lack is not None:
            where = "here; give --device HOST:PORT to time them there" if device.name == HERE else f"on {device.name}"
            what, else_ = ("a GPU", ", or --energy E, which needs no times") if isinstance(target, GpuTarget) else ("another CPU", "")
            raise TenfoldError(f"target {target.name}: it is for {what}: {lack}: candidates can't be timed {where}{else_}")
        self.target, self.device, self.tuned = target, device, Tuned(tune_log, target, device)
        self.gpu = _gpu(target, device) if isinstance(target, GpuTarget) else None

    def kernels(self, mod: tvm.IRModule) -> TimedModule:
        """Without what a call takes besides its kernels."""
        return self._timed(mod, KERNELS)

    def network(self, mod: tvm.IRModule) -> TimedModule:
        """The whole call."""
        return self._timed(mod, NETWORK)

    def _timed(self, mod: tvm.IRModule, part: str) -> TimedModule:
        device = self.device
        with TemporaryFolder() as folder:
            built = build_library(mod, self.target, folder, tuned=self.tuned)
            self.tuned.warn(built)
            handle = device.load(program_of(mod, built, folder, self.target.cores), part)

        def module() -> float:
            return float(np.median(device.time(handle)))

        weakref.finalize(module, device.drop, handle).atexit = False
        return module


def _gpu(target: GpuTarget, device: Device) -> str:
    """What runs code for a target on a device: of one elsewhere, all that it has."""
    if isinstance(device, Here):
        gpu = gpu_for(target.features, device.gpu)
        return f"{gpu.name} ({gpu.arch})"
    return ", ".join(device.session.gpus) if isinstance(device, Remote) else device.describe()
