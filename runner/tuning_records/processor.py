"""Which processor a record is of: what the code may use, and what the processor calls itself."""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...targets import detection
from ...targets.cuda_driver import gpus
from ...targets.gpu_target import CUDA, GpuTarget
from ..devices.device import HERE

if TYPE_CHECKING:
    from ...targets import Target
    from ..devices.device import Device

LONGEST_NAME = 60  # characters of the name of a file


@dataclass(frozen=True)
class Processor:
    """A CPU or a GPU, as records name it.

    Attributes
    ----------
    name : str
        The compiler's name of its kind: LLVM's ``mcpu`` of a CPU, which stands for its family and model; the architecture of a GPU. Logs
        lie in a folder of this name.
    instruction_set : str
        As in a manifest: ``x86_64``, ``aarch64``, ``cuda``.
    features : tuple of str
        What the code may use, as in a manifest, sorted.
    model : str
        What it calls itself, such as ``AMD EPYC 7R13 Processor``; where that is not known, the description of the target.
    """

    name: str
    instruction_set: str
    features: tuple[str, ...]
    model: str

    @classmethod
    def of(cls, target: Target, device: Device | None = None) -> Processor:
        """Return what runs code for a target.

        Parameters
        ----------
        target : Target
        device : Device, optional
            That runs it. Without one, and under emulation, the target's description is all that is known.
        """
        name = str(target.tvm.get("mcpu") or target.tvm.get("arch") or target.name)
        model = _model(target, device) or target.description or target.name
        return cls(_slug(name), target.instruction_set, tuple(sorted(target.features)), model)

    def file_name(self, cores: int) -> str:
        """Return the name of the file of its records."""
        return f"{_slug(self.model).lower()[:LONGEST_NAME].strip('-') or 'processor'}-{cores}.jsonl"

    def to_json(self) -> dict[str, Any]:
        """Return it as a record has it."""
        return {
            "name": self.name, "instruction_set": self.instruction_set, "features": list(self.features), "cpu_model": self.model,
        }  # fmt: skip


def _model(target: Target, device: Device | None) -> str:
    is_gpu = isinstance(target, GpuTarget)
    there = getattr(device, "target", None)  # of a device that tells what it is: a remote one
    if there is not None:
        return "" if is_gpu else there.description
    if device is None or device.name.partition(":")[0] not in (HERE, CUDA):
        return ""
    if not is_gpu:
        return detection.cpu_model()
    found, number = gpus(), getattr(device, "gpu", None) or 0
    return found[number].name if number < len(found) else ""


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")
