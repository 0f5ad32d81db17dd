"""The instructions that CPUs have for products of bytes.

    CPU                              product of a vector and four channels                                   bytes are
    AVX-512 VNNI, AVX-VNNI           vpdpbusd                                                                unsigned x signed
    AVX-512, AVX2                    vpmaddwd on bytes widened to 16 bits, twice, and their additions        unsigned x signed
    Armv8.2 with dot products        sdot, by one of the four lanes of a register                            signed x signed
    Armv8                            smull and smlal in 16 bits, and sadalp, which adds pairs in 32 bits     signed x signed

None of them saturates, and no sum leaves its bits. Of signed bytes, two products fit into 16 bits but for 128 * 128 + 128 * 128: where
there is a weight of -128, each product is added in 32 bits.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import ir, tirx

from ...tir.dot_products import DEPTH, Dot, in_each_lane

LOW_BYTES = 0x00FF00FF


@dataclass(frozen=True)
class Vnni(Dot):
    """``vpdpbusd``, of so many bits."""

    bits: int
    signed = False
    spare = 0
    per_step = 1

    @property
    def lanes(self) -> int:
        return self.bits // 32

    def __call__(self, acc: ir.Expr, values: ir.Expr, four: int, w: ir.Expr) -> ir.Expr:
        # The name is that of AVX-512; with 256 bits LLVM takes the instruction of AVX-VNNI where there is no AVX-512.
        name, same = f"llvm.x86.avx512.vpdpbusd.{self.bits}", in_each_lane(values, four, "int32", self.lanes)
        return tirx.call_llvm_pure_intrin(f"int32x{self.lanes}", name, acc, tirx.reinterpret(f"uint8x{DEPTH * self.lanes}", same), w)


@dataclass(frozen=True)
class Widened(Dot):
    """``vpmaddwd`` on bytes that are widened to 16 bits, of so many bits."""

    bits: int
    signed = False
    spare = 3
    per_step = 4

    @property
    def lanes(self) -> int:
        return self.bits // 32

    def __call__(self, acc: ir.Expr, values: ir.Expr, four: int, w: ir.Expr) -> ir.Expr:
        lanes = self.lanes
        short = f"int16x{2 * lanes}"
        name = "llvm.x86.avx2.pmadd.wd" if self.bits == 256 else "llvm.x86.avx512.pmaddw.d.512"
        eight, weights = tirx.Broadcast(tirx.const(8, "int16"), 2 * lanes), tirx.reinterpret(short, w)
        same = in_each_lane(values, four, "int32", lanes)
        low = tirx.reinterpret(short, same & tirx.Broadcast(tirx.const(LOW_BYTES, "int32"), lanes))
        high = tirx.reinterpret(short, tirx.reinterpret(f"u{short}", same) >> tirx.Broadcast(tirx.const(8, "uint16"), 2 * lanes))
        for factors, weight in ((low, (weights << eight) >> eight), (high, weights >> eight)):
            acc = acc + tirx.call_llvm_pure_intrin(f"int32x{lanes}", name, factors, weight)
        return acc


@dataclass(frozen=True)
class NeonDot(Dot):
    """``sdot``: a register has the values of sixteen channels, and each of its lanes four of them."""

    lanes = 4
    signed = True
    spare = 0
    per_step = 1
    fours = 4

    def __call__(self, acc: ir.Expr, values: ir.Expr, four: int, w: ir.Expr) -> ir.Expr:
        same = tirx.reinterpret("int8x16", in_each_lane(values, four, "int32", self.lanes))
        return tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sdot", acc, w, same)


@dataclass(frozen=True)
class Neon(Dot):
    """``smull`` and ``sadalp``, of each half of a vector.

    Weights of the filters a to d lie by pairs of channels, so that both halves add to the same accumulators:

        w    a0 a1 b0 b1 c0 c1 d0 d1 | a2 a3 b2 b3 c2 c3 d2 d3
        x     0  1  0  1  0  1  0  1 |  2  3  2  3  2  3  2  3

    With `adds_halves` ``smlal`` adds the products of both halves in 16 bits. They hold two products, unless all four bytes are -128.
    """

    adds_halves: bool = False
    lanes = 4
    signed = True
    spare = 7  # products of several vectors are under way
    per_step = 2

    def place(self, lane: Any, k: Any) -> Any:
        return lane // 4 * 16 + k // 2 * 8 + lane % 4 * 2 + k % 2

    def adding(self, halves: bool) -> Neon:
        return replace(self, adds_halves=halves)

    def __call__(self, acc: ir.Expr, values: ir.Expr, four: int, w: ir.Expr) -> ir.Expr:
        low = self._products(values, 2 * four, tirx.vectorlow("int8x8", w))
        high = self._products(values, 2 * four + 1, tirx.vectorhigh("int8x8", w))
        for products in (low + high,) if self.adds_halves else (low, high):
            acc = acc + tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp", products)
        return acc

    def _products(self, values: ir.Expr, pair: int, w: ir.Expr) -> ir.Expr:
        same = tirx.reinterpret("int8x8", in_each_lane(values, pair, "int16", self.lanes))
        return tirx.call_llvm_pure_intrin("int16x8", "llvm.aarch64.neon.smull", w, same)
