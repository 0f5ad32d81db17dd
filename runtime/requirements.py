"""What an artifact needs of the machine that it runs on."""
from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..support.errors import TenfoldError
from ..targets.architectures import this_architecture
from ..targets.detection import cpu_flags
from ..targets.gpu_target import CUDA
from .cuda.capability import lacking_gpu


def check_target(name: str, target: Mapping[str, Any], device: int | None = None) -> None:
    """Hold the code of an artifact against this machine: it would die of an illegal instruction.

    Parameters
    ----------
    name : str
        The artifact.
    target : mapping
        As in a manifest.
    device : int, optional
        The GPU that is asked for.

    Raises
    ------
    TenfoldError
        It can't run here.
    """
    lack = lacking(target, device)
    if lack is not None:
        raise TenfoldError(f"{name}: it {'is for a GPU' if target['architecture'] == CUDA else 'is for another CPU'}: {lack}")


def lacking(target: Mapping[str, Any], device: int | None = None) -> str | None:
    """Why code for `target` (as in a manifest) can't run on this machine (on the GPU `device`), in a few words; None where it can."""
    architecture = this_architecture()
    if target["architecture"] == CUDA:
        return lacking_gpu(target["features"], device)
    if target["architecture"] != architecture:
        return f"{target['name']} is {target['architecture']}, this machine is {architecture}"
    return lacking_flags(target, cpu_flags(), "this machine")


def lacking_flags(target: Mapping[str, Any], flags: Collection[str], where: str) -> str | None:
    """What of `target` a CPU with `flags` does not have, in a few words that call it `where`; None where it has all."""
    absent = [flag for flag in target["features"] if flag not in flags]
    few = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
    return f"{target['name']} needs {few}, which {where} lacks" if absent else None
