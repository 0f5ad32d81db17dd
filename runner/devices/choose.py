"""Which device: the one that was named, or the one that can run a target."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...support.errors import TenfoldError
from ...support.progress import Progress, reporter
from ...targets.gpu_registry import target_of_gpu
from ...targets.gpu_target import CUDA
from .address import TRACKER, Place
from .device import HERE, Device
from .emulated import CPU, X86, Emulated, cpus_of, emulator_for
from .emulated_cuda import EmulatedCuda
from .fleet import Search
from .here import Here
from .remote import Remote
from .session import SILENCE, Session

if TYPE_CHECKING:
    from ...targets import Target

EMULATED = "emulated"


def device_of(spec: str, *, architecture: str = X86, silence: float | None = None, progress: Progress | None = None) -> Device:
    """The device of a name.

    Parameters
    ----------
    spec : str
        ``here``; ``cuda`` or ``cuda:N``, a GPU of this machine; ``HOST:PORT``, where ``tenfold serve`` or ``tenfold-device`` runs;
        ``tracker:HOST:PORT/KEY``, any of those that are registered there, as soon as one is free; ``emulated``, ``emulated:CPU`` or
        ``emulated:cuda``.
    architecture : str
        Of what is emulated.
    silence : float, optional
        Seconds without a sign of life of a remote device after which it is given up. Default: 12.
    progress : Progress, optional
        Told what is waited for.

    Raises
    ------
    TenfoldError
        The device does not answer, none becomes free, the emulator is not installed, or `silence` was given for what is no remote device.
    """
    kind, _, cpu = spec.partition(":")
    if silence is not None and not _is_address(spec):
        raise TenfoldError(f"--silence is a limit for a device elsewhere, which {spec} is not: give --device HOST:PORT")
    if spec == HERE:
        return Here()
    if kind == CUDA:
        return Here(_gpu(spec, cpu))
    if kind == EMULATED and CUDA in (cpu, architecture):
        return EmulatedCuda()
    if kind == EMULATED:
        return Emulated(cpu or CPU, architecture)
    limit = SILENCE if silence is None else silence
    if kind == TRACKER:
        return Remote(Search(Place.of_device(spec), limit, reporter(progress)).session())
    return Remote(Session(spec, limit))


def find_device(target: Mapping[str, Any]) -> tuple[Device | None, str]:
    """Find what runs code for a target: this process, or an emulator that is installed.

    Parameters
    ----------
    target : dict
        As in a manifest.

    Returns
    -------
    Device or None, str
        None where neither can, and why this machine can't.
    """
    here = Here()
    lack = here.check(target)
    if lack is None:
        return here, ""
    if target["architecture"] == CUDA:
        gpu = EmulatedCuda()
        return (gpu if gpu.check(target) is None else None), lack
    emulator = emulator_for(target["architecture"])
    named = str(target["tvm"].get("mcpu"))  # what the emulator has of that name can do no more than the CPU
    for cpu in () if emulator is None else (named, CPU) if named in cpus_of(emulator) else (CPU,):
        emulated = Emulated(cpu, target["architecture"])
        try:
            if emulated.check(target) is None:
                return emulated, lack
        except TenfoldError:  # it can't be started: as if it were not there
            pass
        emulated.close()
    return None, lack


@contextlib.contextmanager
def target_on(
    device: Device | str | None, target: Target | dict[str, Any] | str | None, progress: Progress | None = None
) -> Iterator[tuple[Target, Device | str | None]]:
    """A target, and the device with it; ``host`` means the machine of a remote device, or the GPU that is named.

    What was opened for that is closed at the end.
    """
    from ...targets import resolve

    gpu = gpu_named(device)
    if target in (None, "host") and isinstance(device, str) and _is_address(device):
        with device_of(device, progress=progress) as there:
            assert isinstance(there, Remote)
            yield there.target, there
    elif target in (None, "host") and isinstance(device, Remote):
        yield device.target, device
    elif target in (None, "host") and gpu is not None:
        yield target_of_gpu(gpu) or resolve(CUDA), device
    else:
        yield resolve(target), device


@contextlib.contextmanager
def elsewhere(device: Device | str | None, progress: Progress | None = None) -> Iterator[Device | None]:
    """A device, closed at the end if it was named; None for this process."""
    if device is None or device == HERE or (isinstance(device, Here) and device.gpu is None):
        yield None
    elif isinstance(device, str):
        with device_of(device, progress=progress) as found:
            yield found
    else:
        yield device


def gpu_named(device: Any) -> int | None:
    """The GPU of this machine that a device, or its name, names, by the driver's count."""
    if isinstance(device, Here):
        return device.gpu
    kind, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    return _gpu(device, number) if kind == CUDA else None


def _named(device: str, target: Mapping[str, Any], progress: Progress | None) -> Device:
    return device_of(device, architecture=target["architecture"], progress=progress)


def _is_address(spec: str) -> bool:
    return spec.partition(":")[0] not in (HERE, CUDA, EMULATED)


def _gpu(spec: str, number: str) -> int:
    """The GPU that ``cuda:1`` names; of ``cuda`` the first."""
    if number and not number.isdecimal():
        raise TenfoldError(f"device {spec}: name a GPU as {CUDA}:N, N counting from 0")
    return int(number or 0)


@contextlib.contextmanager
def opened(
    device: Device | str | None, target: Mapping[str, Any], progress: Progress | None = None
) -> Iterator[tuple[Device | None, str]]:
    """A device that can run a target, closed at the end of the block unless it was given.

    Parameters
    ----------
    device : Device, str or None
        One, its name, or None: the one that `find_device` finds.
    target : dict
        As in a manifest.
    progress : Progress, optional
        Told what is waited for.

    Yields
    ------
    Device or None, str
        As of `find_device`.

    Raises
    ------
    TenfoldError
        The device that was named can't be had, or can't run the target.
    """
    with contextlib.ExitStack() as stack:
        if device is None:
            found, lack = find_device(target)
        else:
            found, lack = device if not isinstance(device, str) else _named(device, target, progress), ""
            if isinstance(device, str):
                stack.callback(found.close)
            reason = found.check(target)
            if reason is not None:
                raise TenfoldError(f"device {found.name}: it can't run target {target['name']}: {reason}")
        if device is None and found is not None:
            stack.callback(found.close)
        yield found, lack
