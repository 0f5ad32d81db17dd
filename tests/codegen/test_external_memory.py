"""Weights and tensors as arguments of main: nothing is allocated, nothing is stored in the code, and the results are the same."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tenfold.codegen.external_memory import externalize_memory
from tenfold.codegen.workspaces import WorkspaceMeter
from tenfold.frontends import load
from tenfold.passes.pipeline import lower
from tenfold.runtime.memory_plan import arena_bytes
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve

HOST = resolve("host")


def residual(blocks=4, channels=16, size=12):
    """``blocks`` alike: a 5 x 5 convolution, ReLU, and the block's input added to it."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for i in range(blocks):
        weights.append(numpy_helper.from_array(rng.standard_normal((channels, channels, 5, 5)).astype("float32") / 20, f"w{i}"))
        weights.append(numpy_helper.from_array(rng.standard_normal(channels).astype("float32"), f"b{i}"))
        nodes += [
            helper.make_node("Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", pads=[2, 2, 2, 2]),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"),
            helper.make_node("Add", [f"r{i}", f"x{i}"], [f"x{i + 1}"], f"add{i}"),
        ]
    shape = [1, channels, size, size]
    values = [helper.make_tensor_value_info(name, 1, shape) for name in ("x0", f"x{blocks}")]
    graph = helper.make_graph(nodes, "residual", values[:1], values[1:], weights)
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@pytest.fixture(scope="module")
def lowered():
    return lower(residual().mod, backend_of(HOST))


def test_main_takes_weights_and_tensors_and_allocates_nothing(lowered):
    mod, memory = externalize_memory(lowered)
    main = mod["main"]
    assert len(main.params) == 1 + len(memory.destinations) + len(memory.weights) + len(memory.places)
    text = main.script(show_meta=True)
    assert "alloc_storage" not in text and "alloc_tensor" not in text and "ir.GenericConst" not in text.split("# Metadata")[0]
    assert "alloc_storage" in lowered["main"].script()  # the module that was given is as it was
    assert sum(array.size for array in memory.weights) == 4 * (16 * 16 * 25 + 16)


def test_places_are_shared_by_what_is_not_alive_together(lowered):
    _, memory = externalize_memory(lowered)
    bytes_each = 4 * 16 * 12 * 12
    assert sum(place.end - place.offset for place in memory.places) >= 5 * bytes_each
    assert arena_bytes(memory.places) <= 3 * bytes_each


def test_layers_that_are_alike_share_a_kernel(lowered):
    from tvm import tirx

    kernels = [var.name_hint for var, func in lowered.functions_items() if isinstance(func, tirx.PrimFunc)]
    assert sum("conv2d" in name for name in kernels) == 1, kernels


def test_one_constant_used_twice_is_one_argument():
    weight = numpy_helper.from_array(np.eye(8, dtype="float32").reshape(8, 8, 1, 1), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], "first"), helper.make_node("Conv", ["a", "w"], ["y"], "second")]
    values = [helper.make_tensor_value_info(name, 1, [1, 8, 5, 5]) for name in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [weight]), opset_imports=[helper.make_opsetid("", 17)])
    _, memory = externalize_memory(lower(load(model).mod, backend_of(HOST)))
    distinct = {array.tobytes() for array in memory.weights}
    assert len(memory.weights) == len(distinct)


def test_workspaces_are_counted_for_every_thread():
    import tvm
    from tvm import te

    x = te.placeholder((64, 1024), name="x")
    inner = te.compute((64, 1024), lambda i, j: x[i, j] * 2.0, name="inner")
    y = te.compute((64, 1024), lambda i, j: inner[i, 1023 - j], name="y")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, y]))
    row = schedule.get_loops("y")[0]
    schedule.compute_at(schedule.get_sblock("inner"), row)
    serial = WorkspaceMeter(3)
    with tvm.transform.PassContext(instruments=[serial]):
        tvm.tirx.build(schedule.mod, target=HOST.tvm_target())
    schedule.parallel(row)
    parallel = WorkspaceMeter(3)
    with tvm.transform.PassContext(instruments=[parallel]):
        tvm.tirx.build(schedule.mod, target=HOST.tvm_target())
    assert serial.bytes == 4096 and parallel.bytes == 3 * 4096


def test_a_network_compiled_this_way_computes_the_same(tmp_path):
    import tenfold

    net = residual()
    onnx.save(net.onnx, tmp_path / "residual.onnx")
    compiled = tenfold.compile(tmp_path / "residual.onnx", HOST)
    x = np.random.default_rng(3).standard_normal((1, 16, 12, 12)).astype("float32")
    expected = net.reference({"x0": x})[0]
    for _ in range(3):  # the arena holds what the run before left there
        np.testing.assert_allclose(compiled(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
