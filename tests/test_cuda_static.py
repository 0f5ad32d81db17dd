"""The static benchmark of kernels for GPUs: what it reads from a case, and its table."""
from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cuda.chain.tile import choose_chain
from tenfold.schedules.cuda.convolution_run import stages_of
from tenfold.targets import resolve

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS / "benchmarks"), str(TESTS / "gpu")]

from box.case import Case  # noqa: E402
from cuda.modelled import modelled, workloads  # noqa: E402
from cuda.tables import by_list  # noqa: E402


def conv(weight: list[int], pads: list[int], stride: int = 1, groups: int = 1) -> tuple[dict, list[int]]:
    return {"op": "Conv", "strides": [stride] * 2, "pads": pads, "dilations": [1, 1], "group": groups}, weight


def case_of(*layers: tuple[dict, list[int]], choices: dict | None = None) -> Case:
    nodes = [{**node, "inputs": [f"v{i}", f"w{i}"], "output": f"v{i + 1}"} for i, (node, _) in enumerate(layers)]
    weights = {f"w{i}": weight for i, (_, weight) in enumerate(layers)}
    graph = {"input": "v0", "output": f"v{len(layers)}", "nodes": nodes, "weights": weights}
    return Case("a", "layers", 0, 1, (), (("x", (1, 64, 14, 14), "float32"),), (), {}, choices or {}, graph)


LAYERS = conv([32, 64, 1, 1], [0] * 4), conv([32, 32, 3, 3], [1] * 4, 2), conv([64, 32, 1, 1], [0] * 4)


def test_workloads_are_those_of_the_network():
    first, second, third = workloads(case_of(*LAYERS))
    assert (str(first), first.output) == ("conv2d 1x14x14x64 filters 32 kernel 1x1", (14, 14))
    assert str(second) == "conv2d 1x14x14x32 filters 32 kernel 3x3 stride 2x2 padding 1x1x1x1" and third.size == (7, 7)


def test_cycles_are_those_that_the_model_chose_by():
    target = resolve("sm_80")
    links = workloads(case_of(*LAYERS))
    own = {str(link): backend_of(target).convolution(link).point for link in links}
    found = modelled(case_of(*LAYERS, choices=own))
    assert [kernel["layers"] for kernel in found["kernels"]] == [1, 1, 1] and 0 < found["share_of_peak"] < 1
    assert found["cycles"] == pytest.approx(sum(kernel["cycles"] for kernel in found["kernels"]) + 2 * target.model.launch_cycles)
    chain = f"chain of {', '.join(map(str, links[:2]))}"
    tile = choose_chain(stages_of(links[:2]), 1, target.model)
    assert tile is not None
    found = modelled(case_of(*LAYERS, choices={**own, chain: asdict(tile)}))
    assert [kernel["layers"] for kernel in found["kernels"]] == [2, 1] and found["cycles"] > 0


def test_a_kernel_that_the_model_does_not_know_has_no_cycles():
    direct = {str(link): {"algorithm": "direct", "pixels": 4, "threads": 128} for link in workloads(case_of(*LAYERS))}
    assert modelled(case_of(*LAYERS, choices=direct))["cycles"] is None


def test_the_table_has_a_line_for_each_list():
    launch = {"registers": {"sm_80": 70, "sm_90": 72}, "spill_bytes": {"sm_80": 8, "sm_90": 0}, "shared_bytes": 2048, "wavefronts": 30,
              "least_wavefronts": 20, "sectors": 8, "least_sectors": 8}
    plain = {**launch, "registers": {"sm_80": 20, "sm_90": 20}, "spill_bytes": {"sm_80": 0, "sm_90": 0}}
    plain |= {"wavefronts": 0, "least_wavefronts": 0}
    rows = [{"name": "a", "lists": ["net"], "launches": [launch, plain], "modelled": {"share_of_peak": 0.5}},
            {"name": "b", "lists": ["net", "net-factored"], "launches": [plain], "modelled": {"share_of_peak": None}},
            {"name": "c", "lists": ["net"], "error": "x"}]
    headings, lines = by_list({"rows": rows})
    assert len(headings) == len(lines[0]) == len(lines[1])
    assert lines[0] == ["net", "2", "3", "70", "72", "1", "2", "1.50", "1.50", "1.00", "1.00", "50%"]
    assert lines[1] == ["net-factored", "1", "1", "20", "20", "0", "2", "-", "-", "1.00", "1.00", "-"]
