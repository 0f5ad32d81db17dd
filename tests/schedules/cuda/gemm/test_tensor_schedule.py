"""Products on tensor cores: results under emulation against operands that are rounded, bank conflicts, faults."""
from __future__ import annotations

import numpy as np
import pytest
from cuda_faults import faults
from gpu_products import product, seeds, some_convolution
from tenfold.runner.devices.cuda import EmulationError
from tenfold.schedules.cuda.convolution import gemm_shape
from tenfold.schedules.cuda.gemm.fragments import tf32, tf32_patches
from tenfold.schedules.cuda.gemm.tensor_tile import TensorTile, allowed, tiles
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.support.cache_folder import cache_folder
from tenfold.targets import resolve

SM80, SM75 = resolve("sm_80"), resolve("sm_75")
PADDED = ConvWorkload(ConvGeometry(40, (3, 3), padding=(1, 1, 1, 1)), (7, 9), 16, 1)


def half(values):
    return values.astype(np.float16).astype(np.float32)


ROUND = {"tf32": (tf32_patches, tf32), "fp16": (half, half)}  # patches, weights
PRECISIONS = list(ROUND)


@pytest.fixture
def folder():
    return cache_folder() / "cuda-emulator"


def check(made, folder, precision, **options) -> None:
    out, _ = made.run(folder, **options)
    np.testing.assert_allclose(out, made.expected(*ROUND[precision]), rtol=0, atol=1e-5)


@pytest.mark.quick(2)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "sizes", [(64, 32, 16, 32, 32, 1, 3), (32, 64, 32, 16, 32, 2, 2), (16, 16, 32, 16, 16, 1, 4), (64, 128, 16, 32, 128, 1, 2)]
)
def test_tiles(folder, precision, sizes):
    made = product(PADDED, TensorTile(*sizes, precision), SM80)
    for order in ("forward", "backward", 1):
        check(made, folder, precision, order=order)
    assert np.abs(made.expected() - made.expected(*ROUND[precision])).max() > 1e-4  # float32 would be something else


@pytest.mark.quick(2)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("seed", seeds(2, 5, 30))
def test_any_convolution_with_any_tile(folder, precision, seed):
    convolution = some_convolution(seed)
    found = list(tiles(gemm_shape(convolution), SM80.model, precision))[::7]
    tile = found[np.random.default_rng(seed).integers(len(found))]
    check(product(convolution, tile, SM80), folder, precision, order=seed)


def test_the_schedule_is_right_without_tensor_cores(folder):
    tile = TensorTile(64, 32, 16, 32, 32, 1, 3)
    made = product(PADDED, tile, SM80, tensorize=False)
    assert "mma.sync" not in made.source
    out, _ = made.run(folder)
    np.testing.assert_allclose(out, made.expected(np.array, tf32), rtol=0, atol=1e-5)  # weights are packed as TF32


def test_half_precision_of_a_gpu_without_asynchronous_copies(folder):
    tile = TensorTile(64, 32, 32, 32, 32, 1, 2, "fp16")
    assert allowed(tile, gemm_shape(PADDED), SM75.model)
    assert not allowed(TensorTile(64, 32, 32, 32, 32, 1, 3, "fp16"), gemm_shape(PADDED), SM75.model)
    made = product(PADDED, tile, SM75)
    assert "cp.async" not in made.source
    check(made, folder, "fp16")
    older = made.source.replace("#if __CUDA_ARCH__ >= 800", "#if 0")  # as nvcc has it for sm_75: instructions of eight terms
    check(made, folder, "fp16", source=older)


@pytest.mark.quick(1)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("depth", [16, 32])
def test_banks_of_shared_memory_do_not_conflict(folder, precision, depth):
    convolution = ConvWorkload(ConvGeometry(64, (3, 3), padding=(1, 1, 1, 1)), (8, 8), 32, 1)
    _, (counts,) = product(convolution, TensorTile(64, 64, depth, 32, 32, 1, 3, precision), SM80).run(folder, counting=True)
    assert 0 < counts.shared_wavefronts <= 1.1 * counts.least_wavefronts


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nan_and_infinity_stay(folder, precision):
    made = product(PADDED, TensorTile(64, 32, 16, 32, 32, 1, 3, precision), SM80, relu=False)
    for value in (np.nan, np.inf, np.uint32(0x7FFFFFFF).view(np.float32)):
        data = made.data.copy()
        data[0, 0, 0, 0] = value
        out, _ = made.run(folder, data=data, checks=False)
        touched = np.zeros(out.shape, bool)
        touched[0, :2, :2] = True
        assert not np.isfinite(out[touched]).any() and np.isfinite(out[~touched]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "stages"), [
    pytest.param(*each, marks=pytest.mark.long) for each in (("tf32", 2), ("tf32", 3), ("fp16", 2), ("fp16", 3))
])  # fmt: skip
def test_each_fault_is_noticed(folder, precision, stages):
    made = product(PADDED, TensorTile(64, 32, 16, 32, 16, 1, stages, precision), SM80)
    expected, found = made.expected(*ROUND[precision]), list(faults(made.source))
    assert len(found) >= 10 and {"__syncthreads();"} < {what for what, _ in found}
    for what, source in found:
        try:
            out, _ = made.run(folder, source)
        except EmulationError:
            continue
        assert not np.abs(out - expected).max() < 1e-3, what
