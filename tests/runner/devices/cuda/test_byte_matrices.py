"""Matrix instructions of a warp on bytes, against NumPy: exact, for all signs and sizes."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tenfold.runner.devices.cuda import CudaProgram, EmulationError
from tenfold.runtime.cuda.launches import Launch

SOURCE = Path(__file__).with_name("byte_matrices.cu").read_text()
TYPES = {"s8": np.int8, "u8": np.uint8}
PAIRS = [(first, second) for first in TYPES for second in TYPES]


@pytest.fixture(scope="module")
def program(folder):
    begin = SOURCE.index('extern "C"')
    end = SOURCE.index('extern "C"', begin + 1)
    kernels = (SOURCE[begin:end].replace("FIRST", first).replace("SECOND", second) for first, second in PAIRS)
    return CudaProgram("".join([*kernels, SOURCE[end:]]), folder)


def matrix(kind: str, rows: int, depth: int, seed: int, extreme: bool = False) -> np.ndarray:
    limits = np.iinfo(TYPES[kind])
    rng = np.random.default_rng(seed)
    values = rng.choice([limits.min, limits.max], (rows, depth)) if extreme else rng.integers(limits.min, limits.max + 1, (rows, depth))
    return values.astype(TYPES[kind])


def run(program, kernel, a, b, c, threads=32, order="forward"):
    launch = Launch(kernel, (1, 1, 1), (threads, 1, 1), 0, (0, 1, 2))
    program.launch(launch, [a.view(np.uint32), b.view(np.uint32), c], outputs=None, order=order)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a.astype(np.int64) @ b.astype(np.int64).T


@pytest.mark.parametrize("order", ["forward", "backward", 5])
@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("extreme", [False, True])
def test_sixteen_rows_and_32_terms(program, first, second, extreme, order):
    a, b = matrix(first, 16, 32, 1, extreme), matrix(second, 8, 32, 2, extreme)
    c = np.random.default_rng(3).integers(-1000, 1000, (16, 8)).astype(np.int32)
    wanted = c + product(a, b)
    run(program, f"k32_{first}_{second}", a, b, c, order=order)
    np.testing.assert_array_equal(c, wanted)


def test_sixteen_rows_and_16_terms(program):
    a, b, c = matrix("s8", 16, 16, 1), matrix("u8", 8, 16, 2), np.zeros((16, 8), np.int32)
    run(program, "k16_s8_u8", a, b, c)
    np.testing.assert_array_equal(c, 5 + product(a, b))


def test_eight_rows(program):
    a, b, c = matrix("s8", 8, 16, 1), matrix("u8", 8, 16, 2), np.full((8, 8), -3, np.int32)
    run(program, "m8_s8_u8", a, b, c)
    np.testing.assert_array_equal(c, product(a, b) - 3)


def test_sums_wrap(program):
    a, b, c = np.full((16, 32), 127, np.int8), np.full((8, 32), 255, np.uint8), np.full((16, 8), 2**31 - 1, np.int32)
    run(program, "k32_s8_u8", a, b, c)
    np.testing.assert_array_equal(c, np.int64(2**31 - 1) + 32 * 127 * 255 - 2**32)


def test_a_warp_that_is_not_full(program):
    with pytest.raises(EmulationError, match=r"line \d+: multiplies matrices in a warp that is not full"):
        run(program, "k32_s8_u8", matrix("s8", 16, 32, 1), matrix("u8", 8, 32, 2), np.zeros((16, 8), np.int32), threads=24)
