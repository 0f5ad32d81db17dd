"""Products of matrices, by the float32 units or by tensor cores: which of them, its tile as a point of a space, and its packed weights."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np

from ....targets import GpuTarget
from ....targets.target import FLOAT32
from ...space import Knobs, Point
from . import tensor_tile, tile
from .compute import pack_gemm
from .fragments import pack_fragments
from .tensor_tile import TensorTile, choose_tensor
from .tile import GemmShape, GemmTile, choose_gemm

Tile: TypeAlias = GemmTile | TensorTile
ALGORITHMS: dict[str, type[Tile]] = {"gemm": GemmTile, "tensor": TensorTile}


def choose_product(shape: GemmShape, target: GpuTarget) -> tuple[float, Tile] | None:
    """The tile that takes least by the model, and its cycles; None where none can be built."""
    found: list[tuple[float, Tile]] = []
    simple = choose_gemm(shape, target.model)
    if simple is not None:
        found.append((tile.cycles(simple, shape, target.model), simple))
    if target.precision != FLOAT32:
        tensor = choose_tensor(shape, target.model, target.precision)
        if tensor is not None:
            found.append((tensor_tile.cycles(tensor, shape, target.model), tensor))
    return min(found, key=lambda each: each[0], default=None)


def point_of(chosen: Tile) -> Point:
    """A tile as a point."""
    algorithm = next(name for name, kind in ALGORITHMS.items() if isinstance(chosen, kind))
    return {"algorithm": algorithm, **asdict(chosen)}


def tile_of(point: Point) -> Tile:
    """The tile of a point."""
    values: dict[str, Any] = {knob: value for knob, value in point.items() if knob != "algorithm"}
    return ALGORITHMS[str(point["algorithm"])](**values)


def pack_product(weight: np.ndarray, groups: int, chosen: Tile) -> np.ndarray:
    """Pack a weight (OIHW) as the kernel of a tile reads it."""
    return pack_gemm(weight, groups, chosen) if isinstance(chosen, GemmTile) else pack_fragments(weight, groups, chosen)


def product_knobs(shape: GemmShape, target: GpuTarget) -> tuple[Knobs, ...]:
    """All tiles that can be built."""

    def builds(allowed: Callable[[Any, GemmShape, Any], bool]) -> Callable[[Point], bool]:
        return lambda point: allowed(tile_of(point), shape, target.model)

    simple = Knobs({"algorithm": ("gemm",), "rows": tile.ROWS, "filters": tile.FILTERS, "depth": tile.DEPTHS,
                    "thread_rows": tile.THREAD_ROWS, "thread_filters": tile.THREAD_FILTERS, "splits": tile.SPLITS, "stages": tile.STAGES},
                   builds(tile.allowed))
    return (simple,) if target.precision == FLOAT32 else (tensor_knobs(shape, target, target.precision), simple)


def tensor_knobs(shape: GemmShape, target: GpuTarget, precision: str) -> Knobs:
    """All tiles of tensor cores that can be built."""
    own = tensor_tile
    return Knobs({"algorithm": ("tensor",), "rows": own.ROWS, "filters": own.FILTERS, "depth": own.DEPTHS, "warp_rows": own.WARP_ROWS,
                  "warp_filters": own.WARP_FILTERS, "splits": own.SPLITS, "stages": own.STAGES, "precision": (precision,)},
                 lambda point: own.allowed(tensor_tile_of(point), shape, target.model))


def tensor_tile_of(point: Point) -> TensorTile:
    """The tile of a point of tensor cores."""
    found = tile_of(point)
    assert isinstance(found, TensorTile)
    return found
