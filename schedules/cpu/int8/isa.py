"""The instructions that a CPU has for products of bytes, and what the model of the machine makes of them."""
from __future__ import annotations

from dataclasses import replace

from ....targets import CpuTarget
from ....targets.architectures import AARCH64
from ...tir.dot_products import DEPTH, Dot
from ...tir.pair_products import PairDot
from ..conv2d.cost import fits_registers
from .instructions import Neon, NeonDot, Vnni, Widened

PAIRS = {"x86_64": ("avx512_bf16", "vdpbf16ps"), "aarch64": ("bf16", "bfdot")}  # by instruction set: the flag, and the instruction
PAIR_LATENCY = 6  # cycles of vdpbf16ps, measured on Zen 5; as often as a multiply-add of float32


def dot_of(target: CpuTarget) -> Dot | None:
    """Return the instructions of a target; None of an x86-64 CPU without AVX2."""
    flags, bits = set(target.features), target.vector_bits
    if target.architecture is AARCH64:
        return NeonDot() if "asimddp" in flags else Neon()
    if bits < 256:
        return None
    return Vnni(bits) if ("avx512_vnni" if bits == 512 else "avx_vnni") in flags else Widened(bits)


def pair_dot_of(target: CpuTarget) -> PairDot | None:
    """Return the instruction of a target for products of bfloat16; None for a CPU without."""
    flag, instruction = PAIRS[target.instruction_set]
    found = PairDot(instruction)
    return found if flag in target.features and found.bits == target.vector_bits else None


def as_float32(target: CpuTarget, dot: Dot) -> CpuTarget:
    """Return the target with the figures by which a step of four channels of bytes, or two of bfloat16, costs what one of float32 costs.

    Four channels of bytes are as large as one of float32, and a vector of their weights is as large as one of float32. What differs are the
    registers: a broadcast needs one, unless an instruction takes a lane. The operand that instructions read from memory is that of the
    weights.
    """
    if isinstance(dot, PairDot):
        return replace(target, model=replace(target.model, memory_operand=False, fma_latency=PAIR_LATENCY))
    rate = target.model.fma_per_cycle / dot.per_step
    model = replace(target.model, memory_operand=False, lane_operand=dot.fours > 1, fma_per_cycle=rate)
    return replace(target, model=model, vector_registers=target.vector_registers - dot.spare)


def fits(pixels: int, vectors: int, target: CpuTarget, dot: Dot) -> bool:
    """Whether the registers hold a tile.

    Parameters
    ----------
    pixels, vectors : int
        Of the tile.
    target : CpuTarget
        As `as_float32` makes it.
    dot : Dot
        Where it takes lanes, each pixel keeps a register with several fours of its channels.
    """
    held = 1 if dot.fours > 1 else None  # in float32, an image of few channels
    return fits_registers(pixels, vectors, target, held)


def depth(channels: int, each: int = DEPTH) -> int:
    """Steps for so many channels, of which one takes `each`."""
    return -(-channels // each)
