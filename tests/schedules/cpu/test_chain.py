"""Fused chains of convolutions against ONNX Runtime over random geometry, and what their kernels look like."""
from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import ceil

import numpy as np
import onnxruntime
import pytest
import tvm
import tvm_ffi
from host_model import named
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tenfold.codegen.stack_buffers import PIPELINE
from tenfold.schedules.cpu.chain.compute import CHANNELS_LAST, SUMS, Cut, Ends, chain, lines
from tenfold.schedules.cpu.chain.cost import Work, rows_on_image
from tenfold.schedules.cpu.chain.partition import fused_stages, segments, transposable
from tenfold.schedules.cpu.chain.schedule import schedule_chain
from tenfold.schedules.cpu.chain.stage import ChainStage, ChannelLayout, layouts, pack_chain, wirings
from tenfold.schedules.cpu.chain.stage_options import stage_options
from tenfold.schedules.cpu.conv2d.groups import block_diagonal
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.schedules.tir.analysis import mentions
from tenfold.schedules.tir.bound_loops import BoundLoops, lower_blocks
from tenfold.schedules.tir.loop_nests import substitute
from tenfold.schedules.tir.transpose_tiles import TransposeTiles
from tenfold.targets import resolve
from tvm import sym, te, tirx

HOST = resolve("host")
RUNNABLE = [HOST, *([named("zen3")] if HOST.vector_bits > 256 else [])]  # with 16 lanes and with 8


def onnx_reference(x, weights, biases, geometries, orders):
    """All convolutions with ReLU between them, NHWC in and out; `orders` of input channels, or None. No weight: a max-pooling."""
    nodes, constants, name = [], [], "x"
    for i, (weight, geometry) in enumerate(zip(weights, geometries, strict=True)):
        if weight is not None:
            constants.append(numpy_helper.from_array(weight, f"w{i}"))
        if orders[i] is not None:
            constants.append(numpy_helper.from_array(orders[i], f"o{i}"))
            nodes.append(helper.make_node("Gather", [name, f"o{i}"], [f"g{i}"], axis=1))
            name = f"g{i}"
        inputs = [name, f"w{i}"]
        if i < len(biases):
            constants.append(numpy_helper.from_array(biases[i], f"b{i}"))
            inputs.append(f"b{i}")
        attributes = {"strides": geometry.stride, "pads": geometry.padding, "dilations": geometry.dilation}
        if weight is None:
            nodes.append(helper.make_node("MaxPool", [name], [f"c{i}"], kernel_shape=geometry.kernel, **attributes))
            if i < len(biases):
                nodes.append(helper.make_node("Add", [f"c{i}", f"s{i}"], [f"m{i}"]))
                constants.append(numpy_helper.from_array(biases[i].reshape(-1, 1, 1), f"s{i}"))
        else:
            nodes.append(helper.make_node("Conv", inputs, [f"c{i}"], group=geometry.groups, **attributes))
        name = f"c{i}" if weight is not None or i >= len(biases) else f"m{i}"
        if i < len(biases):
            nodes.append(helper.make_node("Relu", [name], [f"r{i}"]))
            name = f"r{i}"
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("x", 1, None)], [helper.make_tensor_value_info(name, 1, None)],
                              constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0].transpose(0, 2, 3, 1)


def links_of(shape, geometries):
    """The convolutions of a chain with the sizes of their inputs."""
    links, (batch, *size, channels) = [], shape
    for geometry in geometries:
        links.append(ConvWorkload(geometry, tuple(size), channels, batch))
        size, channels = geometry.output(*size), geometry.filters
    return links


@st.composite
def cuts(draw, height):
    """Ways to cut so many rows."""
    rows = draw(st.integers(1, height))
    count = ceil(height / rows)
    return Cut(rows, draw(st.sampled_from([strips for strips in range(1, count + 1) if count % strips == 0])))


def kernel_of(shape, geometries, stages, cut, seed=0, target=HOST, ends=CHANNELS_LAST, averages=False):
    """The scheduled chain, with its arrays and what it should compute: ReLU follows, and a residual of the output's shape is added, unless
    the result is transposed within the kernel, or averaged."""
    rng = np.random.default_rng(seed)
    channels, weights, merged, biases, planned, operands, orders = shape[-1], [], [], [], [], [], []
    lie = layouts(stages, target.lanes)
    for i, (geometry, stage) in enumerate(zip(geometries, stages, strict=True)):
        shape_ = geometry.filters, channels // geometry.groups, *geometry.kernel
        weights.append(None if stage.pools else rng.standard_normal(shape_, "float32"))
        merged.append(None if stage.pools else block_diagonal(weights[-1], geometry.groups, geometry.groups // stage.geometry.groups))
        orders.append(rng.permutation(channels) if stage.table is not None else None)
        if stage.table is not None:
            operands.append((lie[i - 1].places(orders[-1]) if i > 0 else orders[-1]).astype("int32"))
            stage = replace(stage, table=len(operands) - 1)
        channels = geometry.filters
        if i + 1 < len(geometries):
            biases.append(rng.standard_normal(geometry.filters, "float32"))
            operands.append(lie[i].spread(biases[-1]))
            stage = replace(stage, steps=(("relax.add", len(operands) - 1), ("relax.nn.relu",)))
        planned.append(stage)
    x = rng.standard_normal(shape, "float32")
    expected = onnx_reference(x, weights, biases, geometries, orders)
    bias, residual = rng.standard_normal(expected.shape[-1], "float32"), rng.standard_normal(expected.shape, "float32")
    stored = x.transpose(0, 3, 1, 2).copy() if ends.source_nchw else x
    if ends.result_nchw or averages:
        planned[-1] = replace(planned[-1], steps=(("relax.add", len(operands)), ("relax.nn.relu",)))
        own = lie[-1].spread(bias) if averages and stages[-1].adds_up_in_own_order else bias
        arrays = [stored, *pack_chain(merged, planned, target.lanes), *operands, own]
        data, *rest = (te.placeholder(a.shape, str(a.dtype), f"a{i}") for i, a in enumerate(arrays))
        count = len(planned) - sum(stage.pools for stage in planned)
        out = chain(data, rest[:count], rest[count:], planned, cut, target.lanes, ends, averages)
        schedule = schedule_chain(te.create_prim_func([data, *rest, out]).with_attr("global_symbol", "main"), target)
        expected = np.maximum(expected + bias, 0)
        return schedule, arrays, expected.mean((1, 2), keepdims=True) if averages else expected.transpose(0, 3, 1, 2)
    arrays = [stored, *pack_chain(merged, planned, target.lanes), *operands, bias, residual]
    data, *rest = (te.placeholder(a.shape, str(a.dtype), f"a{i}") for i, a in enumerate(arrays))
    count = len(planned) - sum(stage.pools for stage in planned)
    sums = chain(data, rest[:count], rest[count:-2], planned, cut, target.lanes, ends)
    biased = te.compute(sums.shape, lambda n, y, x, f: sums[n, y, x, f] + rest[-2][f], name="biased")
    out = te.compute(sums.shape, lambda *i: te.max(biased(*i), 0) + rest[-1](*i), name="residual")
    schedule = schedule_chain(te.create_prim_func([data, *rest, out]).with_attr("global_symbol", "main"), target)
    return schedule, arrays, np.maximum(expected + bias, 0) + residual


def check(shape, geometries, stages, cut, seed=0, target=HOST, ends=CHANNELS_LAST, averages=False):
    schedule, arrays, expected = kernel_of(shape, geometries, stages, cut, seed, target, ends, averages)
    loops = TransposeTiles()(BoundLoops()(lower_blocks(schedule.mod)))  # as in code generation
    kernel = tvm.compile(loops, target=target.tvm_target())["main"]
    out = tvm.runtime.tensor(np.full(expected.shape, np.nan, "float32"))
    kernel(*[tvm.runtime.tensor(a) for a in arrays], out)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(out.numpy() / scale, expected / scale, rtol=0, atol=1e-5)


@st.composite
def chains(draw):
    """One to four convolutions, dense, grouped or depthwise, some with their channels in another order; pooling; an average."""
    size, channels = (draw(st.integers(1, 14)), draw(st.integers(1, 14))), draw(st.sampled_from([3, 8, 16]))
    shape = (draw(st.integers(1, 2)), *size, channels)
    links = []
    count = draw(st.integers(1, 4))
    for i in range(count):
        kind = draw(st.sampled_from(["dense", "depthwise", "grouped", *["pool"] * (i > 0)]))
        kernel = draw(st.tuples(st.sampled_from([1, 1, 3, 5]), st.sampled_from([1, 1, 3, 4])))
        dilation, stride = draw(st.tuples(*[st.integers(1, 2)] * 2)), draw(st.tuples(*[st.sampled_from([1, 1, 2])] * 2))
        padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
        filters = draw(st.sampled_from([8, 16, 32])) if i + 1 == count else draw(st.sampled_from([1, 3, 6, 8, 16, 24, 40]))
        groups = 1
        if kind in ("depthwise", "pool"):
            groups = filters = channels
        elif kind == "grouped" and channels % 2 == 0:
            groups, filters = 2, 2 * filters
        if kind == "pool":  # not all of a window may be padding
            padding = tuple(min(pad, (k - 1) // 2) for pad, k in zip(padding, kernel * 2, strict=True))
        geometry = ConvGeometry(filters, kernel, stride, padding, dilation, groups)
        assume(min(geometry.output(*size)) >= 1)
        links.append(ConvWorkload(geometry, size, channels, shape[0], groups < filters and draw(st.booleans()), kind == "pool"))
        size, channels = geometry.output(*size), filters
    target = draw(st.sampled_from(RUNNABLE))
    stages = fused_stages(links, target)
    assume(stages is not None)
    averages = min(size) > 1 and draw(st.booleans())
    nchw, cut = draw(st.booleans()), draw(cuts(size[0]))
    ends = Ends(nchw, not averages and draw(st.booleans()), nchw and not links[0].depthwise and draw(st.booleans()))
    return shape, [link.geometry for link in links], stages, cut, draw(st.integers(0, 99)), target, ends, averages


@pytest.mark.slow
@given(case=chains())
@settings(deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
def test_any_chain(case):
    check(*case)


@st.composite
def grouped_chains(draw):
    """Groups whose filters fill no vectors, behind a pointwise stage, and perhaps another one behind them."""
    groups, inputs, each = draw(st.sampled_from([2, 3, 4, 6, 8, 16, 32])), draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 40))
    assume(groups * each <= 256)
    size, channels = (draw(st.integers(1, 12)), draw(st.integers(1, 12))), draw(st.sampled_from([3, 8]))
    kernel, stride = draw(st.sampled_from([(1, 1), (3, 3), (5, 2)])), draw(st.sampled_from([(1, 1), (2, 2), (1, 2)]))
    geometries = [ConvGeometry(groups * inputs, (1, 1)),
                  ConvGeometry(groups * each, kernel, stride, draw(st.tuples(*[st.integers(0, 2)] * 4)), groups=groups)]
    if draw(st.booleans()):
        behind = draw(st.sampled_from([d for d in (1, 2, groups) if groups % d == 0]))
        geometries.append(ConvGeometry(behind * draw(st.sampled_from([4, 6, 12, 24, 36])), (1, 1), groups=behind))
    links = links_of((1, *size, channels), geometries)
    assume(all(min(link.output) >= 1 and link.meets_image for link in links))
    target, random = draw(st.sampled_from(RUNNABLE)), draw(st.randoms(use_true_random=False))
    return (1, *size, channels), geometries, links, draw(cuts(links[-1].output[0])), target, random


@pytest.mark.slow
@given(case=grouped_chains())
@settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
def test_any_grouped_chain(case):
    """Whatever ways to compute the stages fit each other, not only the cheapest."""
    shape, geometries, links, cut, target, random = case
    options = [stage_options(link, target, link is links[-1]) for link in links]
    fitting = [stages for stages in product(*options) if wirings(stages, shape[-1], target.lanes) is not None]
    assume(fitting)
    check(shape, geometries, random.choice(fitting), cut, target=target)


PAPERS = {
    "flattened layer, lateral vertical horizontal": (
        (1, 12, 12, 16), [ConvGeometry(32, (1, 1)), ConvGeometry(32, (5, 1), padding=(2, 0, 2, 0), groups=32),
                          ConvGeometry(32, (1, 5), padding=(0, 2, 0, 2), groups=32)]),
    "spatial SVD, stride 2": (
        (2, 13, 11, 16), [ConvGeometry(12, (5, 1), (2, 1), (2, 0, 2, 0)), ConvGeometry(32, (1, 5), (1, 2), (0, 2, 0, 2))]),
    "Tucker-2": ((1, 9, 9, 32), [ConvGeometry(8, (1, 1)), ConvGeometry(16, (3, 3), padding=(1, 1, 1, 1)), ConvGeometry(32, (1, 1))]),
    "monochromatic": ((1, 20, 20, 3), [ConvGeometry(6, (1, 1)), ConvGeometry(96, (7, 7), (2, 2), (3, 3, 3, 3), groups=6)]),
    "biclustering": ((1, 9, 9, 32), [ConvGeometry(10, (1, 1), groups=2), ConvGeometry(6, (3, 3), padding=(1, 1, 1, 1), groups=2),
                                     ConvGeometry(32, (1, 1), groups=2)]),
    "two depthwise stages on groups that don't fill vectors": (
        (1, 9, 9, 16), [ConvGeometry(12, (1, 1), groups=2), ConvGeometry(12, (3, 1), padding=(1, 0, 1, 0), groups=12),
                        ConvGeometry(12, (1, 3), padding=(0, 1, 0, 1), groups=12), ConvGeometry(16, (1, 1))]),
    "inverted bottleneck": (
        (1, 14, 14, 16), [ConvGeometry(96, (1, 1)), ConvGeometry(96, (3, 3), (2, 2), (1, 1, 1, 1), groups=96), ConvGeometry(24, (1, 1))]),
}


@pytest.mark.quick(7)
@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("cut", [Cut(1), Cut(3), Cut(99), Cut(1, 99), Cut(2, 99)], ids=str)
def test_chains_of_the_papers(name, cut):
    shape, geometries = PAPERS[name]
    stages = fused_stages(links_of(shape, geometries), HOST)
    assert stages is not None
    height = links_of(shape, geometries)[-1].output[0]
    rows = min(cut.rows, height)
    check(shape, geometries, stages, Cut(rows, min(cut.strips, ceil(height / rows))))


def test_one_parallel_loop():
    shape, geometries = PAPERS["flattened layer, lateral vertical horizontal"]
    schedule, _, _ = kernel_of(shape, geometries, [ChainStage(g, 6, v) for g, v in zip(geometries, (2, 0, 0), strict=True)], Cut(4))
    assert schedule.mod.script().count("T.parallel") == 1


@pytest.mark.parametrize("order", ["lateral, vertical, horizontal", "lateral, horizontal, vertical"])
def test_no_plane_is_made_twice_for_a_task(order):
    """The pointwise filters of a second set read all channels of the first one again and again: these are there by then. Horizontal ones
    behind pointwise ones read row by row what these make of all vectors of a tile."""
    lateral = ConvGeometry(128, (1, 1))
    vertical = ConvGeometry(128, (3, 1), padding=(1, 0, 1, 0), groups=128)
    horizontal = ConvGeometry(128, (1, 3), padding=(0, 1, 0, 1), groups=128)
    flattened_set = [lateral, vertical, horizontal] if order.endswith("horizontal") else [lateral, horizontal, vertical]
    stages = [ChainStage(geometry, 8, vectors) for geometry, vectors in zip(2 * flattened_set, 2 * (2, 0, 0), strict=True)]
    schedule, _, _ = kernel_of((1, 8, 8, 32), 2 * flattened_set, stages, Cut(4))
    made = [b for b in schedule.get_child_blocks(schedule.get_sblock("root")) if schedule.get(b).name_hint.startswith("plane")]
    assert len(made) == 5
    for plane in made:
        steps = np.prod([int(schedule.get(loop).extent) for loop in schedule.get_loops(plane)])
        assert steps == np.prod([int(axis.dom.extent) for axis in schedule.get(plane).iter_vars])


def test_lines_of_a_strip():
    """Nine rows of the vertical filters make four of the strided ones; the next four need eight more, and one that is there."""
    vertical, strided = ConvGeometry(8, (5, 1), padding=(2, 0, 2, 0)), ConvGeometry(8, (3, 3), (2, 2), (1, 1, 1, 1))
    found = lines([vertical, strided], 4)
    assert [(span.count, span.step, span.before) for span in found] == [(13, 8, 3), (9, 8, 1), (4, 4, 0)]
    assert [(span.again, span.kept) for span in found] == [(5, 4), (1, 1), (0, 0)]


def test_rows_that_two_strips_read_are_computed_once():
    """All rows of the first convolution are there once for a task: of four strips of four, the first computes eight, the others four."""
    geometries = [ConvGeometry(16, (1, 1)), ConvGeometry(16, (5, 1), padding=(2, 0, 2, 0), groups=16)]
    stages = [ChainStage(geometries[0], 6, 1), ChainStage(geometries[1], 6, 0)]
    schedule, _, _ = kernel_of((1, 16, 6, 16), geometries, stages, Cut(4, 4))
    loops = []
    tvm_ffi.structural_walk(lower_blocks(schedule.mod)["main"].body, (tirx.For, loops.append))
    [(rows, strip)] = [(loop, outer) for loop in loops for outer in loops if mentions(loop.extent, outer.loop_var)]
    counts = [sym.Analyzer().simplify(substitute(rows.extent, {strip.loop_var: tirx.const(i, "int32")})) for i in range(int(strip.extent))]
    assert [int(count) for count in counts] == [8, 4, 4, 4]


def test_planes_of_a_task_outlive_its_strips():
    """And rows that no later strip reads lie where they are, whichever strip computes them: no index changes with the strip."""
    geometries = [ConvGeometry(16, (1, 1)), ConvGeometry(16, (1, 1)), ConvGeometry(16, (5, 1), padding=(2, 0, 2, 0), groups=16)]
    stages = [ChainStage(geometry, 6, vectors) for geometry, vectors in zip(geometries, (1, 1, 0), strict=True)]
    schedule, _, _ = kernel_of((1, 16, 6, 16), geometries, stages, Cut(4, 4))
    lines = lower_blocks(schedule.mod).script().splitlines()
    [strips] = [i for i, line in enumerate(lines) if "in range(4):" in line and any(f"T.min({line.split()[1]}, 1)" in one for one in lines)]
    allocated = {name: next(i for i, line in enumerate(lines) if f"{name} = T.alloc_buffer" in line) for name in ("plane0", "plane1")}
    assert max(allocated.values()) < strips
    [products] = [line for line in lines if "plane0[" in line and "conv2d" in line and "+" in line.split("=")[1] and "a2[" in line]
    assert "%" not in products and "T.max" not in products


def test_channel_layout_spreads_groups():
    layout = ChannelLayout(2, 3, 8)
    np.testing.assert_array_equal(layout.spread(np.arange(1, 7.0)), [1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 0, 0, 0, 0, 0])
    assert [layout.at(c) for c in range(6)] == [0, 1, 2, 8, 9, 10]


@pytest.mark.slow
@pytest.mark.parametrize("target", RUNNABLE, ids=lambda target: target.name)
@pytest.mark.parametrize(("colors", "each"), [(2, 16), (3, 16), (4, 24), (8, 12), (12, 8), (16, 2), (32, 1), (6, 10), (5, 7), (4, 18)])
@pytest.mark.parametrize("averages", [False, True])
def test_groups_of_one_channel(target, colors, each, averages):
    """Filters that fill vectors together: interleaved or not, each way to compute them; and to add them up."""
    shape = (1, 9, 13, 3)
    geometries = [ConvGeometry(colors, (1, 1)), ConvGeometry(colors * each, (3, 3), (2, 2), (1, 1, 1, 1), groups=colors)]
    links = links_of(shape, geometries)
    for stage in stage_options(links[1], target, True):
        first = stage_options(links[0], target, False)[0]
        assert wirings([first, stage], shape[-1], target.lanes) is not None
        check(shape, geometries, [first, stage], Cut(2), target=target, averages=averages)


def test_groups_that_share_vectors_are_added_up_in_whole_vectors():
    """Not in pieces of as many filters as lie side by side in the order of the channels: four of 16 lanes, of four groups."""
    target, geometries = named("zen4"), [ConvGeometry(8, (1, 1)), ConvGeometry(96, (3, 3), groups=8)]
    links = links_of((1, 9, 13, 3), geometries)
    second = next(stage for stage in stage_options(links[1], target, True) if stage.interleaved == 4)
    stages = [stage_options(links[0], target, False)[0], second]
    schedule, _, _ = kernel_of((1, 9, 13, 3), geometries, stages, Cut(7), target=target, averages=True)
    assert int(schedule.get(schedule.get_loops(schedule.get_sblock(f"{SUMS}_update"))[-1]).extent) == target.lanes


@pytest.mark.slow
@pytest.mark.parametrize("target", RUNNABLE, ids=lambda target: target.name)
@pytest.mark.parametrize(("colors", "each"), [(8, 12), (48, 12), (12, 8), (16, 2), (6, 10)])
def test_groups_of_one_channel_before_others(target, colors, each):
    """Likewise, read by a depthwise stage."""
    shape = (1, 9, 13, colors)
    filters = colors * each
    depthwise = ConvGeometry(filters, (3, 3), (1, 1), (1, 1, 1, 1), groups=filters)
    geometries = [ConvGeometry(filters, (1, 1), groups=colors), depthwise, ConvGeometry(16, (1, 1))]
    links = links_of(shape, geometries)
    behind = [stage_options(links[1], target, False)[0], stage_options(links[2], target, True)[0]]
    ways = [stage for stage in stage_options(links[0], target, False) if wirings([stage, *behind], colors, target.lanes) is not None]
    assert ways
    for stage in ways:
        check(shape, geometries, [stage, *behind], Cut(2), target=target)


def test_few_filters_share_vectors():
    """24 filters of a group leave no lane of 16 idle if a second group works in the same vectors."""
    link = ConvWorkload(ConvGeometry(96, (7, 7), (2, 2), (1, 1, 1, 1), groups=4), (224, 224), 4, 1)
    (best,) = [stage for stage in stage_options(link, named("zen4"), True) if stage.interleaved > 1][:1]
    assert best.per_set % (best.vectors * 16) == 0 and best.natural_order(16)[:4].tolist() == [0, 24, 1, 25]


def flattened(size, batch=1, sets=2):
    one = [ConvWorkload(ConvGeometry(128, (1, 1)), (size, size), 128, batch),
           ConvWorkload(ConvGeometry(128, (5, 1), padding=(2, 0, 2, 0), groups=128), (size, size), 128, batch),
           ConvWorkload(ConvGeometry(128, (1, 5), padding=(0, 2, 0, 2), groups=128), (size, size), 128, batch)]
    return one * sets


@pytest.mark.parametrize("target", ["zen3", "zen4"])
@pytest.mark.parametrize("size", [16, 32, 48])
def test_a_flattened_layer_is_few_kernels(size, target):
    """A batch that no cache holds makes the way once, and all six convolutions join; with one image the model cuts."""
    assert [segment.count for segment in segments(flattened(size, batch=128), named(target))] == [6]
    cut = segments(flattened(size), named(target))
    assert sum(segment.count for segment in cut) == 6 and max(segment.count for segment in cut) >= 3


@pytest.mark.parametrize(("batch", "tasks"), [(1, 2), (16, 1)])
def test_a_task_goes_through_a_large_image_in_strips(batch, tasks):
    """No cache of a core holds half of it, but a few rows of everything; where there are enough images, none is cut."""
    [segment] = segments(flattened(64, batch), named("zen4"))
    assert segment.count == 6 and segment.cut.strips > 1
    assert ceil(64 / (segment.cut.rows * segment.cut.strips)) == tasks


@pytest.mark.parametrize("target", ["zen3", "zen4"])
def test_depthwise_stages_alone_go_row_by_row(target):
    """Nothing else keeps what lies between them in the L1 cache, and a strip costs them nothing."""
    links = flattened(80)[1:3]
    _, cut = Work(links, fused_stages(links, named(target)), CHANNELS_LAST, named(target)).cheapest_cut()
    assert cut.rows == 1 and cut.strips > 1


def test_rows_at_borders_that_are_not_there_cost_nothing():
    """Of two tasks, each has one border with the other, and one with nothing."""
    link = ConvWorkload(ConvGeometry(16, (1, 1)), (16, 6), 16, 1)
    _, span, _ = lines([link.geometry, ConvGeometry(16, (5, 1), padding=(2, 0, 2, 0), groups=16)], 4)
    assert [rows_on_image(span, 2, task, 16) for task in range(2)] == [10, 10]
    assert [rows_on_image(span, 1, task, 16) for task in range(4)] == [6, 8, 8, 6]


def test_large_dense_convolutions_stay_apart():
    """Rows at the borders would be computed twice, and there is nothing to gain."""
    links = [ConvWorkload(ConvGeometry(512, (3, 3), padding=(1, 1, 1, 1)), (28, 28), 512, 1)] * 3
    assert [segment.count for segment in segments(links, HOST)] == [1, 1, 1]


@pytest.mark.parametrize(("channels", "rank", "kernels"), [(512, 64, 1), (8192, 512, 2)])
def test_weights_that_no_cache_of_a_core_holds_are_not_read_by_all(channels, rank, kernels):
    """A low rank's two convolutions on 7 x 7 pixels: together they are cut by rows, each by itself by its filters."""
    links = [ConvWorkload(ConvGeometry(rank, (1, 1)), (7, 7), channels, 1), ConvWorkload(ConvGeometry(512, (1, 1)), (7, 7), rank, 1)]
    assert len(segments(links, named("zen4"))) == kernels


@pytest.mark.parametrize(("size", "in_place", "transposed"), [((28, 28), True, False), ((32, 32), False, True), ((256, 12), False, False)])
def test_an_image_whose_channels_share_no_lines_is_read_as_it_lies(size, in_place, transposed):
    """Where they do, tasks transpose their rows, if these fill a vector."""
    links = [ConvWorkload(ConvGeometry(32, (1, 1)), size, 256, 1), ConvWorkload(ConvGeometry(128, (1, 1)), size, 32, 1)]
    [segment] = segments(links, named("zen4"), Ends(source_nchw=True))
    assert segment.ends == Ends(in_place or transposed, False, in_place)


@pytest.mark.parametrize(("filters", "in_place"), [(32, True), (256, False)])
def test_what_lies_in_many_pages_is_read_as_it_lies_only_once(filters, in_place):
    """Not again for every block of filters."""
    links = [ConvWorkload(ConvGeometry(filters, (1, 1)), (56, 56), 252, 1), ConvWorkload(ConvGeometry(32, (3, 3)), (56, 56), filters, 1)]
    assert transposable(links, fused_stages(links, named("zen4")), Ends(source_nchw=True), named("zen4")).in_place is in_place


@pytest.mark.parametrize(("name", "pixels"), [("zen3", 5), ("zen4", 14)])
def test_sums_over_few_channels_stay_in_registers(name, pixels):
    """LLVM spilled a vector for every third product where one loop had all kernel columns."""
    target, geometry = named(name), ConvGeometry(64, (7, 7), (2, 2), (3, 3, 3, 3))
    schedule, _, _ = kernel_of((1, 112, 112, 3), [geometry], [ChainStage(geometry, pixels, 2)], Cut(4), target=target)
    loops = TransposeTiles()(BoundLoops()(lower_blocks(schedule.mod)))
    lines = tvm.tirx.build(loops, target=target.tvm_target(), pipeline=PIPELINE).inspect_source("asm").splitlines()
    products = sum("vfmadd" in line for line in lines)
    spilled = sum("vmov" in line and line.split("#")[0].rstrip().endswith("(%rsp)") for line in lines)
    assert products > 0 and spilled < products / 20


def test_what_a_chain_can_not_do_stays_apart():
    cut = ConvWorkload(ConvGeometry(32, (3, 3), padding=(-1, 0, 0, 0)), (9, 9), 16, 1)
    odd = ConvWorkload(ConvGeometry(30, (1, 1)), (6, 7), 32, 1)
    assert [segment.count for segment in segments([cut, odd], HOST)] == [1, 1]
