"""How kernels of a GPU use memory, counted in the emulator: hardly a bank conflict, and whole sectors."""
from __future__ import annotations

import numpy as np
import pytest
from cuda_checks import TARGET, Emulated, emulated, function_of, noise, relu
from tenfold.schedules.backend import Kernel, LayerConstants
from tenfold.schedules.cuda.convolution import choose_convolution
from tenfold.schedules.cuda.convolution_run import ConvolutionRun
from tenfold.schedules.cuda.fully_connected import choose_dense
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload

MOST_WAVEFRONTS, MOST_SECTORS = 1.1, 1.2  # over the least
BLOCKS = 2  # of a launch, that are counted


def counted(kernel: Kernel, weights: list, shape: tuple[int, ...]) -> Emulated:
    func, constants = function_of(kernel, [LayerConstants(weight) for weight in weights], shape, [relu])
    code = emulated(func, counting=True)
    code.call("main", [noise(*shape), *constants, np.zeros([int(size) for size in func.params[-1].shape], "float32")], blocks=BLOCKS)
    return code


def check(code: Emulated, most_sectors: float = MOST_SECTORS) -> None:
    for kernel, counts in code.counts.items():
        assert counts.shared_wavefronts <= MOST_WAVEFRONTS * counts.least_wavefronts, kernel
        assert counts.global_sectors <= most_sectors * counts.least_sectors, kernel


def weight(geometry: ConvGeometry, channels: int) -> np.ndarray:
    return noise(geometry.filters, channels // geometry.groups, *geometry.kernel, scale=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("filters, channels, size, kernel, stride, groups", [
    (64, 64, 56, 3, 1, 1), (128, 128, 28, 3, 1, 1), (512, 256, 14, 1, 1, 1), (512, 512, 7, 3, 1, 1),
    (96, 96, 56, 3, 2, 96), (192, 192, 28, 3, 1, 192),
])  # fmt: skip
def test_convolutions(filters, channels, size, kernel, stride, groups):
    geometry = ConvGeometry(filters, (kernel, kernel), (stride, stride), (kernel // 2,) * 4, groups=groups)
    chosen = choose_convolution(ConvWorkload(geometry, (size, size), channels, 1), TARGET)
    check(counted(chosen, [weight(geometry, channels)], (1, size, size, channels)))


def test_a_first_layer_reads_pixels_of_three_channels():
    """Twelve bytes of a pixel are no sector. A thread's eight filters are two vectors, stored with those of its neighbours."""
    geometry = ConvGeometry(64, (7, 7), (2, 2), (3,) * 4)
    chosen = choose_convolution(ConvWorkload(geometry, (224, 224), 3, 1), TARGET)
    check(counted(chosen, [weight(geometry, 3)], (1, 224, 224, 3)), most_sectors=1.45)


@pytest.mark.parametrize("layer", [DenseWorkload(1, 2048, 1000), DenseWorkload(2, 512, 10), DenseWorkload(32, 512, 64)], ids=str)
def test_fully_connected_layers(layer):
    check(counted(choose_dense(layer, TARGET), [noise(layer.filters, layer.channels)], (layer.rows, layer.channels)))


G = ConvGeometry
DOWN, ACROSS = {"kernel": (3, 1), "padding": (1, 0, 1, 0)}, {"kernel": (1, 3), "padding": (0, 1, 0, 1)}


@pytest.mark.quick(1)
@pytest.mark.parametrize("channels, size, geometries", [
    (64, 28, [G(64, (1, 1)), G(64, groups=64, **DOWN), G(64, groups=64, **ACROSS)]),
    (64, 56, [G(32, **DOWN), G(64, **ACROSS)]),
    (128, 28, [G(48, (1, 1)), G(48, (3, 3), padding=(1,) * 4), G(128, (1, 1))]),
    (32, 28, [G(192, (1, 1)), G(192, (3, 3), padding=(1,) * 4, groups=192), G(32, (1, 1))]),
], ids=["flattened", "spatial SVD", "Tucker-2", "inverted residual"])  # fmt: skip
def test_chains(channels, size, geometries):
    links, read = [], channels
    for geometry in geometries:
        links.append(ConvWorkload(geometry, (size, size), read, 1))
        read = geometry.filters
    kernel = ConvolutionRun(tuple(links), TARGET).kernel(0, len(links))
    assert kernel is not None
    check(counted(kernel, [weight(link.geometry, link.channels) for link in links], (1, size, size, channels)))
