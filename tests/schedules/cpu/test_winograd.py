"""Winograd kernels against ONNX Runtime over random geometry: any size, padding, dilation, channels, blocking and epilogue."""
from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import tvm
from convolution_checks import reference, run
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_checks import AVX512, HOST
from tenfold.schedules.cpu.winograd.compute import pack_winograd, winograd
from tenfold.schedules.cpu.winograd.cost import Blocking, blockings, choose_winograd, direct_cycles, tile_count, winograd_cycles
from tenfold.schedules.cpu.winograd.schedule import schedule_winograd
from tenfold.schedules.shapes import ConvGeometry, ConvShape
from tvm import te, tirx

AVX2 = named("zen3")


def function(geometry: ConvGeometry, blocking: Blocking, x: np.ndarray, packed: np.ndarray, residual: bool, step=None):
    """The convolution, perhaps pooled, bias, maybe another tensor added, clipped to [0, 2]; and the shape of the result."""
    data, weights = te.placeholder(x.shape, name="x"), te.placeholder(packed.shape, name="w")
    biases = te.placeholder((geometry.filters,), name="b")
    out = winograd(data, weights, geometry, blocking, step)
    other = te.placeholder(out.shape, name="r")
    total = te.compute(out.shape, lambda *i: out(*i) + biases[i[-1]], name="bias")
    added = te.compute(out.shape, lambda *i: total(*i) + other(*i), name="add") if residual else total
    low, high = tirx.const(0, "float32"), tirx.const(2, "float32")
    clipped = te.compute(out.shape, lambda *i: tirx.max(tirx.min(added(*i), high), low), name="clip")
    arguments = [data, weights, biases, *([other] if residual else []), clipped]
    return te.create_prim_func(arguments), tuple(int(d) for d in out.shape)


def check(shape, geometry, blocking, residual=False, seed=0, pooled=False):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, "float32")
    weight = rng.standard_normal((geometry.filters, shape[-1], 3, 3), "float32") / np.float32(3 * np.sqrt(shape[-1]))
    bias, packed = rng.standard_normal(geometry.filters, "float32"), pack_winograd(weight, blocking, HOST.lanes)
    func, out = function(geometry, blocking, x, packed, residual, (lambda value, f: value * tirx.const(-1, "float32")) if pooled else None)
    # ONNX Runtime writes beyond its buffers where padding is negative: cut first.
    top, left, bottom, right = (max(0, -p) for p in geometry.padding)
    cut = x[:, top:x.shape[1] - bottom, left:x.shape[2] - right]
    expected = reference(cut, weight, replace(geometry, padding=tuple(max(0, p) for p in geometry.padding)))
    if pooled:
        n, height, width, filters = expected.shape
        expected = (-expected).reshape(n, height // 2, 2, width // 2, 2, filters).max((2, 4))
    expected = expected + bias
    assert out == expected.shape
    other = rng.standard_normal(out, "float32")
    result = run(schedule_winograd(func, HOST), [x, packed, bias, *([other] if residual else [])], out)
    np.testing.assert_allclose(result, np.clip(expected + other if residual else expected, 0, 2), atol=2e-5)


@st.composite
def cases(draw):
    filters = draw(st.one_of(st.sampled_from([HOST.lanes * n for n in (1, 2, 3, 4, 6, 8, 12)]), st.integers(1, 6 * HOST.lanes)))
    padding = draw(st.tuples(*[st.integers(-1, 3)] * 4))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3), (5, 1), (12, 12)]))
    size = [max(1, 2 * dilation[a] + 1 - padding[a] - padding[a + 2]) + draw(st.integers(0, 13)) for a in (0, 1)]
    shape = (draw(st.integers(1, 3)), *size, draw(st.integers(1, 20)))
    geometry = ConvGeometry(filters, (3, 3), padding=padding, dilation=dilation)
    outputs, pixels = draw(st.sampled_from([2, 4])), draw(st.integers(1, 6))
    vectors = draw(st.integers(1, 3))
    blocks = ceil(filters / (vectors * HOST.lanes))
    most = ceil(tile_count(geometry.shape(*shape), outputs) / pixels)
    group = draw(st.sampled_from([b for b in range(1, blocks + 1) if blocks % b == 0]))
    blocking = Blocking(outputs, pixels, vectors, pixels * draw(st.integers(1, most)), group, draw(st.booleans()), draw(st.booleans()))
    return shape, geometry, blocking


@pytest.mark.slow
@given(case=cases(), residual=st.booleans(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_any_geometry_and_blocking(case, residual, seed):
    check(*case, residual, seed)


@pytest.mark.slow
@given(case=cases(), residual=st.booleans(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_largest_of_each_two_by_two(case, residual, seed):
    """Of what a step that turns signs makes of the sums."""
    shape, geometry, blocking = case
    geometry, (n, height, width, channels) = replace(geometry, dilation=(1, 1)), shape
    odd = [size % 2 for size in geometry.output(height, width)]
    check((n, height + odd[0], width + odd[1], channels), geometry, replace(blocking, tiles=blocking.pixels), residual, seed, pooled=True)


@pytest.mark.parametrize(("size", "channels", "filters", "dilation"), [
    ((14, 14), 64, 64, 1), ((7, 9), 128, 128, 1), ((30, 17), 32, 96, 1), ((1, 40), 64, 32, 1), ((28, 28), 26, 26, 1), ((14, 14), 52, 52, 2),
    ((9, 9), 208, 52, 1)])
def test_chosen_blocking(size, channels, filters, dilation):
    geometry = ConvGeometry(filters, (3, 3), padding=(dilation,) * 4, dilation=(dilation, dilation))
    shape = (1, *size, channels)
    blocking = min(blockings(geometry.shape(*shape), HOST), key=lambda b: winograd_cycles(geometry.shape(*shape), b, HOST))
    check(shape, geometry, blocking)


shapes = st.builds(
    ConvShape, batch=st.sampled_from([1, 2, 32]), groups=st.sampled_from([1, 1, 2]),
    channels=st.integers(1, 600), filters=st.integers(1, 600),
    output=st.tuples(st.integers(1, 120), st.integers(1, 120)), kernel=st.sampled_from([(3, 3), (3, 3), (1, 1), (3, 1), (5, 5)]),
    stride=st.sampled_from([(1, 1), (1, 1), (2, 2)]), dilation=st.sampled_from([(1, 1), (1, 1), (2, 2), (12, 24)]))


@given(shape=shapes, target=st.sampled_from([HOST, AVX512]))
@settings(deadline=None, max_examples=100)
def test_choice_is_valid_and_predicted_faster(shape, target):
    blocking = choose_winograd(shape, target)
    if shape.kernel != (3, 3) or shape.stride != (1, 1) or shape.groups != 1:
        assert blocking is None
    if blocking is not None:
        block = blocking.vectors * target.lanes
        assert ceil(shape.filters / block) % blocking.blocks == 0
        assert blocking.tiles % blocking.pixels == 0
        assert blocking.tiles < tile_count(shape, blocking.outputs) + blocking.pixels
        assert winograd_cycles(shape, blocking, target) < direct_cycles(shape, target)


def test_first_layers_stay_direct():
    """Three input channels: transforms of which each result is used for few products."""
    assert choose_winograd(ConvShape(1, 1, 3, 64, (224, 224), (3, 3)), HOST) is None


@pytest.mark.parametrize(("target", "blocking"), [(AVX2, Blocking(4, 6, 2, 12, 4, False)), (AVX2, Blocking(2, 5, 2, 25, 1, True)),
                                                  (AVX512, Blocking(4, 7, 2, 49, 1, False)), (AVX512, Blocking(4, 7, 2, 49, 1, True))])
def test_inner_loop_is_a_register_tile_without_stores(target, blocking):
    """Between two branches of the hottest loop: multiply-adds, loads and broadcasts, but nothing written to memory."""
    geometry, shape = ConvGeometry(64, (3, 3), padding=(1, 1, 1, 1)), (1, 28, 28, 64)
    packed = pack_winograd(np.zeros((64, 64, 3, 3), "float32"), blocking, target.lanes)
    func, _ = function(geometry, blocking, np.zeros(shape, "float32"), packed, False)
    loop = product_loop(tvm.compile(schedule_winograd(func, target).mod, target=target.tvm_target()).mod.inspect_source("asm"))
    products = sum("vfmadd" in line for line in loop)
    assert products > 0 and products % (blocking.pixels * blocking.vectors) == 0
    assert not [line for line in loop if "vmov" in line and line.rstrip().endswith(")")]


def product_loop(assembly: str) -> list[str]:
    """The shortest loop that prefetches: the lines from a label to a jump back to it."""
    lines = assembly.splitlines()
    labels = {line.split(":")[0]: k for k, line in enumerate(lines) if line.startswith(".LBB")}
    jumps = [(k, line.split()[-1]) for k, line in enumerate(lines) if line.strip().startswith("j")]
    loops = [lines[labels[label]:k + 1] for k, label in jumps if labels.get(label, k) < k]
    return min((loop for loop in loops if any("prefetch" in line for line in loop)), key=len)
