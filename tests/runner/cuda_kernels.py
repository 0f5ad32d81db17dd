"""CUDA sources as TVM writes them, from small schedules: a convolution as a matrix product, a reduction over threads, a fused chain.

Each comes with its launch, its operands and its result by NumPy.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
import tvm.s_tir.pipeline
from tenfold.runtime.cuda.launches import Launch
from tvm import te, tirx
from tvm.s_tir import Schedule

SHARED = 232448  # bytes of a block, with those that are asked for at the launch


@dataclass(frozen=True)
class Case:
    """A function of one kernel.

    Attributes
    ----------
    source : str
    launch : Launch
    operands : tuple of numpy.ndarray
        The last one is the output.
    expected : numpy.ndarray
    """

    source: str
    launch: Launch
    operands: tuple[np.ndarray, ...]
    expected: np.ndarray

    def outputs(self) -> list[int]:
        return [len(self.operands) - 1]


def target() -> tvm.target.Target:
    limits = {"max_threads_per_block": 1024, "max_shared_memory_per_block": SHARED, "thread_warp_size": 32}
    return tvm.target.Target({"kind": "cuda", "arch": "sm_80", **limits}, host={"kind": "llvm"})


def case(schedule: Schedule, inputs: list[np.ndarray], expected: np.ndarray, **options: bool) -> Case:
    """Generate CUDA C for a schedule of one kernel."""
    function = schedule.mod["main"].with_attr("global_symbol", "kernel")
    device = target()
    passes: list[tvm.ir.transform.Pass] = []

    class Passes:
        def __init__(self, sequence):
            passes.extend(sequence)

        def __call__(self, mod):
            for one in passes:
                if one.info.name.endswith("MakePackedAPI"):
                    return mod
                mod = one(mod)
            return mod

    kept, tvm.ir.transform.Sequential = tvm.ir.transform.Sequential, Passes
    try:
        with device, tvm.transform.PassContext(config={f"tirx.{key}": value for key, value in options.items()}):
            pipeline, _, finish = tvm.s_tir.pipeline.default_s_tir_pipeline()
            split = pipeline(tvm.tirx.transform.BindTarget(device)(tvm.IRModule({"main": function})))
    finally:
        tvm.ir.transform.Sequential = kept
    kernels = {name: function for name, function in split.functions_items() if int(function.attrs.get("calling_conv", 0)) == 2}
    host, = (function for name, function in split.functions_items() if name not in kernels)
    source = tvm.get_global_func("target.build.cuda")(finish()(tvm.IRModule(kernels)), device).inspect_source()
    output = np.full(expected.shape, np.nan, expected.dtype)
    return Case(source, _launch(host), (*inputs, output), expected)


def _launch(host: tvm.tirx.PrimFunc) -> Launch:
    """The launch, from the script of the host's function."""
    text = host.script()
    parameters = [name for name, _ in re.findall(r"(\w+): T\.(Buffer|handle)", text[text.index("def "):text.index("):\n")])]
    name, arguments, kinds = re.search(r'call_ffi_kernel\("(\w+)", (.*?), launch_params=\[(.*?)\]', text).groups()
    pointers = re.findall(r"(\w+?)(?:_\d+)?\.data", arguments)
    extents = dict(zip(re.findall(r'"([\w.]+)"', kinds), map(int, re.findall(r"(?:T\.int64\()?\b(\d+)\)?(?=,|$)", arguments)), strict=True))
    grid, block = (tuple(extents.get(f"{kind}Idx.{axis}", 1) for axis in "xyz") for kind in ("block", "thread"))
    return Launch(name, grid, block, extents.get("tirx.use_dyn_shared_memory", 0), tuple(parameters.index(pointer) for pointer in pointers))


def vectorize(schedule: Schedule, block, lanes: int = 4) -> None:
    schedule.vectorize(schedule.split(schedule.get_loops(block)[-1], [None, lanes])[1])


def copy_together(schedule: Schedule, block, loop, threads: int) -> None:
    """Let all threads of the block copy a tile, four floats at a time."""
    loops = schedule.get_loops(block)
    behind = next(i for i, one in enumerate(loops) if schedule.get(one).same_as(schedule.get(loop))) + 1
    _, thread, lanes = schedule.split(schedule.fuse(*loops[behind:]), [None, threads, 4])
    schedule.bind(thread, "threadIdx.x")
    schedule.vectorize(lanes)


def random(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * scale).astype(np.float32)


def columns(data: np.ndarray, size: int) -> np.ndarray:
    """The rows that a `size` x `size` convolution with padding multiplies its weight by."""
    pad = size // 2
    padded = np.pad(data, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = data.shape[1:3]
    parts = [padded[:, y:y + height, x:x + width] for y in range(size) for x in range(size)]
    return np.concatenate(parts, -1).reshape(-1, size * size * data.shape[3])


def column_of(data: te.Tensor, size: int) -> Callable[..., tirx.PrimExpr]:
    """The element (pixel, position in the filter) of the matrix that the weight is multiplied by."""
    n, height, width, channels = (int(extent) for extent in data.shape)
    pad = size // 2

    def at(m, k):
        y = m // width % height + k // (size * channels) - pad
        x = m % width + k % (size * channels) // channels - pad
        inside = tirx.all(y >= 0, y < height, x >= 0, x < width)
        return tirx.if_then_else(inside, data[m // (height * width), y, x, k % channels], tirx.const(0, "float32"))

    return at


def product(pipeline: int = 0, scope: str = "shared", pixels: int = 64) -> Case:
    """A 3 x 3 convolution and ReLU: 64 x 64 outputs a block, 8 x 4 a thread, tiles in shared memory.

    Parameters
    ----------
    pipeline : int
        0: tiles are loaded and used; 1: double buffer; 2: three buffers, filled by cp.async.
    scope : str
        Of the tiles.
    """
    height = width = int(pixels ** 0.5)
    channels, features, deep = 32, 64, 16
    x = te.placeholder((1, height, width, channels), "float32", "X")
    w = te.placeholder((9 * channels, features), "float32", "W")
    b = te.placeholder((features,), "float32", "B")
    column = te.compute((pixels, 9 * channels), column_of(x, 3), "column")
    k = te.reduce_axis((0, 9 * channels), "k")
    sums = te.compute((pixels, features), lambda m, n: te.sum(column[m, k] * w[k, n], axis=k), "sums")
    out = te.compute((pixels, features), lambda m, n: tirx.max(sums[m, n] + b[n], tirx.const(0, "float32")), "out")
    s = Schedule(te.create_prim_func([x, w, b, out]))
    column, sums, out = (s.get_sblock(name) for name in ("column", "sums", "out"))
    m, n, k = s.get_loops(sums)
    block_m, thread_m, m = s.split(m, [None, 8, 8])
    block_n, thread_n, n = s.split(n, [None, 16, 4])
    outer, k = s.split(k, [None, deep])
    s.reorder(block_m, block_n, thread_m, thread_n, outer, k, m, n)
    s.bind(block_m, "blockIdx.x")
    s.bind(block_n, "blockIdx.y")
    threads = s.fuse(thread_m, thread_n)
    s.bind(threads, "threadIdx.x")
    s.reverse_compute_at(out, threads)
    s.set_scope(sums, 0, "local")
    vectorize(s, out)
    s.set_scope(column, 0, scope)
    s.compute_at(column, outer)
    weights = s.cache_read(sums, 1, scope)
    s.compute_at(weights, outer)
    for tile in (column, weights):
        copy_together(s, tile, outer, 128)
    s.unroll(m)
    s.unroll(n)
    s.decompose_reduction(sums, outer)
    if pipeline:
        s.annotate(outer, "software_pipeline_stage", [0, 0, pipeline])
        s.annotate(outer, "software_pipeline_order", [0, 1, 2])
    if pipeline > 1:
        s.annotate(outer, "software_pipeline_async_stages", [0])
    inputs = [random(1, height, width, channels), random(9 * channels, features, scale=1 / 17), random(features)]
    expected = np.maximum(columns(inputs[0], 3) @ inputs[1] + inputs[2], 0)
    options = dict(use_async_copy=True, disable_storage_rewrite=True) if pipeline > 1 else {}
    return case(s, inputs, expected, **options)


def half_vectors(lanes: int = 8) -> Case:
    """Element-wise operators in half precision, several numbers at a time."""
    x = te.placeholder((64, 128), "float16", "X")
    b = te.placeholder((128,), "float16", "B")
    out = te.compute((64, 128), lambda i, j: tirx.max(x[i, j] * b[j] + x[i, j], tirx.const(0, "float16")), "out")
    s = Schedule(te.create_prim_func([x, b, out]))
    blocks, threads, vector = s.split(s.fuse(*s.get_loops(s.get_sblock("out"))), [None, 64, lanes])
    s.bind(blocks, "blockIdx.x")
    s.bind(threads, "threadIdx.x")
    s.vectorize(vector)
    data, factors = random(64, 128).astype(np.float16), random(128).astype(np.float16)
    return case(s, [data, factors], np.maximum(data * factors + data, np.float16(0)))


def reduction(threads: int = 128) -> Case:
    """Sums of rows: a block for each row, its threads' sums added up by shuffles."""
    rows, length = 6, 500
    x = te.placeholder((rows, length), "float32", "X")
    k = te.reduce_axis((0, length), "k")
    s = Schedule(te.create_prim_func([x, te.compute((rows,), lambda i: te.sum(x[i, k], axis=k), "out")]))
    i, k = s.get_loops(s.get_sblock("out"))
    _, k = s.split(k, [None, threads])
    s.bind(i, "blockIdx.x")
    s.bind(k, "threadIdx.x")
    data = random(rows, length)
    return case(s, [data], data.astype(np.float64).sum(1).astype(np.float32))


def chain(tile: int = 8, features: int = 16) -> Case:
    """Pointwise, 3 x 1 and 1 x 3 depthwise convolutions in one kernel; what lies between them stays in shared memory, with its halo."""
    size, channels, threads = 16, 16, 64
    x = te.placeholder((size, size, channels), "float32", "X")
    w = te.placeholder((channels, features), "float32", "W")
    v = te.placeholder((3, features), "float32", "V")
    h = te.placeholder((3, features), "float32", "H")
    zero = tirx.const(0, "float32")
    k, ky, kx = te.reduce_axis((0, channels), "k"), te.reduce_axis((0, 3), "ky"), te.reduce_axis((0, 3), "kx")

    def padded(y, z, c):
        return tirx.if_then_else(tirx.all(y >= 1, y <= size, z >= 1, z <= size), x[y - 1, z - 1, c], zero)

    inside = te.compute((size + 2, size + 2, channels), padded, "padded")
    sums = te.compute((size + 2, size + 2, features), lambda y, z, f: te.sum(inside[y, z, k] * w[k, f], axis=k), "first_sums")
    first = te.compute((size + 2, size + 2, features), lambda y, z, f: sums[y, z, f], "first")
    sums = te.compute((size, size + 2, features), lambda y, z, f: te.sum(first[y + ky, z, f] * v[ky, f], axis=ky), "second_sums")
    second = te.compute((size, size + 2, features), lambda y, z, f: sums[y, z, f], "second")
    sums = te.compute((size, size, features), lambda y, z, f: te.sum(second[y, z + kx, f] * h[kx, f], axis=kx), "third_sums")
    out = te.compute((size, size, features), lambda y, z, f: sums[y, z, f], "out")
    s = Schedule(te.create_prim_func([x, w, v, h, out]))
    y, z, f = s.get_loops(s.get_sblock("out"))
    y0, y = s.split(y, [None, tile])
    z0, z = s.split(z, [None, tile])
    s.reorder(y0, z0, y, z, f)
    s.bind(y0, "blockIdx.y")
    s.bind(z0, "blockIdx.x")
    for name in ("third_sums", "second", "second_sums", "first", "first_sums", "padded"):
        s.set_scope(s.get_sblock(name), 0, "local" if name.endswith("sums") else "shared")
        s.compute_at(s.get_sblock(name), z0)
    for name, sums in (("padded", None), ("first", "first_sums"), ("second", "second_sums"), ("out", "third_sums")):
        _, thread = s.split(s.fuse(*s.get_loops(s.get_sblock(name))[2:]), [None, threads])
        s.bind(thread, "threadIdx.x")
        if sums:
            s.compute_at(s.get_sblock(sums), thread)
    data, weights = random(size, size, channels), [random(channels, features, scale=0.25), random(3, features), random(3, features)]
    rows = np.pad(data @ weights[0], ((1, 1), (1, 1), (0, 0)))
    rows = sum(rows[i:i + size] * weights[1][i] for i in range(3))
    return case(s, [data, *weights], sum(rows[:, i:i + size] * weights[2][i] for i in range(3)))
