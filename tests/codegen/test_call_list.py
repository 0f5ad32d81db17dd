"""Networks that are a straight line of kernels run without the virtual machine, and give what it gives."""
from __future__ import annotations

import ctypes

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tenfold.codegen.external_memory import externalize_memory
from tenfold.frontends import load
from tenfold.passes.pipeline import lower
from tenfold.runner.build import build_library
from tenfold.runtime import loaded_network, thread_pool
from tenfold.runtime.call_list import StraightLine
from tenfold.runtime.loaded_network import BOUND, Machine, ffi
from tenfold.runtime.manifest import LIBRARY, WEIGHTS
from tenfold.runtime.weights import map_weights
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve

HOST = resolve("host")
SHAPE = 2, 8, 6, 5
CONV = helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1, 1, 1, 1])
FLAT = helper.make_node("Reshape", ["a", "flat"], ["f"], "flatten")
DENSE = helper.make_node("MatMul", ["f", "d"], ["y"], "dense")


def network(nodes, outputs, shape=SHAPE):
    rng = np.random.default_rng(0)
    values = {
        "w": rng.standard_normal((8, 8, 3, 3)).astype("float32") / 8,
        "d": rng.standard_normal((240, 7)).astype("float32") / 16,
        "flat": np.array([2, 240]),
    }
    used = [numpy_helper.from_array(value, name) for name, value in values.items() if any(name in node.input for node in nodes)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, results, used)
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def machine(folder, net, threads=2):
    build_library(net.mod, HOST, folder)
    return Machine(folder / LIBRARY, map_weights(folder / WEIGHTS), [(spec.shape, spec.dtype) for spec in net.inputs], threads)


STRAIGHT = {
    "one layer": ([CONV], ["a"]),
    "a view between layers": ([CONV, FLAT, DENSE], ["y"]),
    "two outputs": ([CONV, helper.make_node("Relu", ["a"], ["r"], "relu"), FLAT, DENSE], ["r", "y"]),
    "a view of the input": (
        [helper.make_node("Reshape", ["x", "flat"], ["f"], "flatten"), DENSE, helper.make_node("Relu", ["x"], ["r"], "relu")],
        ["y", "r"],
    ),
}
OTHERS = {
    "nothing else": ([helper.make_node("Identity", ["x"], ["i"], "identity")], ["i"]),
    "an input is returned": ([CONV, helper.make_node("Identity", ["x"], ["i"], "identity")], ["a", "i"]),
}


@pytest.mark.quick(4)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", STRAIGHT)
def test_it_gives_what_the_virtual_machine_gives(tmp_path, name, threads):
    net = network(*STRAIGHT[name])
    run = machine(tmp_path, net, threads)
    for seed in range(3):  # not in the memory of the first call
        x = np.random.default_rng(seed).standard_normal(SHAPE).astype("float32")
        ours = run([x])
        assert run._is_straight and "executable" not in vars(run)  # it was not even made
        for mine, reference in zip(ours, net.reference({"x": x}), strict=True):
            np.testing.assert_allclose(mine, reference, atol=1e-5, rtol=1e-5)
    written = [np.zeros_like(array) for array in ours]
    run.executable[BOUND](ffi().from_dlpack(x), *map(ffi().from_dlpack, written))
    for mine, other in zip(ours, written, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_keep_the_virtual_machine(tmp_path, name):
    net = network(*OTHERS[name])
    _, memory = externalize_memory(lower(net.mod, backend_of(HOST)))
    assert memory.steps == ()
    run = machine(tmp_path, net)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype("float32")
    for _ in range(2):
        for mine, reference in zip(run([x]), net.reference({"x": x}), strict=True):
            np.testing.assert_allclose(mine, reference, atol=1e-5, rtol=1e-5)


def test_steps_name_kernels_and_what_they_work_on():
    mod, memory = externalize_memory(lower(network([CONV, FLAT, DENSE], ["y"]).mod, backend_of(HOST)))
    params = mod["main"].params
    used = {operand.position for step in memory.steps for operand in step.operands}
    assert used == set(range(len(params)))  # input, output, each weight, each place
    assert memory.steps[0].operands[0].position == 0 and memory.steps[-1].operands[-1].position == 1
    assert memory.steps[-1].operands[0].shape == (2, 240)  # the view
    kernels = {var.name_hint for var, _ in mod.functions_items()}
    assert {step.kernel for step in memory.steps} <= kernels


def test_a_kernel_that_fails_says_why(tmp_path):
    """One is told of a tensor of another shape than it is for."""
    net = network([CONV], ["a"])
    run = machine(tmp_path, net)
    contents = map_weights(tmp_path / WEIGHTS)
    step = contents.steps[-1]
    short = type(step.operands[-1])(step.operands[-1].position, (1, *step.operands[-1].shape[1:]))
    wrong = [*contents.steps[:-1], type(step)(step.kernel, (*step.operands[:-1], short))]
    with thread_pool.opened(loaded_network.spelled(tmp_path / LIBRARY)) as handle:
        line = StraightLine(handle, wrong, [np.dtype("float32")] * 2, run._memory, 1, 2)
    function = run._library.get_function("tenfold_run", query_imports=True)
    x = np.zeros(SHAPE, "float32")
    with pytest.raises(Exception, match="shape"):
        function(line.address, x, np.empty_like(x))
    run([x])  # and nothing is left of it


def test_the_structures_are_as_large_as_those_of_c():
    from tenfold.runtime import call_list

    sizes = {call_list._Tensor: 48, call_list._Any: 16, call_list._Call: 24, call_list._Place: 24, call_list._Line: 72}
    assert {kind: ctypes.sizeof(kind) for kind in sizes} == sizes
