"""GPUs to compile for: presets, the one of this machine, or a list of architectures."""
from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from ..support.errors import TenfoldError
from .cuda_driver import Gpu, gpus
from .gpu_model import GpuModel
from .gpu_target import CUDA, GpuTarget, capability_of, tvm_target, with_ptx
from .preset_files import read_presets

DEFAULT = "sm_80"  # where no GPU is: the oldest architecture with asynchronous copies and TF32; newer ones run it from PTX


@functools.cache
def gpu_presets() -> tuple[GpuTarget, ...]:
    """All presets of GPUs, by name."""
    return tuple(_target(name, table) for name, table in read_presets(CUDA))


def gpu_target(spec: str) -> GpuTarget | None:
    """The target that ``cuda``, ``cuda:sm_80,sm_90`` or a preset's name means; None for what is no GPU.

    Raises
    ------
    TenfoldError
        An architecture is unknown.
    """
    presets = {preset.name: preset for preset in gpu_presets()}
    if spec in presets:
        return presets[spec]
    kind, colon, archs = spec.partition(":")
    if kind != CUDA:
        return None
    if colon:
        return _of_archs(spec, archs.split(","))
    here = gpus()
    if here:
        return _of_gpu(here[0])
    default = presets[DEFAULT]
    return replace(default, name=CUDA, features=with_ptx(DEFAULT), model=_portable(default))


def target_of_gpu(index: int) -> GpuTarget | None:
    """A GPU of this machine as a target, by the driver's count; None where there is none of that number."""
    here = gpus()
    return _of_gpu(here[index]) if index < len(here) else None


def known_archs() -> dict[str, GpuTarget]:
    """The architectures that there are presets of, the oldest first."""
    return {preset.archs[0]: preset for preset in sorted(gpu_presets(), key=lambda preset: capability_of(preset.archs[0]))}


def _of_archs(spec: str, archs: list[str]) -> GpuTarget:
    known = known_archs()
    for arch in archs:
        if arch not in known:
            raise TenfoldError(f"target {spec}: unknown architecture {arch!r}: it is one of {', '.join(known)}")
    ordered = sorted(set(archs), key=capability_of)
    first = known[ordered[0]]
    return replace(first, name=spec, features=with_ptx(*ordered), description="", model=_portable(first))


def _portable(oldest: GpuTarget) -> GpuModel:
    """The figures of an architecture, for code that newer ones run, too: a block has no more shared memory than with any of them."""
    first = capability_of(oldest.archs[0])
    least = min(target.model.shared_block_bytes for arch, target in known_archs().items() if capability_of(arch) >= first)
    return replace(oldest.model, shared_block_bytes=least)


def _of_gpu(gpu: Gpu) -> GpuTarget:
    """A GPU that is there: its architecture's preset with its own figures; of a newer architecture, what it can run of the newest."""
    known = known_archs()
    older = [arch for arch in known if capability_of(arch) <= capability_of(gpu.arch)]
    if not older:
        raise TenfoldError(f"{gpu.name} is {gpu.arch}: the oldest architecture that CUDA 13 compiles for is {next(iter(known))}")
    preset = known[older[-1]]
    figures = {"sms": gpu.sms, "clock_ghz": gpu.clock_ghz, "l2_bytes": gpu.l2_bytes,
               "memory_bytes_per_cycle": gpu.memory_bytes_per_second / gpu.clock_ghz / 1e9}
    known_figures: dict[str, Any] = {name: value for name, value in figures.items() if value}
    features = preset.features if gpu.arch in known else with_ptx(*preset.archs)
    return replace(preset, name=CUDA, description=gpu.name, features=features, model=replace(preset.model, **known_figures))


def _target(name: str, table: dict[str, Any]) -> GpuTarget:
    figures = dict(table["model"])
    for given, field in (("l2_kib", "l2_bytes"), ("shared_kib", "shared_bytes"), ("shared_block_kib", "shared_block_bytes")):
        figures[field] = figures.pop(given) << 10
    figures["memory_bytes_per_cycle"] = figures.pop("memory_gb_per_second") / figures["clock_ghz"]
    model = GpuModel(**figures)
    arch = table["archs"][0]
    return GpuTarget(name=name, tvm=tvm_target(arch, model), features=tuple(table["archs"]), description=table["description"], model=model)
