"""Every figure of a CPU's model, and every constant of the cost models, decides something: half or twice as much chooses otherwise."""
from __future__ import annotations

import ast
import importlib
import inspect
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tenfold.targets import Target, resolve
from tenfold.targets.cpu_model import FIGURES

sys.path.append(str(Path(__file__).parent))

from choices import cases, targets, with_cores

# A figure -> the target and the choice that it decides.
FIGURE_DECIDES = {
    "fma_per_cycle": ("zen4", "tile 96-256 55 5x5"),
    "loads_per_cycle": ("zen4", "tile 96-256 26 5x5 g2"),
    "fma_latency": ("zen3", "tile 3-96 32 5x5"),
    "memory_operand": ("zen4", "tile 64-256 56 1x1 channel_svd 16 [0]"),
    "lane_operand": ("zen3", "chain 256-384 12 3x3 tucker2 136,152"),
    "in_order": ("neon", "tile 64-256 56 1x1"),
    "pointer_registers": ("zen3", "tile 512-512 7 3x3"),
    "store_buffer": ("zen3", "response norm 96 27"),
    "line_bytes": ("zen3", "dense 2304-256-10"),
    "way_bytes": ("zen3", "tile 512-1024 28 1x1/2"),
    "page_bytes": ("neon", "chain 256-384 12 3x3 tucker2 136,152"),
    "tlb_pages": ("neon", "chain 256-384 12 3x3 tucker2 136,152"),
    "l2_bytes_per_cycle": ("zen4", "tile 3-96 224 11x11/4 p0"),
    "l2_round_trip_bytes_per_cycle": ("skylake-avx512", "chain 128-128 28 3x3 spatial_svd 64"),
    "l3_bytes_per_cycle": ("zen3", "winograd 256-256 14 3x3"),
    "l3_round_trip_bytes_per_cycle": ("skylake-avx512", "chain 256-384 12 3x3 channel_svd 104"),
    "memory_bytes_per_cycle": ("zen4", "tile 96-256 26 5x5 g2"),
    "memory_round_trip_bytes_per_cycle": ("skylake-avx512", "chain 64-64 56 3x3 tucker2 32,32 x16"),
    "remote_bytes_per_cycle": ("zen4", "chain 256-384 12 3x3 spatial_svd 152"),
    "launch_cycles": ("zen3", "dense 128-128"),
    "task_cycles": ("zen3", "tile 64-256 56 1x1"),
    "barrier_cycles": ("zen3", "dense chain 128-128-48"),
    "clock_ghz": ("zen4", "tile 96-256 26 5x5 g2"),
}
# Modules of `schedules.cpu` whose numbers are all listed: constant -> the target and the choice that it decides.
CONSTANT_DECIDES = {
    "conv2d.cost.LOAD_COST": ("zen3", "tile 96-256 26 5x5 g2"),
    "conv2d.cost.ODD_COST": ("zen3", "tile 256-256 56 3x3 tucker2 120,120 [1]"),
    "conv2d.cost.POINTER_CYCLES": ("zen3", "tile 96-256 26 5x5 g2"),
    "conv2d.cost.RAGGED_PRICE": ("zen3", "tile 96-256 26 5x5 g2"),
    "conv2d.cost.STORE_CYCLES": ("zen3", "tile 256-256 14 3x3 tucker2 120,120 [2]"),
    "conv2d.cost.ROW_CYCLES": ("zen3", "tile 3-96 32 5x5"),
    "conv2d.cost.L1_SHARE": ("zen4", "tile 3-96 32 5x5"),
    "conv2d.cost.L2_SHARE": ("zen3", "tile 64-64 56 3x3"),
    "conv2d.cost.L2_WEIGHTS_SHARE": ("zen3", "tile 64-128 56 3x3/2"),
    "conv2d.cost.IMAGES_SHARE": ("zen3", "tile 128-128 28 3x3 tucker2 64,64 [1]"),
    "conv2d.cost.EXPOSED_SHARE": ("zen3", "winograd 128-256 56 3x3"),
    "conv2d.cost.LEAST_READ_SHARE": ("zen3", "tile 256-384 12 3x3"),
    "conv2d.cost.FEWEST_PASSES": ("zen4", "tile 128-256 7 5x5"),
    "conv2d.groups.MOST_CYCLES_MERGED": ("zen3", "groups 96-576 27 1x1 g48"),
    "conv2d.groups.STORED_CYCLES": ("zen4", "groups 96-96 27 1x1 g8"),
    "winograd.cost.INPUT_CYCLES": ("neon", "winograd 512-512 7 3x3"),
    "winograd.cost.OUTPUT_CYCLES": ("zen4", "winograd 256-512 28 3x3"),
    "winograd.cost.LOOP_CYCLES": ("zen4", "winograd 256-512 28 3x3"),
    "winograd.cost.L3_SHARE": ("neon", "winograd 64-128 112 3x3"),
    "winograd.cost.L2_SHARE": ("zen3", "winograd 64-64 56 3x3"),
    "chain.cost.STRIP_CYCLES": ("skylake-avx512", "chain 256-256 56 3x3 channel_svd 80"),
    "chain.cost.PLANES_SHARE": ("neon", "chain 64-64 56 3x3 spatial_svd 32"),
    "chain.cost.WEIGHTS_SHARE": ("neon", "chain 256-384 12 3x3 spatial_svd 152"),
    "chain.partition.IMAGE_SHARE": ("skylake-avx512", "chain 128-128 112 3x3 tucker2 64,64"),
    "chain.partition.MOST_LINES_OF_A_SET": ("zen3", "chain 64-64 224 3x3 spatial_svd 32"),
    "chain.stage_options.SHUFFLE_COST": ("zen4", "run regnet_y_400mf, line 40"),
    "conv2d.depthwise_pixels.FEWEST_PIXELS": ("zen3", "chain flattened 16"),
}
MODULES = (
    "conv2d.cost", "conv2d.groups", "conv2d.depthwise_pixels", "winograd.cost", "chain.cost", "chain.partition", "chain.stage_options",
)
NO_CHOICES = {  # they bound what is compared or how exact a kernel is; their own tests say so
    "chain.partition.MOST_WAYS", "winograd.cost.ERROR_OFFSET", "winograd.cost.MOST_ERROR",
}


def target_of(name: str) -> Target:
    return targets()[name] if name in targets() else with_cores(resolve(name), 8)


def chosen(name: str, case: str, target: Target) -> str:
    (found,) = [each for each in cases() if each.name == case]
    return found.choose(replace(target))  # a target of its own: the models remember what they chose for one


def module(name: str):
    return importlib.import_module(f"tenfold.schedules.cpu.{name}")


def numbers(name: str) -> set[str]:
    """The constants that a module defines as a number."""
    body = ast.parse(inspect.getsource(module(name))).body
    names = {assigned.id for node in body if isinstance(node, ast.Assign) for assigned in node.targets if isinstance(assigned, ast.Name)}
    return {f"{name}.{one}" for one in names if one.isupper() and type(getattr(module(name), one)) in (int, float)}


def test_every_figure_and_every_constant_is_listed():
    assert set(FIGURE_DECIDES) == set(FIGURES)
    assert set().union(*map(numbers, MODULES)) == set(CONSTANT_DECIDES) | NO_CHOICES


def changed(target: Target, name: str, factor: float) -> Target:
    """The target with a figure of its model multiplied; a flag turned round; at another clock all that the clock counts."""
    model = target.model
    value = getattr(model, name)
    if name == "clock_ghz":
        return replace(target, model=model.at_clock(value * factor))
    return replace(target, model=replace(model, **{name: not value if isinstance(value, bool) else type(value)(value * factor)}))


@pytest.mark.parametrize("name", FIGURE_DECIDES)
def test_half_or_twice_a_figure_chooses_otherwise(name):
    where, case = FIGURE_DECIDES[name]
    target = target_of(where)
    kept = chosen(where, case, target)
    assert any(chosen(where, case, changed(target, name, factor)) != kept for factor in (2, 0.5))


@pytest.mark.parametrize("constant", CONSTANT_DECIDES)
def test_half_or_twice_a_constant_chooses_otherwise(constant, monkeypatch):
    where, case = CONSTANT_DECIDES[constant]
    home, _, name = constant.rpartition(".")
    value, target = getattr(module(home), name), target_of(where)
    kept = chosen(where, case, target)
    holders = [module(home), *(module(other) for other in MODULES if other != home and f"{other}.{name}" not in numbers(other)
                               and hasattr(module(other), name))]
    found = []
    for factor in (2, 0.5):
        for holder in holders:
            monkeypatch.setattr(holder, name, type(value)(value * factor))
        found.append(chosen(where, case, target))
    assert any(choice != kept for choice in found)
