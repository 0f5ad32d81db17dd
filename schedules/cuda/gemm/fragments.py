"""What a warp's matrix instruction reads and adds up, as CUDA C and as tensor intrinsics, in TF32, in float16 and on bytes.

A lane of a warp (four lanes `t` for each of eight `g`) has 2 x 2 of the 8 x 16 results, and reads its operands as vectors of 16 bytes:

    weights     the instruction's first operand: 16 filters x 16 terms, packed in the order in which lanes hold them, and rounded
    patches     its second operand: 8 rows x 16 terms; a lane reads four terms of row `g`, one of lane `g / 2`'s own rows, and rounds

On bytes each of the 16 terms is a word of four, and nothing is rounded.
"""
from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np
from tvm import ir, te
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from ....targets.target import INT8, TF32
from .byte_fragments import describe_bytes
from .tensor_tile import TERMS, TensorTile

# Of a float the low 13 bits are not read. A factor of nearly one rounds in one instruction what `cvt.rna.tf32` rounds in four: it adds
# 0.36 to 0.72 of a step to what is cut off then, so that the mean of the errors is zero; their root mean square is 6 % above that of the
# nearest number. What TF32 holds stays as it is, as do NaN and infinities.
ROUNDING = np.float32(1 + 0.36 * 2.0**-10)
TF32_SOURCE = r"""
__forceinline__ __device__ float tenfold_tf32(float value) { return value * ROUNDING; }
__forceinline__ __device__ void tenfold_mma(float* c0, float* c1, float* c2, float* c3, float a0, float a1, float a2, float a3,
                                            float b0, float b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(*c0), "+f"(*c1), "+f"(*c2), "+f"(*c3)
      : "r"(__float_as_uint(a0)), "r"(__float_as_uint(a1)), "r"(__float_as_uint(a2)), "r"(__float_as_uint(a3)),
        "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}
__forceinline__ __device__ void tenfold_mma_tf32(float* c, float* w, float* x, int next, int row, int own) {
  const int lane = threadIdx.x & 31, t = lane & 3, g = lane >> 2;
  const float4 p = *(const float4*)(w + 4 * t), q = *(const float4*)(w + 128 + 4 * t);
  const float4 v = *(const float4*)(x + ((g >> 1) - t) * own * row + (g & 1) * row + 4 * t);
  tenfold_mma(c, c + next, c + 1, c + next + 1, p.x, p.y, p.z, p.w, tenfold_tf32(v.x), tenfold_tf32(v.y));
  tenfold_mma(c, c + next, c + 1, c + next + 1, q.x, q.y, q.z, q.w, tenfold_tf32(v.z), tenfold_tf32(v.w));
}
""".replace("ROUNDING", f"{float(ROUNDING).hex()}f")
FP16_SOURCE = r"""
__forceinline__ __device__ unsigned int tenfold_half2(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *(const unsigned int*)&pair;
}
__forceinline__ __device__ void tenfold_mma_fp16(float* c, half* w, float* x, int next, int row, int own) {
  const int lane = threadIdx.x & 31, t = lane & 3, g = lane >> 2;
  const uint4 p = *(const uint4*)(w + 8 * t);
  const float4 v = *(const float4*)(x + ((g >> 1) - t) * own * row + (g & 1) * row + 4 * t);
  const unsigned int low = tenfold_half2(v.x, v.y), high = tenfold_half2(v.z, v.w);
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(*c), "+f"(*(c + next)), "+f"(*(c + 1)), "+f"(*(c + next + 1))
      : "r"(p.x), "r"(p.y), "r"(p.z), "r"(p.w), "r"(low), "r"(high));
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(*c), "+f"(*(c + next)), "+f"(*(c + 1)), "+f"(*(c + next + 1)) : "r"(p.x), "r"(p.y), "r"(low));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(*c), "+f"(*(c + next)), "+f"(*(c + 1)), "+f"(*(c + next + 1)) : "r"(p.z), "r"(p.w), "r"(high));
#endif
}
"""


def tf32(values: np.ndarray) -> np.ndarray:
    """Round float32 numbers to TF32: ten bits behind the point of the mantissa, ties away from zero."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    finite = (bits & 0x7F800000) != 0x7F800000
    return np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).view(np.float32)


def tf32_patches(values: np.ndarray) -> np.ndarray:
    """What the instruction reads of float32 numbers of patches."""
    return ((np.asarray(values, np.float32) * ROUNDING).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def pack_fragments(weight: np.ndarray, groups: int, tile: TensorTile) -> np.ndarray:
    """Pack a weight (OIHW) as lanes of warps read it: rounded, in vectors of 16 bytes.

    Parameters
    ----------
    weight : ndarray
        (F, C / groups, KH, KW).
    groups : int
    tile : TensorTile
        Terms are filled up with zeros to whole steps of each split, filters to whole blocks.
    """
    filters, channels, height, width = weight.shape
    held = ceil(channels / tile.word_terms) * tile.word_terms
    own, terms = filters // groups, held * height * width
    padded_filters, step = ceil(own / tile.filters) * tile.filters, tile.depth * tile.splits * tile.word_terms
    matrix = np.zeros((groups, padded_filters, ceil(terms / step) * step), np.int8 if tile.precision == INT8 else np.float32)
    taps = matrix[:, :own, :terms].reshape(groups, own, height, width, held)
    taps[..., :channels] = weight.reshape(groups, own, channels, height, width).transpose(0, 1, 3, 4, 2)
    matrix[:, :own, :terms] = taps.reshape(groups, own, terms)
    # Filters: warp, g, pair, i; terms: step of the instruction, t, ks, kq, and of bytes those of a word.
    words = matrix.shape[2] // tile.word_terms
    pieces = matrix.reshape(groups, padded_filters // tile.warp_filters, 8, tile.thread_filters // 2, 2, words // TERMS, 4, 2, 2, -1)
    if tile.precision == INT8:
        return np.ascontiguousarray(pieces.transpose(0, 1, 5, 3, 7, 2, 6, 8, 4, 9))
    pieces = pieces[..., 0]
    if tile.precision == TF32:
        return np.ascontiguousarray(tf32(pieces).transpose(0, 1, 5, 3, 7, 2, 6, 8, 4))
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(pieces.transpose(0, 1, 5, 3, 2, 6, 7, 4, 8).astype(np.float16))


def term_product(weight: te.Tensor, tile: TensorTile, index: tuple[ir.Expr, ...], patch: ir.Expr) -> ir.Expr:
    """Return a weight times an element of a patch, of the precision of the tile."""
    g, f, kb, ks, kt, kq, *byte = index
    pair, group = f % tile.thread_filters // 2, f % tile.warp_filters // tile.thread_filters
    if tile.precision == TF32:
        return weight[g, f // tile.warp_filters, kb, pair, ks, group, kt, kq, f % 2] * patch
    if tile.precision == INT8:
        factor = weight[g, f // tile.warp_filters, kb, pair, ks, group, kt, kq, f % 2, byte[0]]
        return factor.astype("int32") * patch.astype("int32")
    value = weight[g, f // tile.warp_filters, kb, pair, group, kt, ks, f % 2, kq]
    return value.astype("float32") * patch.astype("float16").astype("float32")


@lru_cache
def intrinsic(precision: str, own: int) -> str:
    """Register the product of two rows and two filters of a lane, for lanes of so many rows; its name."""
    name = f"tenfold.mma.{precision}.{own}"
    describe, implement = {TF32: _tf32, INT8: describe_bytes}.get(precision, _fp16)(own)
    TensorIntrin.register(name, describe, implement, override=True)
    return name


def _tf32(own: int):  # type: ignore[no-untyped-def]
    source = TF32_SOURCE

    @T.prim_func(s_tir=True)
    def describe(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (2, 1, 4, 2, 2), "float32", offset_factor=4, scope="shared.dyn")
        B = T.match_buffer(b, (2, 4, 4), "float32", offset_factor=4, scope="shared.dyn")
        C = T.match_buffer(c, (2, 2), "float32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:2, 0:2], A[0:2, 0, 0:4, 0:2, 0:2], B[0:2, 0:4, 0:4])
            T.writes(C[0:2, 0:2])
            for j, i, ks, kt, kq in T.grid(2, 2, 2, 4, 2):
                with T.sblock("u"):
                    vj, vi, vs, vt, vq = T.axis.remap("SSRRR", [j, i, ks, kt, kq])
                    C[vj, vi] = C[vj, vi] + A[vs, 0, vt, vq, vi] * B[vj, vt, vs * 2 + vq]

    @T.prim_func(s_tir=True)
    def implement(a: T.handle, b: T.handle, c: T.handle) -> None:
        a0 = T.int32()
        a1 = T.int32()
        a2 = T.int32()
        a3 = T.int32()
        row = T.int32()
        few = T.int32()
        next_row = T.int32()
        A = T.match_buffer(a, (2, 1, 4, 2, 2), "float32", offset_factor=4, scope="shared.dyn", strides=[a0, a1, a2, a3, 1])
        B = T.match_buffer(b, (2, 4, 4), "float32", offset_factor=4, scope="shared.dyn", strides=[row, few, 1])
        C = T.match_buffer(c, (2, 2), "float32", offset_factor=1, scope="local", strides=[next_row, 1])
        with T.sblock("root"):
            T.reads(C[0:2, 0:2], A[0:2, 0, 0:4, 0:2, 0:2], B[0:2, 0:4, 0:4])
            T.writes(C[0:2, 0:2])
            T.evaluate(T.cuda.func_call("tenfold_mma_tf32", C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), next_row, row, own,
                                        source_code=source))

    return describe, implement


def _fp16(own: int):  # type: ignore[no-untyped-def]
    source = FP16_SOURCE

    @T.prim_func(s_tir=True)
    def describe(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (1, 4, 2, 2, 2), "float16", offset_factor=8, scope="shared.dyn")
        B = T.match_buffer(b, (2, 4, 4), "float32", offset_factor=4, scope="shared.dyn")
        C = T.match_buffer(c, (2, 2), "float32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:2, 0:2], A[0, 0:4, 0:2, 0:2, 0:2], B[0:2, 0:4, 0:4])
            T.writes(C[0:2, 0:2])
            for j, i, ks, kt, kq in T.grid(2, 2, 2, 4, 2):
                with T.sblock("u"):
                    vj, vi, vs, vt, vq = T.axis.remap("SSRRR", [j, i, ks, kt, kq])
                    C[vj, vi] = C[vj, vi] + T.cast(A[0, vt, vs, vi, vq], "float32") * T.cast(
                        T.cast(B[vj, vt, vs * 2 + vq], "float16"), "float32")

    @T.prim_func(s_tir=True)
    def implement(a: T.handle, b: T.handle, c: T.handle) -> None:
        a0 = T.int32()
        a1 = T.int32()
        a2 = T.int32()
        a3 = T.int32()
        row = T.int32()
        few = T.int32()
        next_row = T.int32()
        A = T.match_buffer(a, (1, 4, 2, 2, 2), "float16", offset_factor=8, scope="shared.dyn", strides=[a0, a1, a2, a3, 1])
        B = T.match_buffer(b, (2, 4, 4), "float32", offset_factor=4, scope="shared.dyn", strides=[row, few, 1])
        C = T.match_buffer(c, (2, 2), "float32", offset_factor=1, scope="local", strides=[next_row, 1])
        with T.sblock("root"):
            T.reads(C[0:2, 0:2], A[0, 0:4, 0:2, 0:2, 0:2], B[0:2, 0:4, 0:4])
            T.writes(C[0:2, 0:2])
            T.evaluate(T.cuda.func_call("tenfold_mma_fp16", C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), next_row, row, own,
                                        source_code=source))

    return describe, implement
