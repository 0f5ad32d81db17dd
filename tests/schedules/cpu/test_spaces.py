"""Every kernel can be built from any point of its space, computes the same from each, and is reproduced by its record."""
from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import tvm
from convolution_checks import reference
from fusion_checks import bottleneck, conv, network
from host_model import named
from onnx import helper
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import MODEL, TUNED, KernelChoices, LayerConstants, backend_of
from tenfold.schedules.cpu.convolution_run import ChainKernel
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve
from tvm import te

HOST = replace(resolve("host"), cores=2)
SAMPLES = 5  # points of each space that are built and run

CONVOLUTIONS = {
    "3x3": ConvWorkload(ConvGeometry(32, (3, 3), padding=(1, 1, 1, 1)), (9, 11), 24, 1),
    "strided": ConvWorkload(ConvGeometry(20, (3, 3), (2, 2), (1, 1, 1, 1)), (13, 10), 5, 2),
    "pointwise": ConvWorkload(ConvGeometry(48, (1, 1)), (7, 7), 33, 1),
    "dilated": ConvWorkload(ConvGeometry(16, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)), (8, 9), 8, 1),
    "grouped": ConvWorkload(ConvGeometry(24, (3, 3), padding=(1, 1, 1, 1), groups=4), (8, 8), 16, 1),
    "depthwise": ConvWorkload(ConvGeometry(40, (3, 3), padding=(1, 1, 1, 1), groups=40), (9, 14), 40, 1),
    "blocks": ConvWorkload(ConvGeometry(10, (2, 3), padding=(1, 2, 1, 2), upsample=(2, 3)), (5, 6), 7, 2),
    "whole image": ConvWorkload(ConvGeometry(30, (4, 4)), (4, 4), 12, 1),
}
LAYERS = {
    "one row": [DenseWorkload(1, 70, 50)],
    "rows": [DenseWorkload(9, 70, 50)],
    "run": [DenseWorkload(1, 60, 50), DenseWorkload(1, 50, 34), DenseWorkload(1, 34, 10)],
}


def some(space, count=SAMPLES):
    """Points from all over a space, the chosen one first."""
    points = list(islice(space, 4000))
    rng = np.random.default_rng(0)
    return [points[0], *(points[i] for i in sorted(rng.choice(len(points), min(count, len(points)), replace=False)))]


def run(kernel, x, layers):
    """What a kernel computes from `x` on this machine."""
    bound = kernel.bind(*layers)
    data = te.placeholder(x.shape, name="x")
    constants = [te.placeholder(array.shape, str(array.dtype), name=f"c{i}") for i, array in enumerate(bound.constants)]
    out = bound.compute(data, *constants)
    backend = backend_of(HOST)
    func = te.create_prim_func([data, *constants, out])
    schedule = next(s for rule in backend.rules if (s := rule(func, HOST)) is not None)
    loops = backend.lower_loops(tvm.IRModule({"main": schedule.mod["main"]}))
    result = tvm.runtime.tensor(np.full([int(d) for d in out.shape], np.nan, "float32"))
    tvm.compile(loops, target=HOST.tvm_target())["main"](*[tvm.runtime.tensor(a) for a in (x, *bound.constants)], result)
    return result.numpy()


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_points_of_a_convolution_compute_the_same(name):
    workload = CONVOLUTIONS[name]
    geometry, rng = workload.geometry, np.random.default_rng(1)
    x = rng.standard_normal((workload.batch, *workload.size, workload.channels), "float32")
    weight = rng.standard_normal((geometry.filters, workload.channels // geometry.groups, *geometry.kernel), "float32") / 8
    expected = reference(x, weight, geometry)
    chosen = backend_of(HOST).convolution(workload)
    points = some(chosen.space())
    assert points[0] == chosen.point and len(points) > 2
    for point in points:
        kernel = chosen.at(json.loads(json.dumps(point)))  # as a record has it
        assert kernel.point == point
        np.testing.assert_allclose(run(kernel, x, [LayerConstants(weight)]), expected, rtol=1e-3, atol=1e-3, err_msg=str(point))


@pytest.mark.parametrize("name", LAYERS)
def test_points_of_dense_layers_compute_the_same(name):
    layers, rng = LAYERS[name], np.random.default_rng(1)
    x = rng.standard_normal((layers[0].rows, layers[0].channels), "float32")
    weights = [rng.standard_normal((layer.filters, layer.channels), "float32") / 8 for layer in layers]
    expected = x
    for weight in weights:
        expected = expected @ weight.T
    backend = backend_of(HOST)
    chosen = backend.dense(layers[0]) if len(layers) == 1 else backend.dense_run(layers)
    points = some(chosen.space())
    assert points[0] == chosen.point and len(points) > 2
    for point in points:
        found = run(chosen.at(json.loads(json.dumps(point))), x, [LayerConstants(weight) for weight in weights])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3, err_msg=str(point))


CHAINS = {
    "bottleneck": [ConvWorkload(ConvGeometry(96, (1, 1)), (14, 14), 16, 1),
                   ConvWorkload(ConvGeometry(96, (3, 3), padding=(1, 1, 1, 1), groups=96), (14, 14), 96, 1),
                   ConvWorkload(ConvGeometry(16, (1, 1)), (14, 14), 96, 1)],
    "spatial": [ConvWorkload(ConvGeometry(16, (3, 1), padding=(1, 0, 1, 0)), (10, 10), 32, 1),
                ConvWorkload(ConvGeometry(32, (1, 3), padding=(0, 1, 0, 1)), (10, 10), 16, 1)],
    "grouped": [ConvWorkload(ConvGeometry(16, (1, 1)), (10, 10), 32, 1),
                ConvWorkload(ConvGeometry(32, (3, 3), padding=(1, 1, 1, 1), groups=4), (10, 10), 16, 1),
                ConvWorkload(ConvGeometry(32, (1, 1)), (10, 10), 32, 1)],
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", CHAINS)
def test_points_of_a_chain_compute_the_same(name):
    run_, rng = CHAINS[name], np.random.default_rng(1)
    kernel = next(part.kernel for part in backend_of(HOST).convolution_run(run_, False, False) if isinstance(part.kernel, ChainKernel))
    x = rng.standard_normal((1, *kernel.links[0].size, kernel.links[0].channels), "float32")
    layers, expected = [], x
    for link in kernel.links:
        geometry = link.geometry
        shape = geometry.filters, link.channels // geometry.groups, *geometry.kernel
        layers.append(LayerConstants(rng.standard_normal(shape, "float32") / 8))
        expected = reference(expected, layers[-1].weight, geometry)
    points = some(kernel.space())
    assert points[0] == kernel.point and len(points) > 2
    for point in points:
        found = run(kernel.at(json.loads(json.dumps(point))), x, layers)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3, err_msg=str(point))


def compiled(net, target, choices):
    """The loops of every kernel, by its name, and the choices as they were taken."""
    mod = lower(net.mod, backend_of(target, choices), until="schedule")
    return {var.name_hint: func.script() for var, func in mod.functions_items() if isinstance(func, tvm.tirx.PrimFunc)}


def other(choices, net, target):
    """A record with another point for each workload, where it has one."""
    found = {}
    for kernel in kernels_of(net, target):
        found[kernel.workload] = next((dict(p) for p in kernel.space() if p != kernel.point), kernel.point)
    return {**choices, **found}


def kernels_of(net, target):
    """The kernels that a network asks for."""
    found, choices = [], KernelChoices()
    apply = KernelChoices.apply

    class Watching(KernelChoices):
        def apply(self, kernel):
            found.append(apply(choices, kernel))
            return found[-1]

    lower(net.mod, backend_of(target, Watching()), until="schedule")
    return found


def test_records_reproduce_the_kernels(target):
    net, first = bottleneck(), KernelChoices()
    as_chosen = compiled(net, target, first)
    record = json.loads(json.dumps(first.taken))
    again = KernelChoices(record)
    assert compiled(net, target, again) == as_chosen and again.taken == first.taken
    changed = KernelChoices(other(record, net, target))
    scripts = compiled(net, target, changed)
    assert scripts != as_chosen
    assert compiled(net, target, KernelChoices(json.loads(json.dumps(changed.taken)))) == scripts


def test_a_run_is_cut_as_its_record_says(target):
    net, first = bottleneck(), KernelChoices()
    lower(net.mod, backend_of(target, first), until="schedule")
    [(run_, point)] = [(workload, point) for workload, point in first.taken.items() if "layer0" in point]
    assert point == {"layer0": "chain", "layer1": "joins", "layer2": "joins"}
    wanted = KernelChoices({run_: dict.fromkeys(point, "own")})
    names = compiled(net, target, wanted)
    assert not any("chain" in name for name in names) and any("depthwise" in name for name in names)


def own_run(target, *filters):
    """A run of 3 x 3 convolutions of many channels, each with a kernel of its own by the model."""
    channels = (192, *filters[:-1])
    links = [ConvWorkload(ConvGeometry(f, (3, 3), padding=(1, 1, 1, 1)), (4, 4), c, 1) for f, c in zip(filters, channels, strict=True)]
    run_ = backend_of(target).run(links, False, False)
    assert set(run_.space().chosen.values()) == {"own"}
    return run_


def test_a_record_joins_two_kernels_of_a_longer_run(target):
    run_, joined = own_run(target, 192, 208, 224, 240), {"layer0": "chain", "layer1": "joins"}
    part = run_.between(1, 3).workload
    choices = KernelChoices(tuned={part: joined})
    assert list(choices.cut(run_).values()) == ["own", "chain", "joins", "own"]
    assert choices.taken[part] == joined and choices.origins[part] == TUNED and not choices.stale


def test_a_kernel_is_joined_once(target):
    run_, joined = own_run(target, 192, 192, 192, 192, 192), {"layer0": "chain", "layer1": "joins"}
    choices = KernelChoices(tuned={run_.between(1, 3).workload: joined})  # as any two neighbours are
    assert list(choices.cut(run_).values()) == ["chain", "joins", "chain", "joins", "own"]


def test_a_record_that_joins_what_can_not_be_is_stale(target):
    run_, impossible = own_run(target, 192, 208, 224), {"layer0": "joins", "layer1": "joins"}
    part = run_.between(0, 2).workload
    choices = KernelChoices(tuned={part: impossible})
    assert set(choices.cut(run_).values()) == {"own"} and choices.stale.keys() == {part}


def test_a_tuned_cut_is_taken_where_it_can_be(target):
    net, first = bottleneck(), KernelChoices()
    as_chosen = compiled(net, target, first)
    [(run_, point)] = [(workload, point) for workload, point in first.taken.items() if "layer0" in point]
    tuned = KernelChoices(tuned={run_: dict.fromkeys(point, "own")})
    assert compiled(net, target, tuned) != as_chosen
    assert (tuned.taken[run_], tuned.origins[run_], tuned.stale) == (dict.fromkeys(point, "own"), TUNED, {})
    impossible = KernelChoices(tuned={run_: {**point, "layer0": "joins"}})
    assert compiled(net, target, impossible) == as_chosen
    assert impossible.taken == first.taken and impossible.stale.keys() == {run_} and impossible.origins[run_] == MODEL
    with pytest.raises(TenfoldError, match="can't be combined|can't be joins"):  # where it is wanted, it is an error
        compiled(net, target, KernelChoices(wanted={run_: {**point, "layer0": "joins"}}))


def test_a_run_of_one_layer_has_a_record_beside_that_of_the_layer(target):
    net, first = network([conv("c", ["x", "w"], "y")], {"w": (64, 64, 1, 1)}, [1, 64, 28, 28]), KernelChoices()
    as_chosen = compiled(net, target, first)
    assert ["layer0"] in map(list, first.taken.values()) and len(first.taken) == 2
    again = KernelChoices(json.loads(json.dumps(first.taken)))
    assert compiled(net, target, again) == as_chosen and again.taken == first.taken


def test_a_core_that_works_in_order_loads_the_next_weights_ahead():
    target = resolve("cortex-a53")
    for workload in CONVOLUTIONS.values():
        point = backend_of(target).convolution(workload).point
        if point["algorithm"] == "direct":
            assert point["pixels"] * point["vectors"] + 2 * point["vectors"] + 1 < target.vector_registers


def test_winograd_is_a_choice(target):
    nodes = [conv("c", ["x", "w"], "a", pads=[1] * 4), helper.make_node("Relu", ["a"], ["y"])]
    net = network(nodes, {"w": (64, 64, 3, 3)}, [1, 64, 28, 28])
    first = KernelChoices()
    lower(net.mod, backend_of(target, first), until="schedule")
    names = {workload: point for workload, point in first.taken.items() if "algorithm" in point}
    for workload, point in names.items():
        kernel = next(k for k in kernels_of(net, target) if k.workload == workload)
        algorithms = {knobs.values["algorithm"][0] for knobs in kernel.space().alternatives}
        assert algorithms == {"direct", "winograd"} and point["algorithm"] in algorithms


@pytest.mark.parametrize(("change", "word"), [
    ({"pixels": 99}, "pixels can't be 99"), ({"nonsense": 1}, "has the knobs"), ({"vectors": 4, "pixels": 31}, "combined")])
def test_a_record_for_another_machine_is_refused(change, word):
    workload, target = CONVOLUTIONS["pointwise"], named("zen4")
    kernel = backend_of(target).convolution(workload)
    assert kernel.point["algorithm"] == "direct"
    with pytest.raises(TenfoldError, match=word):
        kernel.at({**kernel.point, **change})


def test_neighbours_differ_in_one_knob():
    kernel = backend_of(named("zen3")).convolution(CONVOLUTIONS["3x3"])
    space = kernel.space()
    near = list(space.neighbours(kernel.point))
    assert near and all(sum(point[k] != kernel.point[k] for k in point) == 1 and point in space for point in near)
