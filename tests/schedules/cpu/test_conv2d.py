"""Direct, grouped, transposed and dense kernels against torch-free references, over random geometry."""
from __future__ import annotations

import re
from dataclasses import replace
from math import ceil, prod

import numpy as np
import pytest
import tvm
import tvm_ffi
from convolution_checks import reference, run
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.codegen.stack_buffers import PIPELINE
from tenfold.schedules.cpu.conv2d.compute import ANNOTATION, conv2d, dense, pack_weights
from tenfold.schedules.cpu.conv2d.cost import choose_tile
from tenfold.schedules.cpu.conv2d.schedule import schedule_conv2d
from tenfold.schedules.shapes import ConvGeometry, ConvShape
from tenfold.schedules.tir.analysis import find_annotated
from tenfold.schedules.tir.bound_loops import BoundLoops, lower_blocks
from tenfold.targets import resolve
from tvm import s_tir, te, tirx

HOST = resolve("host")


def with_epilogue(result: te.Tensor, bias: te.Tensor) -> te.Tensor:
    added = te.compute(result.shape, lambda *i: result(*i) + bias[i[-1]], name="add")
    return te.compute(result.shape, lambda *i: tirx.max(added(*i), tirx.const(0, "float32")), name="relu")


def check(x, weight, geometry, tile):
    """One convolution with bias and ReLU, against the reference; its schedule."""
    bias = np.linspace(-1, 1, geometry.filters, dtype="float32")
    packed = pack_weights(weight, geometry.groups, tile, HOST.lanes)
    data, weights, biases = (te.placeholder(a.shape, name=n) for a, n in ((x, "x"), (packed, "w"), (bias, "b")))
    out = with_epilogue(conv2d(data, weights, geometry, tile), biases)
    schedule = schedule_conv2d(te.create_prim_func([data, weights, biases, out]), HOST)
    expected = np.maximum(reference(x, weight, geometry) + bias, 0)
    assert expected.shape == tuple(int(d) for d in out.shape)
    np.testing.assert_allclose(run(schedule, [x, packed, bias], expected.shape), expected, rtol=1e-4, atol=1e-4)
    return schedule


@st.composite
def geometries(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = groups * draw(st.integers(1, 20)), groups * draw(st.integers(1, 40))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    spans = [(k - 1) * d + 1 - before - behind for k, d, before, behind in zip(kernel, dilation, padding[:2], padding[2:], strict=True)]
    size = tuple(draw(st.integers(max(1, span), max(1, span) + 11)) for span in spans)  # smaller than the kernel, too
    geometry = ConvGeometry(filters, kernel, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding, dilation, groups)
    return geometry, (draw(st.integers(1, 2)), *size, channels)


@given(case=geometries(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_any_geometry(case, seed):
    geometry, shape = case
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, "float32")
    weight = rng.standard_normal((geometry.filters, shape[-1] // geometry.groups, *geometry.kernel), "float32")
    check(x, weight, geometry, choose_tile(geometry.shape(*shape), HOST))


@pytest.mark.quick(3)
@pytest.mark.parametrize(("size", "kernel"), [(1, 3), (2, 3), (2, 5), (3, 5), (4, 7)])
@pytest.mark.parametrize("rows", [1, 2])
def test_images_smaller_than_the_kernel(size, kernel, rows):
    """Every row of the output meets as many rows of the image, at other places of the kernel."""
    geometry = ConvGeometry(32, (kernel, kernel), padding=(kernel // 2,) * 4)
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((1, size, size, 8), "float32"), rng.standard_normal((32, 8, kernel, kernel), "float32")
    check(x, weight, geometry, replace(choose_tile(geometry.shape(*x.shape), HOST), pixels=min(2, size), vectors=1, flat=False, rows=rows))


@given(seed=st.integers(0, 99), size=st.integers(1, 9), kernel=st.integers(2, 7), padding=st.tuples(st.integers(-1, 6), st.integers(-1, 6)),
       stride=st.integers(1, 3), dilation=st.integers(1, 3))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_kernel_rows_on_padding_are_passed_over(seed, size, kernel, padding, stride, dilation):
    """Tiles of one row, much padding, outputs that meet nothing but padding: the rows left out were zeros."""
    top, bottom = padding
    if size + top + bottom < (kernel - 1) * dilation + 1 or size + min(padding) < 1:
        return
    geometry = ConvGeometry(8, (kernel, 1), (stride, 1), (top, 0, bottom, 0), (dilation, 1))
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((1, size, 6, 5), "float32"), rng.standard_normal((8, 5, kernel, 1), "float32")
    check(x, weight, geometry, replace(choose_tile(geometry.shape(*x.shape), HOST), pixels=3, vectors=1, flat=False, rows=1))


@pytest.mark.quick(8)
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("weights_inner", [False, True])
@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize(("pixels", "vectors", "rows"), [(4, 2, 3), (5, 1, 2), (1, 3, 1), (6, 2, 9)])
def test_any_tile_is_right(flat, weights_inner, prefetch, pixels, vectors, rows):
    """What the model chooses is a matter of speed alone."""
    rng = np.random.default_rng(0)
    geometry = ConvGeometry(48, (3, 3), (1, 1), (1, 1, 1, 1))
    shape = (1, 9, 11, 16)
    tile = replace(choose_tile(geometry.shape(*shape), HOST), pixels=pixels, vectors=vectors, flat=flat, rows=rows,
                   weights_inner=weights_inner, prefetch=prefetch)
    check(rng.standard_normal(shape, "float32"), rng.standard_normal((48, 16, 3, 3), "float32"), geometry, tile)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("filters", [48, 40])
@pytest.mark.parametrize("weights_inner", [False, True])
def test_order_of_blocks_and_lines(flat, filters, weights_inner):
    """Tasks are (image, block, lines), or (image, lines) with the loop over blocks of filters within that over lines; a row's tiles are
    innermost."""
    geometry, shape = ConvGeometry(filters, (1, 1)), (1, 9, 16, 16)
    tile = replace(choose_tile(geometry.shape(*shape), HOST), pixels=4, vectors=1, flat=flat, rows=3, weights_inner=weights_inner)
    rng = np.random.default_rng(0)
    schedule = check(rng.standard_normal(shape, "float32"), rng.standard_normal((filters, 16, 1, 1), "float32"), geometry, tile)
    conv = find_annotated(schedule, ANNOTATION)
    extents = [int(schedule.get(loop).extent) for loop in schedule.get_loops(conv)]
    blocks, lines = ceil(filters / HOST.lanes), 36 // 3 if flat else 9 // 3
    if not weights_inner:
        assert extents[0] == blocks * lines
    elif flat:
        assert extents[:3] == [lines, 3, blocks]
    else:
        assert extents[:4] == [lines, 3, blocks, 4]


@pytest.mark.parametrize(("filters", "groups", "vectors", "stored"), [
    (8, 1, 1, {8}), (40, 1, 1, {8, 16}), (40, 1, 2, {8, 16}), (48, 1, 2, {16}), (80, 2, 3, {8, 16}), (70, 1, 4, {6, 16})])
@pytest.mark.parametrize("flat", [False, True])
def test_the_last_vector_is_stored_as_long_as_it_is(filters, groups, vectors, stored, flat):
    """Straight from the accumulators of a tile, which are no more than that: there is no second nest that copies them."""
    target, geometry, shape = named("zen4"), ConvGeometry(filters, (1, 3), padding=(0, 1, 0, 1), groups=groups), (1, 8, 12, 8)
    tile = replace(choose_tile(geometry.shape(*shape), target), pixels=4, vectors=vectors, flat=flat, rows=2)
    packed = pack_weights(np.zeros((filters, 8 // groups, 1, 3), "float32"), groups, tile, target.lanes)
    data, weights, bias = te.placeholder(shape), te.placeholder(packed.shape), te.placeholder((filters,), name="b")
    func = te.create_prim_func([data, weights, bias, with_epilogue(conv2d(data, weights, geometry, tile), bias)])
    schedule = schedule_conv2d(func, target)
    assert {schedule.get(block).name_hint for block in schedule.get_child_blocks(schedule.get_sblock("root"))} <= {
        "padded", "conv2d_init", "conv2d_update", "relu"}
    mod = tirx.transform.VectorizeLoop()(BoundLoops()(lower_blocks(schedule.mod)))
    found = []
    tvm_ffi.structural_walk(mod["main"].body, (tirx.BufferStore, found.append))
    assert {int(store.value.ty.dtype.lanes) for store in found if store.buffer.name == "relu"} == stored


@pytest.mark.parametrize(
    ("lead", "channels", "filters"), [((1,), 70, 10), ((1,), 256, 64), ((5,), 33, 21), ((2, 7), 16, 48), ((64,), 24, 40)]
)
def test_dense(lead, channels, filters):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((*lead, channels), "float32"), rng.standard_normal((filters, channels), "float32")
    bias = rng.standard_normal(filters, "float32")
    tile = choose_tile(ConvShape(1, 1, channels, filters, (int(np.prod(lead)), 1)), HOST)
    packed = pack_weights(weight[:, :, None, None], 1, tile, HOST.lanes)
    data, weights, biases = (te.placeholder(a.shape, name=n) for a, n in ((x, "x"), (packed, "w"), (bias, "b")))
    out = with_epilogue(dense(data, weights, filters, tile), biases)
    schedule = schedule_conv2d(te.create_prim_func([data, weights, biases, out]), HOST)
    expected = np.maximum(x @ weight.T + bias, 0)
    np.testing.assert_allclose(run(schedule, [x, packed, bias], expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("flat", [False, True])
def test_accumulators_shrink_to_one_tile(flat, groups):
    """Larger, they would be allocated on the heap for every tile, and stored and loaded again."""
    geometry = ConvGeometry(64, (3, 3), padding=(1, 1, 1, 1), groups=groups)
    tile = replace(choose_tile(geometry.shape(1, 14, 14, 8), HOST), pixels=5, vectors=2, flat=flat, rows=7)
    packed = pack_weights(np.zeros((64, 8 // groups, 3, 3), "float32"), groups, tile, HOST.lanes)
    data, weights, bias = te.placeholder((1, 14, 14, 8)), te.placeholder(packed.shape), te.placeholder((64,))
    func = te.create_prim_func([data, weights, bias, with_epilogue(conv2d(data, weights, geometry, tile), bias)])
    mod = schedule_conv2d(func, HOST).mod
    for phase in (s_tir.transform.PlanAndUpdateBufferAllocationLocation(), s_tir.transform.ConvertBlocksToOpaque(),
                  s_tir.transform.CompactBufferAllocation()):
        mod = phase(mod)
    (line,) = [line for line in mod.script().splitlines() if "conv2d = T.sblock_alloc_buffer" in line]
    assert prod(map(int, re.findall(r"\d+", line.split("((")[1].split(")")[0]))) == 5 * 2 * HOST.lanes


@pytest.mark.quick(3)
@pytest.mark.parametrize("filters", [128, 120])
@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("name", ["zen3", "zen4"])
def test_inner_loop_is_a_register_tile_without_stores(name, prefetch, filters):
    """Between two branches of the hottest loop: multiply-adds, loads and broadcasts, but nothing written to memory, nor around it."""
    target, geometry = named(name), ConvGeometry(filters, (5, 5), (1, 1), (2, 2, 2, 2))
    tile = replace(choose_tile(geometry.shape(1, 32, 32, 128), target), prefetch=prefetch)
    assert tile.pixels * tile.vectors >= target.vector_registers // 2
    shape = (1, 32, 4 * tile.pixels, 128)
    packed = pack_weights(np.zeros((filters, 128, 5, 5), "float32"), 1, tile, target.lanes)
    data, weights = te.placeholder(shape, name="x"), te.placeholder(packed.shape, name="w")
    func = te.create_prim_func([data, weights, conv2d(data, weights, geometry, tile)])
    loops = BoundLoops()(lower_blocks(schedule_conv2d(func, target).mod))  # as in code generation
    assembly = tvm.tirx.build(loops, target=target.tvm_target(), pipeline=PIPELINE).inspect_source("asm")
    loop = hottest_loop(assembly)
    assert sum("vfmadd" in line for line in loop) % (tile.pixels * tile.vectors) == 0
    assert not [line for line in loop if stores(line)]
    if prefetch:
        lines = assembly.splitlines()
        asked = next(k for k, line in enumerate(lines) if "prefetch" in line)
        begin = max(k for k in range(asked) if lines[k].startswith(".LBB"))
        label = lines[begin].split(":")[0]
        end = next(k for k in range(asked, len(lines)) if lines[k].strip().startswith("j") and lines[k].split()[-1] == label)
        assert sum("vfmadd" in line for line in lines[begin:end]) > 0  # the loop around that of the tile
        assert not [line for line in lines[begin:end] if stores(line)]


def stores(line: str) -> bool:
    """Whether an instruction writes a vector to memory."""
    return "vmov" in line and line.split("#")[0].rstrip().endswith(")")


def hottest_loop(assembly: str) -> list[str]:
    """The lines from a label to the first jump back to it, of the loop with most multiply-adds."""
    loops, label, lines = [], None, []
    for line in assembly.splitlines():
        if line.startswith(".L") and line.rstrip().split("#")[0].strip().endswith(":"):
            label, lines = line.split(":")[0], []
        elif label and line.strip():
            lines.append(line)
            if line.strip().startswith("j") and line.split()[-1] == label:
                loops.append(lines)
                label = None
    return max(loops, key=lambda loop: sum("vfmadd" in line for line in loop))
