"""Tests on a machine that counts as another one: TENFOLD_TEST_HOST=zen3 pytest, or =zen3:8 for eight cores.

`resolve("host")` then means the preset's vectors, registers and caches, and thereby its schedules; LLVM is told to leave out what this CPU
can't do, so that the code runs here whatever the preset. A test that holds only for the model of one machine fails under another.
"""
from __future__ import annotations

import functools
import os
from dataclasses import replace

from tenfold import targets
from tenfold.targets import CpuTarget, cpu_registry, detection, resolve_cpu
from tenfold.targets.host import choose
from tenfold.targets.llvm import cpu_features

VARIABLE = "TENFOLD_TEST_HOST"


def force_from_environment() -> None:
    """Take the model from the variable, where it is set. Before a test file is imported: many ask for the host as they are."""
    spec = os.environ.get(VARIABLE)
    if not spec:
        return
    name, _, cores = spec.partition(":")
    if cores:
        # Presets have as many cores as this machine: as the other one, then. What runs still counts the real ones.
        cpu_registry.physical_cores = lambda: int(cores)
        cpu_registry.cpu_presets.cache_clear()
    targets.detect_host = functools.cache(lambda: as_host(resolve_cpu(name)))


def named(name: str, cores: int = 2) -> CpuTarget:
    """A preset with a number of cores, for tests of what a schedule looks like: presets have as many as this machine otherwise."""
    preset = resolve_cpu(name)
    return replace(preset, cores=cores, tvm={**preset.tvm, "num-cores": cores})


def model(name: str, cores: int = 2) -> CpuTarget:
    """The same with code that runs on this machine."""
    return as_host(named(name, cores))


def as_host(preset: CpuTarget) -> CpuTarget:
    """A preset's model with code that runs on this machine."""
    asked = {key: value for key, value in preset.tvm.items() if key != "mattr"}
    mcpu, mattr = choose(asked["mcpu"], cpu_features(asked), detection.cpu_flags())
    tvm = {**asked, "mcpu": mcpu, **({"mattr": mattr} if mattr else {})}
    return replace(preset, name="host", tvm=tvm, features=preset.architecture.flags_of(cpu_features(tvm)))
