"""`tenfold.doctor`: what this machine can compile for, run, emulate and reach, and what it lacks."""
from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...support.cache_folder import cache_folder
from ...support.progress import Progress, reporter
from . import checks
from .health import Cache, Finding, Health

KEY_PACKAGES = ("tenfold", "apache-tvm", "numpy", "onnx", "onnxruntime", "openvino", "torch")
CACHE_SECONDS = 1.0  # to count what is in the cache
Value = TypeVar("Value")


def doctor(device: str | None = None, *, progress: Progress | None = None) -> Health:
    """Look at this machine. What is missing is a finding, not an error.

    Parameters
    ----------
    device : str, optional
        Another one to reach, as of ``--device``. A tracker is asked who is registered; no device is taken.
    progress : callable, optional
        Called with a few words when a step begins.
    """
    say = reporter(progress)
    findings: list[Finding] = []
    for step, look in (
        ("looking for compilers", checks.compiling), ("looking at this machine", checks.running),
        ("looking for emulators", checks.emulating), ("looking for packages", checks.packages),
    ):  # fmt: skip
        say(step)
        findings.extend(look())
    if device is not None:
        say(f"reaching {device}")
        findings.append(checks.reaching(device))
    say("measuring the machine's peak")
    peak = _or_none(_peak)
    say("looking at the cache")
    return Health(_or_none(_machine) or {}, _versions(findings), tuple(findings), peak, _cache(cache_folder()))


def _or_none(ask: Callable[[], Value]) -> Value | None:
    """What it returns; None where it fails: the findings say what is missing."""
    try:
        return ask()
    except Exception:
        return None


def _peak() -> float | None:
    from ...targets.detection import physical_cores
    from ..bench.peak import host_peak

    return host_peak(physical_cores())


def _machine() -> dict[str, Any]:
    from ..bench.environment import describe_machine

    known = describe_machine(())
    return {name: value for name, value in known.items() if name not in ("python", "versions")} | {"architecture": platform.machine()}


def _versions(findings: list[Finding]) -> dict[str, str]:
    known = {name: checks.version_of_package(name) for name in KEY_PACKAGES}
    versions = {"Python": platform.python_version()} | {name: version for name, version in known.items() if version is not None}
    if llvm := _or_none(_llvm):
        versions["LLVM of TVM"] = llvm
    return versions | {finding.tool: finding.version for finding in findings if finding.tool}


def _llvm() -> str:
    from ...targets.light_import import import_tvm

    return str(import_tvm().target.codegen.llvm_version_major())


def _cache(folder: Path) -> Cache:
    """Count its files, for a second at most."""
    files = size = 0
    end = time.monotonic() + CACHE_SECONDS
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(place, name)).st_size
                files += 1
            except OSError:  # gone meanwhile
                continue
        if time.monotonic() > end:
            return Cache(str(folder), files, size, whole=False)
    return Cache(str(folder), files, size)
