"""Kernels by hand: what is right runs, each mistake is found and named."""
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tenfold.runner.devices.cuda import CudaProgram, EmulationError, library, sampled_blocks
from tenfold.runtime.cuda.launches import Launch

SOURCE = Path(__file__).with_name("kernels.cu").read_text()
# Which of the threads comes first decides what is seen of a missing barrier.
MISSING = r"race: reads tile\[\d+\] \(shared memory\), written by thread \d+ with no barrier|reads tile\[\d+\] .* no thread has written yet"
ORDERS = ("forward", "backward", 7)


@pytest.fixture(scope="module")
def program(folder):
    return CudaProgram(SOURCE, folder)


@pytest.fixture(scope="module")
def unchecked(folder):
    return CudaProgram(SOURCE, folder, checks=False)


def random(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def launch(kernel, operands, grid=(1, 1, 1), block=(64, 1, 1), shared=0):
    return Launch(kernel, grid, block, shared, tuple(range(operands)))


def run(program, kernel, *operands, outputs=(1,), grid=1, block=64, shared=0, **options):
    return program.launch(launch(kernel, len(operands), (grid, 1, 1), (block, 1, 1), shared), operands, outputs=outputs, **options)


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_exchange_through_shared_memory(program, unchecked, order):
    x = random(5 * 64)
    for one in (program, unchecked):
        y = np.zeros_like(x)
        run(one, "reversed", x, y, grid=5, order=order)
        np.testing.assert_array_equal(y, x.reshape(5, 64)[:, ::-1].ravel())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel, says", [
    ("no_barrier", MISSING),
    ("overwritten_too_early", r"race: (reads|writes) tile\[\d+\]"),
    ("global_bounds", r"thread \(63, 0, 0\), line \d+: reads out of bounds: x\[64\], which has 64 elements"),
    ("before_the_start", r"thread \(0, 0, 0\), line \d+: reads out of bounds: x\[-1\]"),
    ("far_out", r"out of bounds: x\[2000000000\]"),
    ("no_memory", "no memory of the kernel"),
    ("misaligned", "reads 16 bytes at an address that is no multiple of 16"),
    ("misaligned_registers", "reads 8 bytes at an address that is no multiple of 8"),
    ("register_bounds", r"reads out of bounds: r\[\d+\] \(registers\) has 4 elements|outside of its register arrays"),
    ("register_unwritten", r"reads r\[3\] \(registers\), which holds no value yet"),
    ("asynchronous_without_barrier", r"race: reads tile\[\d+\] .* written by thread \d+|no thread has written yet"),
    ("asynchronous_over_what_is_read", r"race: (reads|writes) tile\[\d+\]"),
])
def test_a_mistake_is_found(program, kernel, says, order):
    with pytest.raises(EmulationError, match=says) as raised:
        run(program, kernel, random(64 if "async" not in kernel else 256), np.zeros(64, np.float32), order=order)
    assert str(raised.value).startswith(f"{kernel}: block (0, 0, 0), thread (")
    assert "\n" not in str(raised.value)
    lines = SOURCE[:SOURCE.index(f" {kernel}(")].count("\n") + 1, SOURCE[:SOURCE.index("\n}", SOURCE.index(f" {kernel}("))].count("\n") + 1
    assert lines[0] <= int(re.search(r"(?:line|from) (\d+)\)?:", str(raised.value))[1]) <= lines[1]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel, says", [
    ("two_writers", r"race: writes tile\[0\] \(shared memory\), written by thread"),
    ("unwritten", r"reads tile\[64\] \(shared memory\), which no thread has written"),
    ("shared_bounds", r"writes out of bounds: tile\[64\] \(shared memory\) has 64 elements"),
    ("some_end_early", "has ended without coming to this barrier"),
    ("too_much_shared_memory", "has too much shared memory: 49156 bytes with second, and 0 of the launch"),
    ("two_barriers", r"waits at this barrier, while thread \d+ waits at that of line"),
    ("half_of_a_warp_shuffles", "not all threads of its mask 0xffffffff come to"),
    ("shuffle_from_outside_of_the_mask", r"takes its value from lane \d+, which takes no part"),
    ("warp_exchange_without_barrier", MISSING),
    ("warps_exchange_by_warp_barrier", MISSING),
    ("atomic_beside_a_store", "race"),
    ("one_lane_writes_what_its_warp_reads", r"race: (reads|writes) words\[0\]|race: (reads|writes) words\[1\]"),
    ("one_lane_writes_what_both_warps_have_read", r"race: (reads|writes) word\[0\]"),
])
def test_a_mistake_without_input_is_found(program, kernel, says, order):
    with pytest.raises(EmulationError, match=says):
        run(program, kernel, np.zeros(64, np.float32), outputs=(0,), order=order)


def test_shared_memory_does_not_last(program):
    with pytest.raises(EmulationError, match=r"block \(1, 0, 0\).*which no thread has written"):
        run(program, "kept_from_the_last_block", np.zeros(128, np.float32), outputs=(0,), grid=2, workers=1)


def test_what_operands_are_for(program):
    x, y = random(64), random(64)
    expected = x + y
    run(program, "adds_in_place", x, y, outputs=None)
    np.testing.assert_array_equal(y, expected)
    with pytest.raises(EmulationError, match=r"reads y\[0\], which nothing has written"):
        run(program, "adds_in_place", x, y, outputs=(1,))
    with pytest.raises(EmulationError, match=r"writes y\[0\], an operand that is no output"):
        run(program, "reversed", x, y, outputs=())


def test_what_is_not_written_is_not_a_number(program):
    y = np.zeros(128, np.float32)
    run(program, "reversed", random(128), y, grid=2, blocks=[1])
    assert np.isnan(y[:64]).all() and not np.isnan(y[64:]).any()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kernel, says", [("blocks_write_one_word", "writes"), ("blocks_read_each_other", "reads|writes")])
def test_blocks_that_depend_on_each_other(program, kernel, says, workers):
    with pytest.raises(EmulationError, match=rf"race: ({says}) y\[\d+\], (written|read) by block number \d of the same launch"):
        run(program, kernel, np.zeros(128, np.float32), outputs=None, grid=2, workers=workers)


def test_threads_exchange_in_global_memory(program):
    y, z = np.zeros((2, 64), np.float32)
    run(program, "threads_exchange_in_global_memory", y, z, outputs=(0, 1))
    np.testing.assert_array_equal(z, np.arange(64)[::-1])
    with pytest.raises(EmulationError, match=r"race: (reads|writes) y\[\d+\]|which nothing has written"):
        run(program, "threads_exchange_without_barrier", y, z, outputs=(0, 1))


@pytest.mark.parametrize("order", ORDERS)
def test_shuffles_and_votes(program, unchecked, order):
    x = np.arange(64, dtype=np.float32) - 20
    for one in (program, unchecked):
        y = np.zeros((4, 64), np.float32)
        run(one, "shuffles", x, y, order=order)
        sums = np.repeat(x.reshape(2, 32).sum(1), 32)
        np.testing.assert_array_equal(y[:2], [sums, sums])
        lanes = np.arange(64)
        np.testing.assert_array_equal(y[2], x[np.where(lanes % 8, lanes - 1, lanes)])
        np.testing.assert_array_equal(y[3], np.repeat([11, 32], 32) + np.repeat([0, 100], 32) + 200)


@pytest.mark.parametrize("order", ORDERS)
def test_a_warp_exchanges_between_its_barriers(program, order):
    y = np.zeros(64, np.float32)
    run(program, "warp_exchange", y, outputs=(0,), order=order)
    np.testing.assert_array_equal(y, (np.arange(64) ^ 31) + 2)


@pytest.mark.parametrize("order", ORDERS)
def test_one_lane_writes_what_its_warp_has_read(program, order):
    y = np.zeros((2, 64), np.float32)
    run(program, "one_lane_writes_what_its_warp_has_read", y, outputs=(0,), order=order)
    np.testing.assert_array_equal(y, np.repeat([[1], [2]], 64, 1))


def test_atomics_of_several_blocks(program, unchecked):
    x = np.arange(640, dtype=np.float32)
    for one in (program, unchecked):
        y = np.zeros(1, np.float32)
        run(one, "atomics", x, y, outputs=None, grid=10)
        assert y[0] == x.sum()  # integers below 2 ** 24: exact in any order


@pytest.mark.parametrize("order", ORDERS)
def test_asynchronous_copies(program, unchecked, order):
    x = random(256)
    for one in (program, unchecked):
        y = np.zeros((3, 256), np.float32)
        run(one, "asynchronous", x, y, shared=3072, order=order)
        np.testing.assert_array_equal(y[0], x[::-1])
        assert not y[1].any()
        np.testing.assert_array_equal(y[2].reshape(64, 4), x.reshape(64, 4) * [1, 1, 0, 0])


def test_asynchronous_copies_need_their_memory(program):
    with pytest.raises(EmulationError, match=r"writes out of bounds: buffer\[\d+\] \(shared memory\) has 3000 elements"):
        run(program, "asynchronous", random(256), np.zeros((3, 256), np.float32), shared=3000)


def test_asynchronous_copies_are_used_too_early(program, unchecked):
    x, y = random(256), np.zeros(64, np.float32)
    with pytest.raises(EmulationError, match=r"race: reads tile\[\d+\].*through cp.async that is not waited for"):
        run(program, "asynchronous_too_early", x, y)
    run(unchecked, "asynchronous_too_early", x, y)
    assert np.isnan(y).all()  # copied when they are waited for, and never before


@pytest.mark.parametrize("order", ORDERS)
def test_predicated_assembly(program, order):
    x, y = random(256), np.zeros(256, np.float32)
    run(program, "predicated_copy", x, y, order=order)
    np.testing.assert_array_equal(y.reshape(32, 8), x.reshape(32, 8) * ([1] * 4 + [0] * 4))


def test_arithmetic(program):
    x, y = random(64), np.zeros((64, 4), np.float32)
    run(program, "arithmetic", x, y)
    expected = np.stack([np.exp(x), 1 / np.sqrt(np.abs(x) + 1), np.maximum(x, 0), np.arange(64) % 4 + 4], 1)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_a_kernel_without_operands(program):
    program.launch(Launch("nothing", (3, 1, 1), (64, 1, 1), 0, ()), [])


def test_products_of_bytes(program):
    signed = np.random.default_rng(0).integers(-128, 128, (2, 64, 4)).astype(np.int8)
    x, y = signed.view(np.int32).reshape(128), np.zeros((2, 64), np.int32)
    run(program, "bytes", x, y)
    first, second = signed.astype(np.int32)
    np.testing.assert_array_equal(y[0], (first * signed[1].view(np.uint8)).sum(-1) + 1)
    np.testing.assert_array_equal(y[1], (first * second).sum(-1) + 2)


def test_structs_that_functions_return(program, unchecked):
    expected = np.concatenate([np.arange(64)[::-1, None] + np.arange(4), np.arange(64)[:, None] * 100 + np.arange(4)], 1)
    for one in (program, unchecked):
        y = np.zeros((64, 8), np.float32)
        run(one, "structs_are_returned", y, outputs=(0,))
        np.testing.assert_array_equal(y, expected)


def test_constants_are_written(program):
    y = np.zeros((64, 16), np.float32)
    run(program, "constants", y, outputs=(0,))
    np.testing.assert_array_equal(y, np.tile(np.float32([0] * 4 + [1] * 4 + [0] * 4 + [3, 3, 2, 4]), (64, 1)))
    with pytest.raises(EmulationError, match=r"writes out of bounds: y\[256\]"):
        run(program, "constants_out_of_bounds", np.zeros(256, np.float32), outputs=(0,))


def test_parts_of_vectors_in_registers(program):
    with pytest.raises(EmulationError, match=r"reads v\[0\] \(registers\), which holds no value yet"):
        run(program, "parts_of_vectors", random(64), np.zeros(64, np.float32))


def test_extents_in_three_dimensions(program):
    y = np.zeros((24, 30), np.int32)
    program.launch(Launch("positions", (2, 3, 4), (5, 3, 2), 0, (0,)), [y], outputs=[0])
    np.testing.assert_array_equal(y, 1000 * np.arange(24)[:, None] + np.arange(30))


@pytest.mark.parametrize("change, says", [
    (dict(kernel="absent"), "has no kernel absent; it has reversed, "),
    (dict(block=(65, 1, 1)), "a block of 65 threads, where the source allows 1 to 64"),
    (dict(grid=(0, 1, 1)), r"a grid of \(0, 1, 1\)"),
    (dict(grid=(1, 65536, 1)), "a grid of"),
    (dict(block=(-1, -1, 64)), "a block of"),
    (dict(arguments=(0,)), "1 arguments for 2 pointers"),
    (dict(arguments=(0, 2)), r"arguments \(0, 2\) of 2 operands"),
    (dict(shared_bytes=1 << 20), "1048576 bytes of shared memory; a block can have 232448"),
])
def test_launches_that_can_not_be(program, change, says):
    values = dict(kernel="reversed", grid=(1, 1, 1), block=(64, 1, 1), shared_bytes=0, arguments=(0, 1)) | change
    with pytest.raises(EmulationError, match=says):
        program.launch(Launch(**values), [random(64), random(64)])


@pytest.mark.parametrize("outputs", [None, (1,)])
def test_operands_that_share_memory(program, unchecked, outputs):
    memory = random(128)
    for one in (program, unchecked):
        with pytest.raises(EmulationError, match="reversed can't be launched with operands that share memory and are written"):
            run(one, "reversed", memory[:64], memory[32:96], outputs=outputs)
        run(one, "reversed", memory[:64], memory[64:], outputs=outputs)
        np.testing.assert_array_equal(memory[64:], memory[:64][::-1])


def test_one_array_is_read_twice(program, unchecked):
    x = random(64)
    for one in (program, unchecked):
        y = np.zeros(64, np.float32)
        one.launch(Launch("added", (1, 1, 1), (64, 1, 1), 0, (0, 0, 1)), [x, y])
        np.testing.assert_array_equal(y, x + x)


def test_a_sample_of_blocks(program):
    whole = Launch("reversed", (5, 4, 3), (64, 1, 1), 0, (0, 1))
    sample = sampled_blocks(whole, 6)
    assert len(set(sample)) == 6 and sample == sorted(sample) and sample[0] == 0 and sample[-1] == 59
    assert sampled_blocks(whole, 6) == sample != sampled_blocks(whole, 6, seed=1)
    assert sampled_blocks(whole, 100) == list(range(60))
    y = np.zeros(60 * 64, np.float32)
    run(program, "reversed", random(60 * 64), y, grid=60, blocks=sample)
    assert (np.flatnonzero(~np.isnan(y).reshape(60, 64).all(1)) == sample).all()


def test_kernels_that_are_compiled_side_by_side(folder, monkeypatch):
    monkeypatch.setattr(library, "UNIT_SIZE", 3000)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    units: list[str] = []
    kept = library._compile
    monkeypatch.setattr(library, "_compile", lambda *arguments: units.append(arguments[1]) or kept(*arguments))
    program = CudaProgram(SOURCE + "// in parts\nextern \"C\" __global__ void last(float* x) { x[threadIdx.x] = four_of(1).y; }\n", folder)
    assert len(units) == 3
    x, y = random(64), np.zeros(64, np.float32)
    run(program, "reversed", x, y)
    np.testing.assert_array_equal(y, x[::-1])
    run(program, "last", y, outputs=(0,))
    assert (y == 2).all()
    with pytest.raises(EmulationError, match=r"line \d+: reads out of bounds: x\[64\].*: extern .C. __global__ void global_bounds"):
        run(program, "global_bounds", x, y)


def test_a_program_runs_again_after_a_mistake(program):
    x, y = random(64), np.zeros(64, np.float32)
    for _ in range(3):
        with pytest.raises(EmulationError):
            run(program, "register_bounds", x, y)
        run(program, "reversed", x, y)
        np.testing.assert_array_equal(y, x[::-1])


def test_the_first_block_that_fails_is_named(program):
    for _ in range(5):
        with pytest.raises(EmulationError, match=r"block \(2, 0, 0\), thread \(0, 0, 0\).*out of bounds: x\[128\]"):
            run(program, "reversed", random(128), np.zeros(640, np.float32), grid=10)
