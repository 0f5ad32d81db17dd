"""The terms of kernels agree with what the models choose: the chosen point has the least price of what a model compares."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "tuning"))

from committed import convolutions, dense_layers, named, runs, some
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cpu.chain.compute import Ends
from tenfold.schedules.cpu.convolution_run import ChainKernel
from tenfold.schedules.cpu.convolution_run import ConvolutionRun as CpuRun
from tenfold.schedules.cuda.convolution_run import ConvolutionRun as GpuRun
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.schedules.terms import tail, terms, together
from tenfold.targets import resolve

CPUS = ("zen3", "zen4", "cortex-a76")
ROUNDING = 1 + 1e-9
POINTS = 60  # of each algorithm
MOST = 2.0   # times the least price, that the choice of a direct convolution can be: it is made in steps, each by a part of the price


def same(point, chosen, *knobs):
    return all(point[knob] == chosen[knob] for knob in knobs)


def priced(kernel, points):
    found = {}
    for point in points:
        price = kernel.terms_at(point).get("ms")
        if price is not None:
            found[tuple(sorted(point.items()))] = price
    return found


@pytest.mark.parametrize(("name", "first"), [(name, i) for i, name in enumerate(CPUS)])
def test_a_convolution_chosen_by_winograds_algorithm_has_the_least_price(name, first):
    backend, seen = backend_of(named(name)), 0
    for workload in convolutions()[first::9]:
        kernel = backend.convolution(workload)
        if kernel.point["algorithm"] == "winograd":
            prices = priced(kernel, [p for p in some(kernel.space(), POINTS) if p["algorithm"] == "winograd"])
            assert kernel.terms()["ms"] <= min(prices.values()) * ROUNDING, workload
            seen += 1
    assert seen


@pytest.mark.parametrize(("name", "first"), [(name, i) for i, name in enumerate(CPUS)])
def test_a_direct_convolution_has_the_tile_of_least_arithmetic_and_is_near_the_least_price(name, first):
    backend, seen = backend_of(named(name)), 0
    for workload in convolutions()[first::9]:
        kernel = backend.convolution(workload)
        if kernel.point["algorithm"] != "direct":
            continue
        points, chosen = [p for p in some(kernel.space(), POINTS) if p["algorithm"] == "direct"], kernel.terms()
        alike = [kernel.terms_at(p) for p in points if same(p, kernel.point, "merged", "parallel")]
        few = workload.channels // workload.geometry.groups <= backend.target.lanes  # then fewer tiles are considered than are in the space
        assert few or chosen["compute_ms"] <= min(each["compute_ms"] for each in alike) * ROUNDING, workload
        assert chosen["ms"] <= MOST * min(priced(kernel, points).values()), workload
        seen += len(alike) > 1
    assert seen > 3


@pytest.mark.parametrize("name", CPUS)
def test_a_chain_has_the_cut_of_least_price(name):
    target, seen = named(name), 0
    for links in runs()[::5]:
        for part in backend_of(target).convolution_run(links, False, False):
            if not isinstance(part.kernel, ChainKernel):
                continue
            kernel, chosen = part.kernel, part.kernel.point
            knobs = kernel.space().alternatives[0]
            cuts = [{**chosen, "rows": rows, "strips": strips} for rows in knobs.values["rows"] for strips in knobs.values["strips"]]
            prices = priced(kernel, [point for point in cuts if knobs.allowed(point)])
            assert kernel.terms()["ms"] <= min(prices.values()) * ROUNDING, kernel.workload
            seen += 1
    assert seen


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", [*CPUS, "sm_80"])
def test_a_run_is_cut_where_its_price_is_least(name):
    target = named(name)
    for links in runs()[:: 20 if name == "sm_80" else 5]:
        if len(links) <= 4:
            run = GpuRun(links, target) if name == "sm_80" else CpuRun(links, target, Ends())
            prices = priced(run, run.space())
            assert run.terms_at(run.space().chosen)["ms"] <= min(prices.values()) * ROUNDING, run.workload


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_product_of_matrices_has_the_tile_of_least_price(precision):
    backend, seen = backend_of(resolve("sm_80").with_precision(precision)), 0
    kernels = [backend.convolution(workload) for workload in convolutions()[::15]] + [backend.dense(layers[0]) for layers in dense_layers()]
    for kernel in kernels:
        if kernel.point["algorithm"] in ("gemm", "tensor"):
            assert kernel.terms()["ms"] <= min(priced(kernel, some(kernel.space(), POINTS)).values()) * ROUNDING, kernel.workload
            seen += 1
    assert seen > 5


def test_what_has_no_model_has_no_estimate():
    backend = backend_of(resolve("sm_80"))
    depthwise = ConvWorkload(ConvGeometry(128, (3, 3), padding=(1, 1, 1, 1), groups=128), (28, 28), 128, 1)
    assert "ms" not in backend.convolution(depthwise).terms()
    assert backend.convolution(depthwise).terms()["macs"] > 0


def test_slower_machines_have_longer_estimates():
    fast, slow = named("zen4").with_cores(8), named("zen4").with_cores(1)
    for workload in convolutions()[::9]:
        assert backend_of(fast).convolution(workload).terms()["ms"] <= backend_of(slow).convolution(workload).terms()["ms"], workload


def test_terms_are_named_and_added_up():
    with pytest.raises(AssertionError, match="no such terms: speed"):
        terms(speed=1)
    one, other = terms(1.0, macs=3, tasks=2, tail=1.0, registers=5), terms(macs=4, tasks=8, tail=1.5, registers=2)
    both = together([one, other], 2.0)
    assert (both["ms"], both["macs"], both["tasks"], both["tail"], both["registers"]) == (2.0, 7, 10, 1.5, 5)
    assert "ms" not in other and "ms" not in terms(float("inf")) and together([], None)["macs"] == 0
    assert tail(8, 4) == 1 and tail(9, 4) == 12 / 9 and tail(1, 4) == 4
