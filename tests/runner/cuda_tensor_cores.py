"""A convolution on tensor cores as TVM writes it: `mma.m16n8k8` in TF32, tiles filled by cp.async."""
from __future__ import annotations

import numpy as np
from cuda_kernels import Case, case, column_of, columns, copy_together, random
from tvm import te, tirx
from tvm.s_tir import Schedule, TensorIntrin
from tvm.script import tirx as T

TENSOR_CORE = r"""
__forceinline__ __device__ void mma_weights_pixels(float* c, const float* w, const float* x, int sc, int sw, int sx) {
  const int lane = threadIdx.x & 31, t = lane & 3;
  const float4 v = *(const float4*)(x + ((lane >> 2) - 2 * t) * sx + 4 * t);
  for (int step = 0; step < 2; ++step) {
    const float4 p = *(const float4*)(w + step * sw + 4 * t);
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[sc]), "+f"(c[1]), "+f"(c[sc + 1])
        : "r"(__float_as_uint(p.x)), "r"(__float_as_uint(p.y)), "r"(__float_as_uint(p.z)), "r"(__float_as_uint(p.w)),
          "r"(__float_as_uint(step ? v.z : v.x)), "r"(__float_as_uint(step ? v.w : v.y)));
  }
}
"""


@T.prim_func(s_tir=True)
def _product_of_a_warp(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (2, 1, 4, 2, 2), "float32", offset_factor=4, scope="shared.dyn")
    B = T.match_buffer(b, (2, 16), "float32", offset_factor=4, scope="shared.dyn")
    C = T.match_buffer(c, (2, 1, 1, 2), "float32", offset_factor=1, scope="local")
    with T.sblock("root"):
        T.reads(C[0:2, 0, 0, 0:2], A[0:2, 0, 0:4, 0:2, 0:2], B[0:2, 0:16])
        T.writes(C[0:2, 0, 0, 0:2])
        for j, i, ks, kt, kq in T.grid(2, 2, 2, 4, 2):
            with T.sblock("u"):
                vj, vi, vs, vt, vq = T.axis.remap("SSRRR", [j, i, ks, kt, kq])
                C[vj, 0, 0, vi] = C[vj, 0, 0, vi] + A[vs, 0, vt, vq, vi] * B[vj, vt * 4 + vs * 2 + vq]


@T.prim_func(s_tir=True)
def _product_on_tensor_cores(a: T.handle, b: T.handle, c: T.handle) -> None:
    s0, s1, s2, s3, sb, sc, sc1, sc2 = T.int32(), T.int32(), T.int32(), T.int32(), T.int32(), T.int32(), T.int32(), T.int32()
    A = T.match_buffer(a, (2, 1, 4, 2, 2), "float32", offset_factor=4, scope="shared.dyn", strides=[s0, s1, s2, s3, 1])
    B = T.match_buffer(b, (2, 16), "float32", offset_factor=4, scope="shared.dyn", strides=[sb, 1])
    C = T.match_buffer(c, (2, 1, 1, 2), "float32", offset_factor=1, scope="local", strides=[sc, sc1, sc2, 1])
    with T.sblock("root"):
        T.reads(C[0:2, 0, 0, 0:2], A[0:2, 0, 0:4, 0:2, 0:2], B[0:2, 0:16])
        T.writes(C[0:2, 0, 0, 0:2])
        T.evaluate(T.cuda.func_call("mma_weights_pixels", C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), sc, s0, sb,
                                    source_code=TENSOR_CORE))


def truncated(values: np.ndarray) -> np.ndarray:
    """As tensor cores read TF32: without the last 13 bits."""
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def tensor_cores(pipeline: int = 2) -> Case:
    """The same convolution as `product`, with `mma.m16n8k8` in TF32: weights in fragment order are its first operand.

    Parameters
    ----------
    pipeline : int
        As of `product`.
    """
    if not hasattr(tensor_cores, "registered"):
        TensorIntrin.register("mma_weights_pixels", _product_of_a_warp, _product_on_tensor_cores)
        tensor_cores.registered = True  # type: ignore[attr-defined]
    height = width = 16
    channels, features, pixels = 32, 64, 256
    x = te.placeholder((1, height, width, channels), "float32", "X")
    w = te.placeholder((features // 16, 9 * channels // 16, 2, 8, 4, 2, 2), "float32", "W")
    b = te.placeholder((features,), "float32", "B")
    column = te.compute((pixels, 9 * channels), column_of(x, 3), "column")
    kb, ks, kt, kq = (te.reduce_axis((0, extent), name) for extent, name in ((9 * channels // 16, "kb"), (2, "ks"), (4, "kt"), (2, "kq")))
    shape = (pixels // 8, 4, 2, features // 16, 8, 2)

    def product_of(p, t, j, o, g, i):
        return te.sum(w[o, kb, ks, g, kt, kq, i] * column[p * 8 + t * 2 + j, kb * 16 + kt * 4 + ks * 2 + kq], axis=[kb, ks, kt, kq])

    def biased(p, t, j, o, g, i):
        return tirx.max(sums[p, t, j, o, g, i] + b[o * 16 + g * 2 + i], tirx.const(0, "float32"))

    sums = te.compute(shape, product_of, "sums")
    out = te.compute(shape, biased, "out")
    s = Schedule(te.create_prim_func([x, w, b, out]))
    column, sums, out = (s.get_sblock(name) for name in ("column", "sums", "out"))
    p, t, j, o, g, i, kb, ks, kt, kq = s.get_loops(sums)
    block_m, warp_m, m = s.split(p, [None, 2, 4])
    block_n, warp_n, n = s.split(o, [None, 2, 2])
    s.reorder(block_m, block_n, warp_m, warp_n, g, t, kb, m, n, j, i, ks, kt, kq)
    s.bind(block_m, "blockIdx.x")
    s.bind(block_n, "blockIdx.y")
    threads = s.fuse(warp_m, warp_n, g, t)
    s.bind(threads, "threadIdx.x")
    s.set_scope(sums, 0, "local")
    s.reverse_compute_at(out, threads)
    s.vectorize(s.get_loops(out)[-1])
    s.set_scope(column, 0, "shared.dyn")
    s.compute_at(column, kb)
    weights = s.cache_read(sums, 0, "shared.dyn")
    s.compute_at(weights, kb)
    for tile in (column, weights):
        copy_together(s, tile, kb, 128)
    s.unroll(m)
    s.unroll(n)
    s.decompose_reduction(sums, kb)
    s.tensorize(j, "mma_weights_pixels")
    s.annotate(kb, "software_pipeline_stage", [0, 0, pipeline])
    s.annotate(kb, "software_pipeline_order", [0, 1, 2])
    s.annotate(kb, "software_pipeline_async_stages", [0])
    data, weight, bias = random(1, height, width, channels), random(features, 9 * channels, scale=1 / 17), random(features)
    packed = np.ascontiguousarray(weight.reshape(features // 16, 8, 2, 9 * channels // 16, 4, 2, 2).transpose(0, 3, 5, 1, 4, 6, 2))
    expected = np.maximum(columns(truncated(data), 3) @ truncated(weight).T + bias, 0)
    return case(s, [data, packed, bias], expected.reshape(shape), use_async_copy=True, disable_storage_rewrite=True)
