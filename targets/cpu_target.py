"""A CPU to compile for, and the figures that schedules choose their tiles by."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

from .architectures import Architecture, architecture_of
from .cpu_model import CpuModel
from .target import Target


@dataclass(frozen=True, eq=False, kw_only=True)
class CpuTarget(Target):
    """A CPU; ``tvm`` includes ``num-cores``.

    Attributes
    ----------
    vector_bits, vector_registers : int
        Width of a vector register in bits, and how many of them there are.
    l1_bytes, l2_bytes, l3_bytes : int
        Data caches of one core (L3: of the cores that share it); 0 where unknown.
    model : CpuModel
        What a core does in a cycle.
    plain_weights : bool
        Whether kernels must keep weights as they are, in any order: none of Winograd's, whose weights are other numbers.
    """

    vector_bits: int
    vector_registers: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    model: CpuModel = field(default=CpuModel(), repr=False)
    plain_weights: bool = field(default=False, repr=False)

    @property
    def architecture(self) -> Architecture:
        """Its instruction set."""
        return architecture_of(self.tvm)

    @property
    def instruction_set(self) -> str:
        """What manifests call it."""
        return self.architecture.name

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

    def with_plain_weights(self) -> CpuTarget:
        """Return the CPU for kernels that keep weights as they are."""
        return replace(self, plain_weights=True)

    def with_cores(self, cores: int) -> CpuTarget:
        """Return the CPU with another number of cores."""
        return replace(self, cores=cores, tvm={**self.tvm, "num-cores": cores})
