"""A GPU to compile for: its architectures, and the figures that schedules choose their tiles by."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..support.errors import TenfoldError
from .gpu_model import GpuModel
from .target import FLOAT16, FP16, PRECISIONS, SPELLINGS, TF32, Target

CUDA = "cuda"
WARP = 32  # threads
MOST_THREADS = 1024  # of a block


@dataclass(frozen=True, eq=False, kw_only=True)
class GpuTarget(Target):
    """GPUs of one or several architectures.

    `features` names what an artifact holds: machine code (``sm_80``), the architecture that `model` describes first, and PTX
    (``compute_80``), which drivers translate for GPUs that are newer.

    Attributes
    ----------
    model : GpuModel
        What the GPU does in a cycle.
    """

    cores: int = 1
    model: GpuModel = field(repr=False)

    @property
    def instruction_set(self) -> str:
        """What manifests call it."""
        return CUDA

    @property
    def archs(self) -> tuple[str, ...]:
        """The architectures that it has machine code for."""
        return tuple(feature for feature in self.features if feature.startswith("sm_"))

    @property
    def ptx(self) -> bool:
        """Whether it has PTX, too."""
        return len(self.archs) < len(self.features)

    @property
    def lanes(self) -> int:
        """float32 numbers that kernels compute side by side: a thread has at least so many filters."""
        return 4

    @property
    def rank_multiple(self) -> int:
        """Ranks of factored layers are rounded to multiples of this: a warp reads so many channels at a time without waste."""
        return 16

    def with_cores(self, cores: int) -> GpuTarget:
        """Refuse: kernels of a GPU have their threads from their schedules."""
        raise TenfoldError(f"threads are for CPUs: leave --threads out for target {self.name}")

    def with_precision(self, precision: str) -> GpuTarget:
        """Return the GPU with operands of another precision on its tensor cores; see `Target`."""
        precision = FP16 if precision in SPELLINGS else precision
        if precision not in PRECISIONS:
            known = f"{', '.join(PRECISIONS)} (also called {FLOAT16})"
            raise TenfoldError(f"precision must be one of {known} for a GPU such as {self.name}, not {precision!r}")
        if precision == TF32 and not self.model.tensor_fma_per_cycle:
            oldest = min(self.archs, key=capability_of)
            raise TenfoldError(f"target {self.name}: tensor cores of {oldest} have no {TF32}: take precision {FP16}")
        return replace(self, precision=precision)


def capability_of(arch: str) -> int:
    """The number of an architecture, by which they are older and newer: 80 of ``sm_80``."""
    return int(arch.rpartition("_")[2])


def with_ptx(*archs: str) -> tuple[str, ...]:
    """The features of an artifact with machine code for some architectures, and PTX of the oldest."""
    return (*archs, min(archs, key=capability_of).replace("sm_", "compute_"))


def tvm_target(arch: str, model: GpuModel) -> dict[str, object]:
    """The TVM target in dict form of one architecture."""
    return {
        "kind": CUDA,
        "arch": arch,
        "max_threads_per_block": MOST_THREADS,
        "max_shared_memory_per_block": model.shared_block_bytes,
        "thread_warp_size": WARP,
        "registers_per_block": model.registers,
    }
