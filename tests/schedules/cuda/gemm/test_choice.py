"""Which kernel, and which tile, the model chooses; and spaces of both."""
from __future__ import annotations

import pytest
from tenfold.schedules.cuda.convolution import choose_convolution, convolution_at
from tenfold.schedules.cuda.fully_connected import choose_dense
from tenfold.schedules.cuda.gemm.tensor_tile import TensorTile, cycles, tiles
from tenfold.schedules.cuda.gemm.tile import GemmShape
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve

SM80, SM75, SM90 = resolve("sm_80"), resolve("sm_75"), resolve("sm_90")
LARGE = ConvWorkload(ConvGeometry(256, (3, 3), padding=(1, 1, 1, 1)), (28, 28), 256, 8)


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_large_products_are_for_tensor_cores(precision):
    target = SM80.with_precision(precision)
    for kernel in (choose_convolution(LARGE, target), choose_dense(DenseWorkload(512, 1024, 1024), target)):
        assert (kernel.point["algorithm"], kernel.point["precision"]) == ("tensor", precision)
        assert kernel.point in kernel.space() and kernel.at(kernel.point) == kernel
    assert choose_convolution(LARGE, SM80).point["algorithm"] == "gemm"
    assert choose_dense(DenseWorkload(1, 1024, 1024), target).point["algorithm"] == "matvec"


def test_a_record_of_another_precision_is_refused():
    point = choose_convolution(LARGE, SM80.with_precision("tf32")).point
    assert convolution_at(LARGE, SM80.with_precision("tf32"), point).point == point
    for precision in ("float32", "fp16"):
        with pytest.raises(TenfoldError, match="the choice for conv2d 8x28x28x256"):
            choose_convolution(LARGE, SM80.with_precision(precision)).at(point)


@pytest.mark.parametrize("shape", [GemmShape(1, 64, 400), GemmShape(100, 1, 400)])
def test_a_single_row_or_filter_is_not_for_tensor_cores(shape):
    assert not any(True for _ in tiles(shape, SM80.model, "tf32"))


def test_an_old_gpu_has_two_stages():
    assert choose_convolution(LARGE, SM75).point["stages"] == 2
    assert choose_convolution(LARGE, SM75.with_precision("fp16")).point["stages"] == 2


def test_the_rates_of_tensor_cores_count():
    shape = GemmShape(100000, 1024, 4096)
    tile = {precision: TensorTile(128, 128, 32, 64, 64, 1, 3, precision) for precision in ("tf32", "fp16")}
    times = {precision: cycles(tile[precision], shape, SM80.model) for precision in tile}
    assert 1.5 < times["tf32"] / times["fp16"] <= 2.1
    assert cycles(tile["tf32"], shape, SM90.model) < times["tf32"]
