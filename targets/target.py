"""What a device is to the compiler: the TVM target, and what every kind of device has; `CpuTarget` and `GpuTarget` say more."""
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .light_import import import_tvm

if TYPE_CHECKING:
    from tvm.target import Target as TvmTarget


FLOAT32, TF32, FP16 = PRECISIONS = ("float32", "tf32", "fp16")  # of the operands of products on GPUs; sums are float32
BFLOAT16, FLOAT16 = CPU_PRECISIONS = ("bfloat16", "float16")  # on CPUs, besides float32
SPELLINGS = {FP16, FLOAT16}  # of one type of numbers
INT8 = "int8"  # of quantized layers, whatever the target's precision is; sums are integers


@dataclass(frozen=True, eq=False, kw_only=True)
class Target(ABC):
    """A device to compile for.

    Attributes
    ----------
    name : str
        What tables and manifests call it.
    tvm : dict
        The TVM target in dict form.
    cores : int
        Of a CPU: physical cores, and the threads that an artifact uses by default. Of a GPU: 1, the thread that launches.
    precision : str
        Of the operands of products, or of weights in memory: one of `PRECISIONS`, of a CPU one of `CPU_PRECISIONS` or float32.
    features : tuple of str
        What the device must be able to do to run the code: flags of ``/proc/cpuinfo``, or architectures of a GPU of which it is one.
    description : str
        One line for the list of presets.
    """

    name: str
    tvm: dict[str, Any]
    cores: int
    precision: str = field(default=FLOAT32, repr=False)
    features: tuple[str, ...] = field(default=(), repr=False)
    description: str = field(default="", repr=False)

    @property
    @abstractmethod
    def instruction_set(self) -> str:
        """What manifests call the instruction set: ``x86_64``, ``aarch64``, ``cuda``."""

    @property
    @abstractmethod
    def lanes(self) -> int:
        """float32 numbers that kernels compute side by side: channels in between cost as much."""

    @property
    @abstractmethod
    def rank_multiple(self) -> int:
        """Ranks of factored layers are rounded to multiples of this."""

    @abstractmethod
    def with_cores(self, cores: int) -> Target:
        """Return the device with another number of cores."""

    @abstractmethod
    def with_precision(self, precision: str) -> Target:
        """Return the device with operands of products of another precision.

        Parameters
        ----------
        precision : str
            One of `PRECISIONS` or `CPU_PRECISIONS`. ``fp16`` and ``float16`` are one.

        Raises
        ------
        TenfoldError
            There is none of this name, or the device does not have it.
        """

    def tvm_target(self) -> TvmTarget:
        """The TVM target object (imports TVM)."""
        return import_tvm().target.Target(self.tvm)
