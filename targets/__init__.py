"""Devices to compile for: presets, this machine, its GPU, or any CPU target of TVM."""
from __future__ import annotations

import difflib
import os
from typing import Any

from ..support.errors import TenfoldError
from .cpu_registry import cpu_presets
from .cpu_target import CpuTarget
from .gpu_registry import gpu_presets, gpu_target
from .gpu_target import CUDA, GpuTarget
from .target import Target

__all__ = ["CpuTarget", "GpuTarget", "Target", "cpu_presets", "detect_host", "gpu_presets", "presets", "resolve", "resolve_cpu"]


def presets() -> tuple[Target, ...]:
    """All presets: CPUs, boards and GPUs, each by name."""
    return (*cpu_presets(), *gpu_presets())


def resolve(spec: str | os.PathLike[str] | Target | dict[str, Any] | None = None) -> Target:
    """The target that `spec` means.

    Parameters
    ----------
    spec : str, path, Target, dict or None
        A preset's name, ``host`` (also None): this machine, ``cuda``: its GPU, ``cuda:ARCH,ARCH``, a file like the presets'
        (``NAME.toml``), or a TVM target in dict form or as JSON.

    Raises
    ------
    TenfoldError
        If there is no such target; the message lists the names there are. If LLVM can't compile for it.
    """
    if isinstance(spec, Target):
        return spec
    if spec is None or spec == "host":
        return detect_host()
    if isinstance(spec, dict):
        from .json_target import from_dict

        return from_dict(spec)
    if not isinstance(spec, str | os.PathLike):
        raise TenfoldError(f"a target is a name, a dict, a file or a Target, not a {type(spec).__name__}")
    spec = os.fsdecode(spec)
    if spec.lstrip().startswith(("{", "[")):
        from .json_target import from_json

        return from_json(spec)
    if spec.lower().endswith(".toml"):
        from .toml_target import from_toml

        return from_toml(spec)
    names = {preset.name: preset for preset in presets()}
    found = names.get(spec) or gpu_target(spec)
    if found is not None:
        return found
    near = difflib.get_close_matches(spec, [*names, CUDA], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    known = ", ".join(("host", CUDA, *names))
    raise TenfoldError(f"unknown target {spec!r}{hint}: it is one of {known}, a file NAME.toml, or a TVM target as JSON")


def resolve_cpu(spec: str | os.PathLike[str] | Target | dict[str, Any] | None = None) -> CpuTarget:
    """`resolve` for what only CPUs have.

    Raises
    ------
    TenfoldError
        What `resolve` raises; the target is a GPU.
    """
    target = resolve(spec)
    if not isinstance(target, CpuTarget):
        raise TenfoldError(f"target {target.name} is a GPU: name a CPU")
    return target


def detect_host() -> CpuTarget:
    """Describe this machine as a target; see `targets.host.detect_host` (imports TVM)."""
    from .host import detect_host as detect

    return detect()
