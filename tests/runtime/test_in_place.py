"""Inputs are read where the caller has them, outputs written where the caller gets them; nobody else's memory is handed out."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import tenfold
from onnx import TensorProto, helper, numpy_helper
from tenfold.codegen.external_memory import externalize_memory
from tenfold.frontends import load as load_network
from tenfold.passes.pipeline import lower
from tenfold.runner.build import build_library
from tenfold.runtime.loaded_network import Machine
from tenfold.runtime.manifest import LIBRARY, WEIGHTS
from tenfold.runtime.weights import map_weights
from tenfold.schedules.backend import backend_of
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve

HOST = resolve("host")
SHAPE = 1, 8, 5, 5
KINDS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}
CONV = helper.make_node("Conv", ["x", "w"], ["a"], "conv")
FLAT = helper.make_node("Reshape", ["x", "flat"], ["y"], "reshape")


def model(nodes, outputs, dtype="float32", shape=SHAPE):
    """A network of `nodes` on ``x``; ``w`` is a weight, and ``flat`` a shape, that they may use."""
    weight = np.random.default_rng(0).standard_normal((8, 8, 1, 1)).astype("float32")
    constants = {"w": weight, "flat": np.array([1, 200]), "c": np.arange(4, dtype=dtype)}
    used = [numpy_helper.from_array(value, name) for name, value in constants.items() if any(name in node.input for node in nodes)]
    inputs = [helper.make_tensor_value_info("x", KINDS[dtype], shape)]
    results = [helper.make_tensor_value_info(name, KINDS[dtype], None) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, results, used)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def compiled(tmp_path, *args, **kwargs):
    onnx.save(model(*args, **kwargs), tmp_path / "model.onnx")
    return tenfold.compile(tmp_path / "model.onnx", HOST)


def machine(tmp_path, *args, **kwargs):
    """Without what is checked of an artifact."""
    network = load_network(model(*args, **kwargs))
    build_library(network.mod, HOST, tmp_path)
    contents = map_weights(tmp_path / WEIGHTS)
    return Machine(tmp_path / LIBRARY, contents, [(spec.shape, spec.dtype) for spec in network.inputs], 1)


def at(offset, array):
    """A copy that begins so many bytes behind a multiple of 64."""
    raw = np.empty(array.nbytes + 128, np.uint8)
    copy = np.ndarray(array.shape, array.dtype, raw, -raw.ctypes.data % 64 + offset)
    copy[:] = array
    return copy


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal(SHAPE).astype("float32")


def test_the_input_may_lie_anywhere_in_memory(tiny_artifact, image):
    net = tenfold.load(tiny_artifact)
    expected = net(image)
    for offset in (0, 1, 2, 4, 8, 16, 60):
        np.testing.assert_array_equal(net(at(offset, image)), expected)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: np.ascontiguousarray(x.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1),
        lambda x: np.repeat(x, 2, axis=3)[..., ::2],
        lambda x: x[..., ::-1].copy()[..., ::-1],
        lambda x: np.concatenate([x, x], axis=1)[:, :3],  # in order, but the stride of the batch is that of six channels
    ],
    ids=["transposed", "every other", "backwards", "odd stride"],
)
def test_the_input_may_be_a_view(tiny_artifact, image, arrange):
    net = tenfold.load(tiny_artifact)
    view = arrange(image)
    np.testing.assert_array_equal(view, image)
    np.testing.assert_array_equal(net(view), net(image))


def test_the_input_may_be_read_only_or_a_file(tiny_artifact, image, tmp_path):
    net = tenfold.load(tiny_artifact)
    expected = net(image)
    np.save(tmp_path / "x.npy", image)
    for mode in ("r", "r+", "c"):
        np.testing.assert_array_equal(net(np.load(tmp_path / "x.npy", mmap_mode=mode)), expected)


def test_inputs_in_order_are_not_copied_and_others_checked_as_they_are(tiny_artifact, image):
    net = tenfold.load(tiny_artifact)
    net(image)
    net(at(4, image))
    assert not net._machine._buffers
    odd = at(2, image)
    net(odd)
    assert len(net._machine._buffers) == 1
    odd[0, 0, 0, 0] = np.nan
    with pytest.raises(TenfoldError, match="'image' holds NaN or infinity"):
        net(odd)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_and_the_last_number_are_checked(tiny_artifact, image, value):
    net = tenfold.load(tiny_artifact)
    for at_ in (0, -1):
        bad = image.copy()
        bad.reshape(-1)[at_] = value
        with pytest.raises(TenfoldError, match="NaN or infinity"):
            net(bad)
    net(np.full_like(image, 1e30))


def test_the_input_is_left_as_it_was_and_not_held(tiny_artifact, image):
    import gc
    import weakref

    net = tenfold.load(tiny_artifact)
    given, kept = image.copy(), image.copy()
    result = net(given)
    np.testing.assert_array_equal(given, kept)
    references = weakref.ref(given), weakref.ref(result)
    del given, result
    gc.collect()
    assert references[0]() is None and references[1]() is None


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_inputs_of_other_dtypes(tmp_path, dtype):
    net = compiled(tmp_path, [helper.make_node("Add", ["x", "c"], ["y"], "add")], ["y"], dtype, (3, 4))
    x = np.arange(12).reshape(3, 4).astype(dtype)
    for array in (x, at(x.itemsize, x), at(1, x), np.asfortranarray(x)):
        result = net(array)
        np.testing.assert_array_equal(result, x + np.arange(4))
        assert result.dtype == x.dtype


def test_results_survive_the_next_call(tmp_path, x):
    net = compiled(tmp_path, [CONV, helper.make_node("Relu", ["a"], ["r"], "relu")], ["a", "r"])
    first = net(x)
    kept = [array.copy() for array in first]
    second = net(-x)
    for array, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert array.flags.carray and not any(np.shares_memory(array, other) for other in (x, *second))
    assert not np.shares_memory(*first)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([helper.make_node("Identity", ["x"], ["y"], "identity")], ["y"]),
        ([FLAT], ["y"]),
        ([CONV, FLAT], ["y", "a"]),
        ([CONV, helper.make_node("Identity", ["x"], ["y"], "identity")], ["a", "y"]),
    ],
    ids=["identity", "reshape", "reshape and a layer", "a layer and identity"],
)
def test_an_input_that_is_returned_is_a_copy(tmp_path, x, nodes, outputs):
    given = x.copy()
    results = compiled(tmp_path, nodes, outputs).run(given)
    same = results["y"]
    assert not np.shares_memory(same, given)
    given[:] = 0
    np.testing.assert_array_equal(same.ravel(), x.ravel())
    same[:] = 1
    assert not given.any()


def test_a_tensor_that_is_returned_twice_is_two_arrays(tmp_path, x):
    run = machine(tmp_path, [CONV, helper.make_node("Identity", ["a"], ["b"], "identity")], ["a", "b"])
    first, second = run([x])
    np.testing.assert_array_equal(first, second)
    assert not np.shares_memory(first, second)


def test_outputs_are_in_order_whichever_way_they_come(tmp_path, x):
    nodes = [CONV, helper.make_node("Identity", ["x"], ["i"], "identity"), helper.make_node("Relu", ["a"], ["r"], "relu")]
    net = compiled(tmp_path, nodes, ["i", "a", "r"])
    i, a, r = net(x)
    np.testing.assert_array_equal(i, x)
    np.testing.assert_array_equal(r, np.maximum(a, 0))
    assert a.min() < 0


def test_a_layer_writes_its_output_and_returns_nothing():
    mod, memory = externalize_memory(lower(load_network(model([CONV], ["a"])).mod, backend_of(HOST)))
    assert [(d.position, d.shape) for d in memory.destinations] == [(0, SHAPE)]
    assert not mod["main"].body.body.fields
    assert all(place.shape != SHAPE for place in memory.places)


def test_recorded_calls_keep_what_they_work_on(tiny_artifact, image):
    """Otherwise whoever makes them again reads and writes memory that is no longer theirs."""
    import gc
    import weakref

    net = tenfold.load(tiny_artifact)
    expected = net(image)
    given = image.copy()
    reference = weakref.ref(given)
    names = {kernel["function"] for kernel in net.manifest.kernels}
    calls = [(function, args) for name, function, args in net.record(given) if name in names]
    del given
    gc.collect()
    assert reference() is not None
    result = np.from_dlpack(calls[-1][1][-1])
    np.testing.assert_array_equal(result, expected)
    for function, args in calls:
        function(*args)
    np.testing.assert_array_equal(result, expected)
    del calls, result, function, args, net
    gc.collect()
    assert reference() is None
