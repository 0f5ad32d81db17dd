"""HardSwish between the layers of a run: one step, in one kernel, with the same results."""
from __future__ import annotations

import numpy as np
import pytest
from fusion_checks import check, conv, kernels, network
from onnx import helper
from tenfold.passes.convolution_runs import find_runs
from tenfold.passes.find_tasks import find_tasks
from tenfold.passes.pipeline import lower
from tenfold.passes.task_module import task_module
from tenfold.schedules.backend import backend_of
from tenfold.schedules.operators import HARD_SWISH

NUMBERS = {"three": np.float32(3), "two": np.float32(2), "low": np.float32(0), "high": np.float32(6)}
SHAPES = {"w0": (96, 16, 1, 1), "w1": (96, 1, 3, 3), "w2": (16, 96, 1, 1)}


def block(first, second, size=28, outputs=("y",)):
    nodes = [conv("expand", ["x", "w0"], "a"), *first, conv("depthwise", ["as", "w1"], "b", group=96, pads=[1] * 4), *second,
             conv("project", ["bs", "w2"], "y")]
    return network(nodes, SHAPES, [1, 16, size, size], outputs, {k: np.array(v) for k, v in NUMBERS.items()})


def node(kind, *names):
    *inputs, output = names
    return helper.make_node(kind, inputs, [output])


def steps(net, target):
    main = lower(net.mod, backend_of(target), until="composites")["main"]
    return [[[step.name for step in member.steps] for member in run] for run in find_runs(main)]


def test_a_block_is_one_kernel_as_with_relu(target):
    net = block([node("HardSwish", "a", "as")], [node("HardSwish", "b", "bs")])
    assert steps(net, target) == [[[HARD_SWISH], [HARD_SWISH], []]]
    assert len(kernels(net, target)) == len(kernels(block([node("Relu", "a", "as")], [node("Relu", "b", "bs")]), target))
    check(net, target)


def written_out(number):
    """As older exporters write it, with another number to add."""
    return [node("Add", "a", number, "a1"), node("Clip", "a1", "low", "high", "a2"), node("Div", "a2", "high", "a3"),
            node("Mul", "a", "a3", "as")]


@pytest.mark.parametrize("number, found", [("three", True), ("two", False)])
def test_only_the_numbers_of_hard_swish_count(number, found, target):
    net = block(written_out(number), [node("Relu", "b", "bs")])
    assert (HARD_SWISH in steps(net, target)[0][0]) == found
    check(net, target)


def test_a_value_on_the_way_that_is_an_output_ends_the_run(target):
    net = block(written_out("three"), [node("Relu", "b", "bs")], outputs=("y", "a2"))
    assert not any(HARD_SWISH in names for run in steps(net, target) for names in run)
    check(net, target)


def test_a_task_with_it_has_the_same_runs(target):
    net = block([node("HardSwish", "a", "as")], [node("HardSwish", "b", "bs")])
    tasks = find_tasks(net.mod, backend_of(target))
    [task] = [task for task in tasks if any(HARD_SWISH in layer.steps for layer in task.layers)]
    again = find_tasks(task_module(task), backend_of(target))
    assert task in again
