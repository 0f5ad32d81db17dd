"""The machine and the software that numbers were measured with."""
from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from ...runtime.artifact import Artifact
from ...runtime.cuda.machine import GpuMachine
from ...targets import detection
from ...targets.architectures import ARCHITECTURES, X86_64, this_architecture
from ...targets.cuda_driver import driver
from ..devices.device import Device
from ..devices.remote import Remote
from .engines import ENGINES


def describe_device(device: Device) -> dict[str, Any]:
    """The same of a device elsewhere, as far as it is known. Versions are those of what compiled."""
    machine = describe_machine(())
    known = dict.fromkeys(machine) | {name: machine[name] for name in ("versions", "python")}
    known |= {"cpu": device.describe(), "physical_cores": device.cores}
    if isinstance(device, Remote):
        target = device.target
        caches = {"l1": target.l1_bytes, "l2": target.l2_bytes, "l3": target.l3_bytes}
        known |= {"vector_bits": target.vector_bits, "cache_bytes": caches}
    return known


def describe_gpu(artifacts: Iterable[Artifact], precision: str) -> dict[str, Any]:
    """The GPU that networks ran on, its driver, and the precision of rivals."""
    gpus = {machine.gpu for artifact in artifacts if isinstance(machine := artifact.machine, GpuMachine)}
    names = sorted(f"{gpu.name} ({gpu.arch})" for gpu in gpus)
    return {"name": ", ".join(names), "driver": f"CUDA {driver().version}", "precision": precision}


def describe_machine(engines: Iterable[str]) -> dict[str, Any]:
    """What the tables of a comparison say of where they come from."""
    l1, l2, l3 = detection.caches()
    here = next((each for each in ARCHITECTURES if each.name == this_architecture()), X86_64)
    bits, _ = here.vectors(detection.cpu_flags())
    versions = {name: ENGINES[name].version() for name in dict.fromkeys(["tenfold", *engines])}
    return {
        "cpu": detection.cpu_model(),
        "physical_cores": detection.physical_cores(),
        "logical_cpus": os.cpu_count(),
        "vector_bits": bits,
        "cache_bytes": {"l1": l1, "l2": l2, "l3": l3},
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {**versions, "tvm": metadata.version("apache-tvm")},
    }
