"""A CPU to compile for, and the figures that schedules choose their tiles by."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..support.errors import TenfoldError
from .architectures import Architecture, architecture_of
from .cpu_model import CpuModel
from .target import BFLOAT16, CPU_PRECISIONS, FLOAT16, FLOAT32, SPELLINGS, TF32, Target

# By instruction set: the flag of /proc/cpuinfo without which a precision is refused, and what people call it.
BFLOAT16_FLAGS = {"x86_64": ("avx512_bf16", "AVX-512 BF16"), "aarch64": ("bf16", "BFloat16 instructions")}
FLOAT16_FLAGS = {"x86_64": ("f16c", "F16C")}


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
    stored : str
        How weights that are read once lie in memory: float32, or ``float16`` or ``bfloat16`` where these hold them exactly. Where that is
        the precision, too, weights are rounded to it.
    """

    vector_bits: int
    vector_registers: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    model: CpuModel = field(default=CpuModel(), repr=False)
    plain_weights: bool = field(default=False, repr=False)
    stored: str = field(default=FLOAT32, repr=False)

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

    def with_precision(self, precision: str) -> CpuTarget:
        """Return the CPU for bfloat16 operands, where it has instructions for them, or with float16 weights in memory; see `Target`."""
        precision = FLOAT16 if precision in SPELLINGS else precision
        if precision == TF32:
            raise TenfoldError(f"precision {TF32} is of GPUs, {self.name} is a CPU: take {BFLOAT16}, {FLOAT16} or {FLOAT32}")
        if precision not in (FLOAT32, *CPU_PRECISIONS):
            raise TenfoldError(f"precision must be one of {', '.join((FLOAT32, *CPU_PRECISIONS))} for a CPU such as {self.name},"
                               f" not {precision!r}")
        flag, title = {BFLOAT16: BFLOAT16_FLAGS, FLOAT16: FLOAT16_FLAGS}.get(precision, {}).get(self.instruction_set, ("", ""))
        if flag and flag not in self.features:
            instead = f"{FLOAT16}, of weights in memory" if precision == BFLOAT16 else FLOAT32
            raise TenfoldError(f"precision {precision}: target {self.name} lacks {title} ({flag}): take {instead}")
        return replace(self, precision=precision, stored=precision)

    def with_stored(self, dtype: str) -> CpuTarget:
        """Return the CPU with weights in memory that are `dtype`, where it can widen them; the CPU as it is where it can't."""
        flag, _ = FLOAT16_FLAGS.get(self.instruction_set, ("", "")) if dtype == FLOAT16 else ("", "")
        known = dtype in CPU_PRECISIONS and (not flag or flag in self.features)
        return replace(self, stored=dtype) if known and self.precision == FLOAT32 else self

    def with_plain_weights(self) -> CpuTarget:
        """Return the CPU for kernels that keep weights as they are."""
        return replace(self, plain_weights=True)

    def with_cores(self, cores: int) -> CpuTarget:
        """Return the CPU with another number of cores."""
        return replace(self, cores=cores, tvm={**self.tvm, "num-cores": cores})
