"""What a device is: the TVM target to compile for, and the figures that schedules choose their tiles by."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .architectures import Architecture, architecture_of
from .cpu_model import CpuModel
from .light_import import import_tvm

if TYPE_CHECKING:
    from tvm.target import Target as TvmTarget


@dataclass(frozen=True, eq=False)
class Target:
    """A device to compile for.

    Attributes
    ----------
    name : str
        What tables and manifests call it.
    tvm : dict
        The TVM target in dict form, ``num-cores`` included.
    vector_bits, vector_registers : int
        Width of a vector register in bits, and how many of them there are.
    cores : int
        Physical cores; also the number of threads that an artifact uses by default.
    l1_bytes, l2_bytes, l3_bytes : int
        Data caches of one core (L3: of the cores that share it); 0 where unknown.
    features : tuple of str
        What the CPU must be able to do to run the code, as flags of ``/proc/cpuinfo``.
    description : str
        One line for the list of presets.
    model : CpuModel
        What a core does in a cycle.
    """

    name: str
    tvm: dict[str, Any]
    vector_bits: int
    vector_registers: int
    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    features: tuple[str, ...] = field(default=(), repr=False)
    description: str = field(default="", repr=False)
    model: CpuModel = field(default=CpuModel(), repr=False)

    @property
    def architecture(self) -> Architecture:
        """Its instruction set."""
        return architecture_of(self.tvm)

    @property
    def lanes(self) -> int:
        """float32 numbers in one vector register."""
        return self.vector_bits // 32

    @property
    def rank_multiple(self) -> int:
        """Ranks of factored layers are rounded to multiples of this, because a rank is a number of channels.

        A register tile is two vectors of 8 channels wide, or one or two of 16: other numbers leave part of the last tile idle.
        """
        return max(16, self.lanes)

    def tvm_target(self) -> TvmTarget:
        """The TVM target object (imports TVM)."""
        return import_tvm().target.Target(self.tvm)
