"""Products of two bfloat16 numbers each, as the instructions that x86 and Arm have for them; and how float32 becomes bfloat16.

A bfloat16 number is the upper half of a float32 one. Memory holds it as ``uint16``, since TVM computes on its own type in another way. The
instructions are called by functions in LLVM's language, since TVM has no vector of LLVM's bfloat.

    acc[lane] += x[0] * w[2 * lane] + x[1] * w[2 * lane + 1]

Products are exact in float32. ``vdpbf16ps`` adds them one after the other, each sum rounded to nearest, denormals as 0. ``bfdot`` adds both
products, rounded to odd, and then the accumulator.
"""
from __future__ import annotations

from dataclasses import dataclass

from tvm import ir, tirx

from .dot_products import Dot, in_each_lane

HALF = "uint16"                    # holds the bits of a bfloat16
ROUND = "tenfold_round_bfloat16"   # what `rounded` calls until `vector_math` writes it out: it reads its value twice
INSTRUCTIONS = {
    "vdpbf16ps": ("llvm.x86.avx512bf16.dpbf16ps.512", 512),
    "bfdot": ("llvm.aarch64.neon.bfdot.v4f32.v8bf16", 128),
}


@dataclass(frozen=True)
class PairDot(Dot):
    """The instruction that adds two products of bfloat16 to each float32 accumulator of a vector.

    Attributes
    ----------
    instruction : str
        One of `INSTRUCTIONS`.
    """

    instruction: str
    depth = 2
    signed = True
    spare = 0
    per_step = 1

    @property
    def bits(self) -> int:
        """Of a vector."""
        return INSTRUCTIONS[self.instruction][1]

    @property
    def lanes(self) -> int:
        """Accumulators in a vector."""
        return self.bits // 32

    @property
    def source(self) -> str:
        """What calls the instruction, in LLVM's language."""
        intrinsic, lanes = INSTRUCTIONS[self.instruction][0], self.lanes
        sums, halves, numbers = f"<{lanes} x float>", f"<{2 * lanes} x i16>", f"<{2 * lanes} x bfloat>"
        return f"""
define linkonce_odr {sums} @tenfold_{self.instruction}({sums} %acc, {halves} %x, {halves} %w) alwaysinline {{
  %first = bitcast {halves} %w to {numbers}
  %second = bitcast {halves} %x to {numbers}
  %sum = call {sums} @{intrinsic}({sums} %acc, {numbers} %first, {numbers} %second)
  ret {sums} %sum
}}
declare {sums} @{intrinsic}({sums}, {numbers}, {numbers})
"""

    def __call__(self, acc: ir.Expr, values: ir.Expr, four: int, w: ir.Expr) -> ir.Expr:
        """Return the new accumulators, as `Dot` says."""
        pair = tirx.reinterpret(f"{HALF}x{2 * self.lanes}", in_each_lane(values, four, "int32", self.lanes))
        return tirx.call_pure_extern(f"float32x{self.lanes}", f"tenfold_{self.instruction}", acc, pair, w)


def widened(half: ir.Expr) -> ir.Expr:
    """Return a bfloat16, given as uint16, as float32."""
    return tirx.reinterpret("float32", half.astype("uint32") << tirx.const(16, "uint32"))


def rounded(value: ir.Expr) -> ir.Expr:
    """Return a float32 as the nearest bfloat16, as uint16; halves go to the even one, and what is too large to infinity."""
    return tirx.call_pure_extern(HALF, ROUND, value)


def rounded_bits(value: ir.Expr) -> ir.Expr:
    """Return what `rounded` stands for. The NaN that arithmetic gives stays NaN."""
    bits = tirx.reinterpret("uint32", value)
    odd = (bits >> tirx.const(16, "uint32")) & tirx.const(1, "uint32")
    return ((bits + tirx.const(0x7FFF, "uint32") + odd) >> tirx.const(16, "uint32")).astype(HALF)
