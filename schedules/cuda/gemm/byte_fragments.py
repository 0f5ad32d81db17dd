"""What a warp's matrix instruction on bytes reads and adds up, as CUDA C and as a tensor intrinsic.

It is that of TF32 (`fragments.py`), each number of which is a word of four bytes. Sums are exact: 32 bits, which wrap nowhere, since the
kernels take no layer whose sums could.
"""
from __future__ import annotations

from tvm.script import tirx as T

SOURCE = r"""
__forceinline__ __device__ void tenfold_mma(int* c0, int* c1, int* c2, int* c3, unsigned int a0, unsigned int a1, unsigned int a2,
                                            unsigned int a3, unsigned int b0, unsigned int b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(*c0), "+r"(*c1), "+r"(*c2), "+r"(*c3) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};" : "+r"(*c0), "+r"(*c1) : "r"(a0), "r"(b0));
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};" : "+r"(*c2), "+r"(*c3) : "r"(a1), "r"(b0));
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};" : "+r"(*c0), "+r"(*c1) : "r"(a2), "r"(b1));
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};" : "+r"(*c2), "+r"(*c3) : "r"(a3), "r"(b1));
#endif
}
__forceinline__ __device__ void tenfold_mma_int8(int* c, signed char* w, unsigned char* x, int next, int row, int own) {
  const int lane = threadIdx.x & 31, t = lane & 3, g = lane >> 2;
  const uint4 p = *(const uint4*)(w + 16 * t), q = *(const uint4*)(w + 512 + 16 * t);
  const uint4 v = *(const uint4*)(x + ((g >> 1) - t) * own * row + (g & 1) * row + 16 * t);
  tenfold_mma(c, c + next, c + 1, c + next + 1, p.x, p.y, p.z, p.w, v.x, v.y);
  tenfold_mma(c, c + next, c + 1, c + next + 1, q.x, q.y, q.z, q.w, v.z, v.w);
}
"""


def describe_bytes(own: int):  # type: ignore[no-untyped-def]
    """The product of two rows and two filters of a lane with `own` rows: what it computes, and the call that does."""
    source = SOURCE

    @T.prim_func(s_tir=True)
    def describe(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (2, 1, 4, 2, 2, 4), "int8", offset_factor=16, scope="shared.dyn")
        B = T.match_buffer(b, (2, 4, 16), "uint8", offset_factor=16, scope="shared.dyn")
        C = T.match_buffer(c, (2, 2), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:2, 0:2], A[0:2, 0, 0:4, 0:2, 0:2, 0:4], B[0:2, 0:4, 0:16])
            T.writes(C[0:2, 0:2])
            for j, i, ks, kt, kq, byte in T.grid(2, 2, 2, 4, 2, 4):
                with T.sblock("u"):
                    vj, vi, vs, vt, vq, vb = T.axis.remap("SSRRRR", [j, i, ks, kt, kq, byte])
                    C[vj, vi] = C[vj, vi] + T.cast(A[vs, 0, vt, vq, vi, vb], "int32") * T.cast(
                        B[vj, vt, (vs * 2 + vq) * 4 + vb], "int32")

    @T.prim_func(s_tir=True)
    def implement(a: T.handle, b: T.handle, c: T.handle) -> None:
        a0 = T.int32()
        a1 = T.int32()
        a2 = T.int32()
        a3 = T.int32()
        a4 = T.int32()
        row = T.int32()
        few = T.int32()
        next_row = T.int32()
        A = T.match_buffer(a, (2, 1, 4, 2, 2, 4), "int8", offset_factor=16, scope="shared.dyn", strides=[a0, a1, a2, a3, a4, 1])
        B = T.match_buffer(b, (2, 4, 16), "uint8", offset_factor=16, scope="shared.dyn", strides=[row, few, 1])
        C = T.match_buffer(c, (2, 2), "int32", offset_factor=1, scope="local", strides=[next_row, 1])
        with T.sblock("root"):
            T.reads(C[0:2, 0:2], A[0:2, 0, 0:4, 0:2, 0:2, 0:4], B[0:2, 0:4, 0:16])
            T.writes(C[0:2, 0:2])
            T.evaluate(T.cuda.func_call("tenfold_mma_int8", C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), next_row, row, own,
                                        source_code=source))

    return describe, implement
