"""Transactions of patterns whose numbers follow from the rules: 32 banks of 4 bytes, sectors of 32 bytes."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tenfold.runner.devices.cuda import CudaProgram, EmulationError
from tenfold.runtime.cuda.launches import Launch

SOURCE = Path(__file__).with_name("transactions.cu").read_text()


@pytest.fixture(scope="module")
def program(folder):
    return CudaProgram(SOURCE, folder)


def counts(program, kernel, *operands, blocks=1):
    launch = Launch(kernel, (blocks, 1, 1), (32, 1, 1), 0, tuple(range(len(operands))))
    return program.launch(launch, operands, outputs=[len(operands) - 1], counting=True)


def at(found, text, space, store):
    line = next(number for number, line in enumerate(SOURCE.splitlines(), 1) if text in line)
    site, = (site for site in found.sites if (site.line, site.space, site.store) == (line, space, store))
    return site.requests, site.transactions, site.least


@pytest.mark.quick(3)
@pytest.mark.parametrize("stride, wavefronts", [(0, 1), (1, 1), (2, 2), (3, 1), (4, 4), (8, 8), (16, 16), (32, 32), (33, 1)])
def test_bank_conflicts(program, stride, wavefronts):
    found = counts(program, "strided", np.int32([stride, 1, 0]), np.zeros(1024, np.float32), np.zeros(32, np.float32))
    assert at(found, "const float v", "shared", False) == (1, wavefronts, 1)
    assert found.bank_conflicts == wavefronts - 1
    assert found.shared_wavefronts == 33 + wavefronts


@pytest.mark.parametrize("stride, start, sectors, least", [
    (0, 5, 1, 1), (1, 0, 4, 4), (1, 1, 5, 4), (1, 8, 4, 4), (2, 0, 8, 4), (8, 0, 32, 4), (16, 3, 32, 4)])
def test_sectors(program, stride, start, sectors, least):
    found = counts(program, "strided", np.int32([0, stride, start]), np.zeros(1024, np.float32), np.zeros(32, np.float32))
    # Three reads of one word each, of the strides, on two lines; the row of y.
    assert at(found, "y[lane] = v", "global", False)[1:] == (sectors + 2, least + 2)
    assert at(found, "y[lane] = v", "global", True) == (1, 4, 4)


def test_vectors_go_by_parts_of_a_warp(program):
    found = counts(program, "vectors", np.zeros(128, np.float32), np.zeros(160, np.float32))
    assert at(found, "tile[threadIdx.x] =", "global", False) == (1, 16, 16)
    assert at(found, "tile[threadIdx.x] =", "shared", True) == (1, 4, 4)
    assert at(found, "pairs[threadIdx.x] =", "shared", True) == (1, 2, 2)
    assert at(found, "*(float4*)(y", "shared", False) == (1, 4, 4)  # a quarter reads one vector
    assert at(found, "pairs[threadIdx.x ^ 1]", "shared", False) == (1, 2, 1)  # every other word: two of them in each bank


def test_lanes_that_are_left_out(program):
    found = counts(program, "half_of_the_lanes", np.zeros(32, np.float32), np.zeros(96, np.float32))
    assert at(found, "y[threadIdx.x + 32 * i]", "global", True) == (3, 12, 6)


def test_blocks_add_up(program):
    found = counts(program, "rows", np.zeros(32, np.float32), np.zeros(160, np.float32), blocks=5)
    assert at(found, "y[blockIdx.x * 32", "global", True) == (5, 20, 20)
    assert (found.global_sectors, found.least_sectors, found.shared_wavefronts) == (40, 40, 0)


def test_nothing_is_counted_unasked(program, folder):
    launch = Launch("vectors", (1, 1, 1), (32, 1, 1), 0, (0, 1))
    operands = [np.zeros(128, np.float32), np.zeros(160, np.float32)]
    assert not program.launch(launch, operands, outputs=[1]).sites
    with pytest.raises(EmulationError, match="checks=True"):
        CudaProgram(SOURCE, folder, checks=False).launch(launch, operands, counting=True)
