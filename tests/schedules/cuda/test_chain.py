"""Chains of convolutions in one kernel of a GPU, against PyTorch: all kinds, with steps between, random tiles of their spaces."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from cuda_checks import ORDERS, TARGET, noise, relu, run_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.backend import EpilogueStep, LayerConstants
from tenfold.schedules.cuda.chain.compute import ChainTile
from tenfold.schedules.cuda.chain.tile import copied_bytes, shared_bytes, tiles
from tenfold.schedules.cuda.convolution_run import ChainKernel, ConvolutionRun, chainable, stages_of
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from torch.nn import functional

G = ConvGeometry


def links_of(shape, geometries) -> tuple[ConvWorkload, ...]:
    """The layers of a chain, from the shape (N, H, W, C) of its input."""
    (batch, *size, channels), links = shape, []
    for geometry in geometries:
        links.append(ConvWorkload(geometry, (size[0], size[1]), channels, batch))
        size, channels = links[-1].output, geometry.filters
    return tuple(links)


def separable(filters: int, rows: int, columns: int, stride: int = 1) -> list[ConvGeometry]:
    """Depthwise, down and then across."""
    return [G(filters, (rows, 1), (stride, 1), (rows // 2, 0, rows // 2, 0), groups=filters),
            G(filters, (1, columns), (1, stride), (0, columns // 2, 0, columns // 2), groups=filters)]


def same(filters: int, size: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> ConvGeometry:
    return G(filters, (size, size), (stride, stride), (size // 2 * dilation,) * 4, (dilation, dilation), groups)


CHAINS = {
    "flattened": ((1, 14, 14, 12), [G(32, (1, 1)), *separable(32, 3, 3)]),
    "flattened 5 x 5": ((1, 9, 11, 8), [G(16, (1, 1)), *separable(16, 5, 5)]),
    "spatial SVD": ((1, 14, 13, 8), [G(16, (3, 1), padding=(1, 0, 1, 0)), G(24, (1, 3), padding=(0, 1, 0, 1))]),
    "spatial SVD, stride": ((2, 15, 15, 4), [G(8, (5, 1), (2, 1), (2, 0, 2, 0)), G(16, (1, 5), (1, 2), (0, 2, 0, 2))]),
    "Tucker-2": ((2, 7, 7, 16), [G(8, (1, 1)), same(12, 3), G(20, (1, 1))]),
    "Tucker-2, dilated": ((1, 12, 12, 8), [G(8, (1, 1)), same(8, 3, dilation=2), G(16, (1, 1))]),
    "inverted residual": ((1, 15, 15, 8), [G(48, (1, 1)), same(48, 3, 2, groups=48), G(12, (1, 1))]),
    "inverted residual 5 x 5": ((1, 8, 8, 16), [G(64, (1, 1)), same(64, 5, groups=64), G(16, (1, 1))]),
    "two flattened": ((1, 10, 10, 4), [G(16, (1, 1)), *separable(16, 3, 3), G(8, (1, 1))]),
    "biclustered": ((1, 9, 10, 16), [G(16, (1, 1)), same(32, 3, groups=4), G(24, (1, 1))]),
    "groups at the end": ((1, 8, 8, 8), [G(24, (1, 1)), same(16, 3, groups=2)]),
    "stem": ((1, 17, 17, 4), [same(16, 3, 2), G(8, (1, 1))]),
    "not padded": ((1, 11, 10, 4), [G(8, (3, 3)), G(8, (2, 2), padding=(0, 1, 1, 0))]),
}


def activated(values: torch.Tensor, steps) -> torch.Tensor:
    """What PyTorch makes of the steps behind a layer."""
    for step in steps:
        if step.name == "relax.add":
            values = values + torch.tensor(step.arguments[0].reshape(1, -1, 1, 1))
        else:
            values = {"relax.nn.relu": torch.relu, "relax.sigmoid": torch.sigmoid, "relax.clip": lambda v: v.clip(0, 6)}[step.name](values)
    return values


def check(shape, geometries, tile=None, names=("relax.add", "relax.nn.relu"), order="forward") -> None:
    links = links_of(shape, geometries)
    assert chainable(links)
    kernel = ConvolutionRun(links, TARGET).kernel(0, len(links))
    assert isinstance(kernel, ChainKernel)
    kernel = kernel if tile is None else tile(kernel)
    x, values, layers = noise(*shape), None, []
    values = torch.tensor(x.transpose(0, 3, 1, 2))
    for number, (link, geometry) in enumerate(zip(links, geometries, strict=True)):
        weight = noise(geometry.filters, link.channels // geometry.groups, *geometry.kernel, seed=number)
        weight /= np.sqrt(weight[0].size)
        arguments = {"relax.add": (noise(geometry.filters, seed=9 + number),), "relax.clip": (0.0, 6.0)}
        steps = tuple(EpilogueStep(name, arguments.get(name, ())) for name in names)
        steps = steps if number < len(links) - 1 else ()
        layers.append(LayerConstants(weight, steps))
        top, left, bottom, right = geometry.padding
        values = functional.conv2d(functional.pad(values, (left, right, top, bottom)), torch.tensor(weight), None, geometry.stride, 0,
                                   geometry.dilation, geometry.groups)
        values = activated(values, steps)
    found = run_kernel(kernel, layers, x, [relu], order)
    np.testing.assert_allclose(found, torch.relu(values).permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-5, err_msg=str(kernel.point))


QUICK = ("flattened", "inverted residual", "spatial SVD, stride")


@pytest.mark.parametrize("name", [pytest.param(each, marks=[] if each in QUICK else [pytest.mark.slow]) for each in CHAINS])
def test_chains_of_every_kind(name):
    check(*CHAINS[name])


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(CHAINS)), st.data())
def test_every_tile_is_the_same_chain(name, data):
    def tile(kernel: ChainKernel) -> ChainKernel:
        points = list(kernel.space())
        return kernel.at(points[data.draw(st.integers(0, len(points) - 1))])

    names = data.draw(st.sampled_from([("relax.add", "relax.nn.relu"), ("relax.sigmoid",), ("relax.add", "relax.clip"), ()]))
    check(*CHAINS[name], tile, names, data.draw(st.sampled_from(ORDERS)))


def test_the_model_counts_what_is_copied_again():
    """Half as many threads go over the pixels twice, and copy weights and image twice."""
    stages = stages_of(links_of((1, 28, 28, 64), [G(64, (1, 1)), G(64, (1, 1))]))
    few, many = ChainTile(8, 8, 64), ChainTile(8, 8, 128)
    assert {few, many} <= set(tiles(stages, TARGET.model))
    assert copied_bytes(stages, 0, many) == 4 * (64 * 64 + 64 * 64)
    assert copied_bytes(stages, 0, few) == 2 * copied_bytes(stages, 0, many)


def test_a_tile_takes_no_more_memory_than_a_block_can_have():
    stages = stages_of(links_of(*CHAINS["inverted residual 5 x 5"]))
    assert all(shared_bytes(stages, tile) <= TARGET.model.shared_block_bytes for tile in tiles(stages, TARGET.model))
    assert ChainTile(16, 16, 256) not in set(tiles(stages_of(links_of((1, 64, 64, 256), [same(512, 3), G(512, (1, 1))])), TARGET.model))
