"""Products by the float32 units: results under emulation, copies that are under way, faults."""
from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from cuda_faults import faults
from gpu_products import product, seeds, some_convolution
from tenfold.runner.devices.cuda import EmulationError
from tenfold.schedules.cuda.convolution import gemm_shape
from tenfold.schedules.cuda.gemm.tile import GemmTile, allowed, choose_gemm, tiles
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.support.cache_folder import cache_folder
from tenfold.targets import resolve

SM80, SM75 = resolve("sm_80"), resolve("sm_75")
PADDED = ConvWorkload(ConvGeometry(32, (3, 3), padding=(1, 1, 1, 1)), (7, 9), 16, 1)
SMALL = GemmTile(32, 32, 16, 4, 4, 1, 3)


@pytest.fixture
def folder():
    return cache_folder() / "cuda-emulator"


def check(made, folder, **options) -> None:
    out, _ = made.run(folder, **options)
    np.testing.assert_allclose(out, made.expected(), rtol=0, atol=1e-5)


@pytest.mark.quick(1)
@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("splits", [1, 3])
def test_stages_and_splits(folder, stages, splits):
    made = product(PADDED, GemmTile(32, 32, 16, 4, 4, splits, stages), SM80)
    for order in ("forward", "backward", 1):
        check(made, folder, order=order)


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", seeds(3, 8, 40))
def test_any_convolution_with_any_tile(folder, seed):
    convolution = some_convolution(seed)
    found = list(islice(tiles(gemm_shape(convolution), SM80.model), 0, None, 7))
    tile = found[np.random.default_rng(seed).integers(len(found))]
    check(product(convolution, tile, SM80), folder, order=seed)


def test_a_gpu_without_asynchronous_copies(folder):
    assert not allowed(SMALL, gemm_shape(PADDED), SM75.model)
    tile = choose_gemm(gemm_shape(PADDED), SM75.model)
    assert tile is not None and tile.stages == 2
    made = product(PADDED, tile, SM75)
    assert "cp.async" not in made.source
    check(made, folder)


def test_borders_are_filled_without_branches():
    source = product(PADDED, SMALL, SM80).source
    assert "@p cp.async" not in source and '"r"(predicate ? 16 : 0)' in source


def test_splits_copy_vectors_too():
    """Where a split begins is no multiple of the channels, but of a vector."""
    convolution = ConvWorkload(ConvGeometry(64, (3, 3), padding=(1, 1, 1, 1)), (14, 14), 64, 1)
    source = product(convolution, GemmTile(64, 64, 16, 8, 4, 2, 3), SM80).source
    assert "pred_cg_16" in source and "pred_ca_4_" not in source


@pytest.mark.quick(1)
@pytest.mark.parametrize("tile", [SMALL, GemmTile(64, 64, 16, 8, 8, 1, 2), GemmTile(64, 32, 32, 8, 4, 1, 2)])
def test_banks_of_shared_memory_do_not_conflict(folder, tile):
    convolution = ConvWorkload(ConvGeometry(64, (3, 3), padding=(1, 1, 1, 1)), (8, 8), 32, 1)
    _, (counts,) = product(convolution, tile, SM80).run(folder, counting=True)
    assert 0 < counts.shared_wavefronts <= 1.1 * counts.least_wavefronts


@pytest.mark.slow
@pytest.mark.parametrize("stages", [pytest.param(2, marks=pytest.mark.long), 3])
def test_each_fault_is_noticed(folder, stages):
    made = product(PADDED, GemmTile(32, 32, 16, 4, 4, 1, stages), SM80)
    found = list(faults(made.source))
    assert len(found) >= 10 and {"__syncthreads();"} < {what for what, _ in found}
    for what, source in found:
        try:
            out, _ = made.run(folder, source)
        except EmulationError:
            continue
        assert not np.abs(out - made.expected()).max() < 1e-3, what
