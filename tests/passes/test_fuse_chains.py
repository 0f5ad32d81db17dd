"""Which convolutions of a network join, before and after, and that the network still computes the same."""
from __future__ import annotations

import numpy as np
import pytest
from fusion_checks import bottleneck, check, conv, kernels, network
from onnx import helper, numpy_helper
from tenfold.passes.convolution_runs import find_runs
from tenfold.passes.kernel_calls import LayerWeights
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of


def test_an_inverted_bottleneck_is_one_kernel_with_its_residual(target):
    net = bottleneck()
    names = kernels(net, target)
    assert sum("chain" in name for name in names) == 1
    assert not any(operator in name for name in names for operator in ("conv2d", "depthwise", "relu"))
    check(net, target)


def test_the_kernel_knows_its_layers(target):
    net = bottleneck()
    weights = LayerWeights(net.mod)
    calls = weights.calls(lower(net.mod, backend_of(target), watch=weights.watch))
    (chain,) = [call for call in calls if call.layers]
    assert chain.layers == ("expand", "depthwise", "project")
    assert chain.macs == 14 * 14 * (16 * 96 + 9 * 96 + 96 * 16)


def test_steps_and_shapes_of_a_run(target):
    mod = lower(bottleneck().mod, backend_of(target), until="channels_last")
    (run,) = find_runs(mod["main"])
    assert [c.geometry.filters for c in run] == [96, 96, 16]
    assert [[step.name for step in c.steps] for c in run] == [["relax.add", "relax.nn.relu"]] * 2 + [[]]
    assert [c.workload().size for c in run] == [(14, 14)] * 3


@pytest.mark.quick(2)
@pytest.mark.parametrize("outputs", [("y", "ar"), ("y", "a")])
def test_a_value_that_is_also_an_output_is_kept(outputs, target):
    net = bottleneck(outputs=outputs)
    runs = find_runs(lower(net.mod, backend_of(target), until="channels_last")["main"])
    assert all(len(run) < 3 for run in runs)
    check(net, target)


def test_a_value_read_twice_is_kept(target):
    """The second convolution and the sum both read the first."""
    nodes = [conv("a", ["x", "w0"], "a"), conv("b", ["a", "w1"], "b", group=16, pads=[1] * 4), helper.make_node("Add", ["a", "b"], ["y"])]
    net = network(nodes, {"w0": (16, 16, 1, 1), "w1": (16, 1, 3, 3)}, [1, 16, 9, 9])
    assert [len(run) for run in find_runs(lower(net.mod, backend_of(target), until="channels_last")["main"])] == [1, 1]
    check(net, target)


def test_a_step_that_is_not_element_wise_ends_the_run(target):
    nodes = [conv("a", ["x", "w0"], "a"), helper.make_node("AveragePool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             conv("b", ["p", "w1"], "y")]
    net = network(nodes, {"w0": (16, 16, 1, 1), "w1": (16, 16, 1, 1)}, [1, 16, 8, 8])
    assert [len(run) for run in find_runs(lower(net.mod, backend_of(target), until="channels_last")["main"])] == [1, 1]
    check(net, target)


def test_clip_and_sigmoid_between(target):
    nodes = [conv("a", ["x", "w0", "b0"], "a"), helper.make_node("Clip", ["a", "low", "high"], ["ac"]),
             conv("b", ["ac", "w1", "b1"], "b", group=32, pads=[1] * 4), helper.make_node("Sigmoid", ["b"], ["y0"]),
             conv("c", ["y0", "w2"], "y")]
    net = network(nodes, {"w0": (32, 16, 1, 1), "b0": (32,), "w1": (32, 1, 3, 3), "b1": (32,), "w2": (8, 32, 1, 1), "low": (), "high": ()},
                  [2, 16, 9, 7])
    check(net, target)


def flattened_layer(batch, *behind, outputs=("y",)):
    """Lateral, vertical, horizontal filters and a pointwise one; `behind` reads the result, `h`, where there is anything behind."""
    end = "h" if behind else "y"
    nodes = [conv("lateral", ["x", "w0", "b0"], "a"), conv("vertical", ["a", "w1"], "b", group=32, pads=[2, 0, 2, 0]),
             conv("horizontal", ["b", "w2", "b2"], "c", group=32, pads=[0, 2, 0, 2]), conv("again", ["c", "w3"], "d"),
             helper.make_node("Relu", ["d"], [end]), *behind]
    shapes = {"w0": (32, 32, 1, 1), "b0": (32,), "w1": (32, 1, 5, 1), "w2": (32, 1, 1, 5), "b2": (32,), "w3": (48, 32, 1, 1)}
    return network(nodes, shapes, [batch, 32, 17, 19], outputs)


@pytest.mark.slow
def test_a_chain_at_both_ends_of_a_network_transposes_its_rows_itself(target):
    net = flattened_layer(8)
    [name] = kernels(net, target)
    assert "chain" in name
    check(net, target)


@pytest.mark.quick(3)
@pytest.mark.parametrize("channels, filters, size, kernel, own", [(256, 64, 56, 1, True), (2048, 512, 7, 1, False), (64, 64, 28, 3, False)])
def test_a_pointwise_convolution_of_few_weights_transposes_its_rows_itself(channels, filters, size, kernel, own, target):
    nodes = [conv("c", ["x", "w"], "a", pads=[kernel // 2] * 4), helper.make_node("GlobalAveragePool", ["a"], ["y"])]
    net = network(nodes, {"w": (filters, channels, kernel, kernel)}, [1, channels, size, size])
    assert any("transpose" in name for name in kernels(net, target)) != own
    check(net, target)


def pooled(window, steps=("Relu",), **pool):
    """A pointwise and a depthwise convolution with max-pooling behind them, and one more convolution."""
    nodes, name = [conv("a", ["x", "w0", "b0"], "a"), conv("b", ["a", "w1", "b1"], "b", group=32, pads=[1] * 4)], "b"
    for step in steps:
        nodes.append(helper.make_node(step, [name], [step]))
        name = step
    nodes += [helper.make_node("MaxPool", [name], ["p"], kernel_shape=window, **pool), conv("c", ["p", "w2"], "y")]
    return network(nodes, {"w0": (32, 16, 1, 1), "b0": (32,), "w1": (32, 1, 3, 3), "b1": (32,), "w2": (16, 32, 1, 1)}, [2, 16, 19, 18])


@pytest.mark.quick(4)
@pytest.mark.parametrize("window, pool", [
    ([2, 2], {"strides": [2, 2]}), ([3, 3], {"strides": [2, 2], "pads": [1] * 4}), ([3, 2], {}), ([2, 2], {"dilations": [2, 2]}),
    ([2, 2], {"strides": [2, 2], "ceil_mode": 1})])
@pytest.mark.parametrize("steps", [("Relu",), ()])
def test_max_pooling_is_part_of_the_kernel_before_it(window, pool, steps, target):
    """Without a ReLU, padding must not win over numbers below zero."""
    net = pooled(window, steps, **pool)
    assert not any("pool" in name for name in kernels(net, target))
    check(net, target)


@pytest.mark.quick(2)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_average_over_the_image_is_part_of_the_kernel_before_it(batch, target):
    nodes = [conv("a", ["x", "w0", "b0"], "a"), conv("b", ["a", "w1", "b1"], "b", group=32, pads=[1] * 4),
             helper.make_node("Sigmoid", ["b"], ["s"]), helper.make_node("GlobalAveragePool", ["s"], ["p"]),
             helper.make_node("Mul", ["p", "p"], ["q"]), helper.make_node("Flatten", ["q"], ["f"]),
             helper.make_node("Gemm", ["f", "w2"], ["y"])]
    shapes = {"w0": (32, 16, 1, 1), "b0": (32,), "w1": (32, 1, 3, 3), "b1": (32,), "w2": (32, 10)}
    net = network(nodes, shapes, [batch, 16, 23, 21])
    assert not any("mean" in name for name in kernels(net, target))
    check(net, target)


@pytest.mark.quick(4)
@pytest.mark.parametrize("groups", [2, 4, 6, 8, 12, 16, 48])
def test_an_average_of_groups_that_share_vectors(groups, target):
    """With a value for each filter behind them: those of several groups are added up as they lie in the vectors."""
    nodes = [conv("a", ["x", "w0", "b0"], "a"), conv("b", ["a", "w1", "b1"], "b", group=groups, strides=[2, 2]),
             helper.make_node("Relu", ["b"], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["y"])]
    net = network(nodes, {"w0": (groups, 3, 1, 1), "b0": (groups,), "w1": (96, 1, 7, 7), "b1": (96,)}, [2, 3, 33, 35])
    apart = target.lanes == 8 and groups < 8  # the model prefers another kernel there, which averages nothing
    assert any("mean" in name for name in kernels(net, target)) == apart
    check(net, target)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (5, 1)])
def test_an_average_of_few_pixels(size, target):
    nodes = [conv("a", ["x", "w0", "b0"], "a"), conv("b", ["a", "w1", "b1"], "b"), helper.make_node("GlobalAveragePool", ["b"], ["y"])]
    net = network(nodes, {"w0": (32, 16, 1, 1), "b0": (32,), "w1": (48, 32, 1, 1), "b1": (48,)}, [2, 16, *size])
    check(net, target)


@pytest.mark.quick(2)
@pytest.mark.parametrize("size, joined", [((32, 28), True), ((31, 28), False)])
def test_a_winograd_convolution_pools_what_it_stores(size, joined, target):
    """If its pixels fill whole windows."""
    nodes = [helper.make_node("AveragePool", ["x"], ["i"], kernel_shape=[1, 1]), conv("a", ["i", "w0", "b0"], "a", pads=[1] * 4),
             helper.make_node("Sigmoid", ["a"], ["s"]), helper.make_node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             helper.make_node("Neg", ["p"], ["y"])]
    net = network(nodes, {"w0": (128, 128, 3, 3), "b0": (128,)}, [1, 128, *size])
    names = kernels(net, target)
    assert any("winograd" in name for name in names)
    assert any("max_pool" in name for name in names) != joined
    check(net, target)


def ordered(position):
    """Three grouped convolutions; before one of them, channels are brought into another order."""
    nodes, name = [helper.make_node("MaxPool", ["x"], ["i"], kernel_shape=[2, 2])], "i"
    kinds = [{"group": 2}, {"group": 32, "pads": [1] * 4}, {"group": 4}]
    shapes = {"w0": (32, 12, 3, 3), "b0": (32,), "w1": (32, 1, 3, 3), "b1": (32,), "w2": (24, 8, 1, 1), "b2": (24,)}
    for i, kind in enumerate(kinds):
        if i == position:
            order = numpy_helper.from_array(np.random.default_rng(0).permutation([24, 32, 32][i]))
            nodes += [helper.make_node("Constant", [], ["order"], value=order), helper.make_node("Gather", [name, "order"], ["g"], axis=1)]
            name = "g"
        nodes += [conv(f"c{i}", [name, f"w{i}", f"b{i}"], f"c{i}", **kind), helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        name = f"r{i}"
    nodes.append(helper.make_node("MaxPool", [name], ["y"], kernel_shape=[3, 3]))
    return network(nodes, shapes, [1, 24, 18, 20])


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_convolution_reads_its_channels_in_another_order(position, target):
    """No gather is left, though none of the grouped convolutions has a weight that could take it; but before one that is better off as
    another kernel, as the first is with eight lanes."""
    net = ordered(position)
    assert any("take" in name for name in kernels(net, target)) == (target.lanes == 8 and position == 0)
    check(net, target)


def test_a_gather_that_others_read_too_stays(target):
    order = numpy_helper.from_array(np.random.default_rng(0).permutation(32))
    nodes = [conv("a", ["x", "w0"], "a", group=2), helper.make_node("Constant", [], ["order"], value=order),
             helper.make_node("Gather", ["a", "order"], ["g"], axis=1), conv("b", ["g", "w1"], "b", group=2),
             helper.make_node("Add", ["b", "g"], ["y"])]
    net = network(nodes, {"w0": (32, 12, 1, 1), "w1": (32, 16, 1, 1)}, [1, 24, 9, 9])
    assert any("take" in name for name in kernels(net, target))
    check(net, target)


@pytest.mark.quick(2)
@pytest.mark.parametrize("kernel", [3, 7])
def test_an_image_of_few_channels_is_read_as_it_lies(kernel, target):
    nodes = [conv("a", ["x", "w0", "b0"], "a", pads=[kernel // 2] * 4, strides=[2, 2]),
             helper.make_node("AveragePool", ["a"], ["p"], kernel_shape=[2, 2]), helper.make_node("GlobalAveragePool", ["p"], ["y"])]
    net = network(nodes, {"w0": (32, 3, kernel, kernel), "b0": (32,)}, [2, 3, 33, 30])
    assert not any("transpose" in name for name in kernels(net, target))
    check(net, target)


def test_an_image_that_others_read_too_is_permuted_once_for_all(target):
    pool = helper.make_node("MaxPool", ["x"], ["z"], kernel_shape=[3, 3])
    net = flattened_layer(8, pool, helper.make_node("Sigmoid", ["h"], ["y"]), outputs=("y", "z"))
    names = kernels(net, target)
    assert sum("transpose" in name for name in names) >= 1
    check(net, target)


def test_a_result_that_is_read_within_the_network_stays_channels_last(target):
    pool = helper.make_node("GlobalAveragePool", ["h"], ["y"])
    net = flattened_layer(8, pool)
    [chain] = [name for name in kernels(net, target) if "chain" in name]
    assert "transpose" not in chain
    check(net, target)
