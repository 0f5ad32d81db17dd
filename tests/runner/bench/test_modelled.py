"""Modelled cycles: what LLVM says is read right, blocks and misses become cycles, and a network is priced where the tools are there."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tenfold.factorization import METHODS, Layer
from tenfold.passes.layer_module import layer_module
from tenfold.runner.bench import modelled
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices.counted import Block, CacheLevel, Counts
from tenfold.runner.devices.emulated import emulator_for
from tenfold.search.settings import Settings
from tenfold.search.timing.latency_table import LatencyTable, TimedLayer
from tenfold.search.timing.timer import model_of, open_timer
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve

SAMPLE = Path(__file__).with_name("mca_19.json")  # of llvm-mca 19.1.7 -mcpu=cortex-a72, 200 turns of two blocks
FMLA, LOAD, SUBTRACT, BACK = "4e22cc20", "3cc10400", "f1000421", "54ffffc1"  # fmla v0.4s...; ldr q0, [x0], #16; subs x1, x1, #1; b.ne
CONV = Layer("conv", "conv2d", (16, 16, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))


def lacks_llvm() -> str:
    try:
        modelled.llvm_version()
    except TenfoldError as error:
        return str(error)
    return ""


def lacks_all() -> str:
    """Why nothing can be counted here; empty where it can."""
    emulator = emulator_for("aarch64")
    if emulator is None or emulator.endswith("-static"):
        return "there is no qemu-aarch64 that takes plugins"
    if shutil.which("aarch64-linux-gnu-g++") is None:
        return "there is no C++ compiler for AArch64"
    return lacks_llvm()


needs_llvm = pytest.mark.skipif(bool(lacks_llvm()), reason=lacks_llvm())
needs_all = pytest.mark.skipif(bool(lacks_all()), reason=lacks_all())


def test_what_llvm_says_is_read():
    assert modelled.parse_cycles(SAMPLE.read_text()) == [809 / 200, 1003 / 200]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"CodeRegions": [{}]}', '{"CodeRegions": [{"SummaryView": {"Iterations": 1}}]}'])
def test_what_llvm_does_not_say(text):
    with pytest.raises(TenfoldError, match="llvm-mca's answer can't be read"):
        modelled.parse_cycles(text)


def test_blocks_that_were_cut_are_joined():
    first, second, jump = Block(0x1000, 9, (FMLA, LOAD)), Block(0x1008, 9, (SUBTRACT, BACK)), Block(0x1010, 9, (FMLA,))
    assert modelled.joined([jump, second, first]) == [Block(0x1000, 9, (FMLA, LOAD, SUBTRACT, BACK)), jump]
    other = Block(0x1008, 8, second.code)
    assert modelled.joined([first, other]) == [first, other]


@pytest.mark.parametrize("word, branch", [
    ("14000002", True), ("94000002", True), ("54ffffc1", True), ("b4000040", True), ("36000040", True), ("d65f03c0", True),
    ("d61f0000", True), ("d4000001", True), (FMLA, False), (LOAD, False), (SUBTRACT, False),
    ("91000400", False), ("a9bf7bfd", False), ("1e204000", False)])
def test_branches(word, branch):
    assert modelled._is_branch(word) is branch


@pytest.mark.parametrize("text, flops", [
    ("fmla\tv0.4s, v1.4s, v2.s[0]", 8), ("fmla v0.2s, v1.2s, v2.2s", 4), ("fmls v0.4s, v1.4s, v2.4s", 8), ("fmadd s0, s1, s2, s3", 2),
    ("fadd v0.4s, v1.4s, v2.4s", 0), ("ldr q0, [sp, #16]", 0)])
def test_flops(text, flops):
    assert modelled.flops_of([text]) == flops


@pytest.mark.parametrize("text, taken", [
    ("ldr\tq0, [x0], #16", ("ldr\tq0, [x0]", "add x0, x0, #16")), ("ldr s3, [x12], #-4", ("ldr s3, [x12]", "sub x12, x12, #4")),
    ("ldr x1, [x0], #8", ("ldr x1, [x0], #8",)), ("ldr q0, [x0, #16]!", ("ldr q0, [x0, #16]!",)), ("svc #0", ("nop",)),
    ("ldaddal w0, w1, [x2]", ("nop",))])
def test_what_llvm_models_wrong_is_told_in_other_words(text, taken):
    assert modelled.as_modelled(text) == taken


def test_vectors_on_the_stack():
    on = ["ldr\tq0, [sp, #16]", "stp\tq0, q1, [sp]", "stur\tq3, [sp, #-8]"]
    off = ["ldr\tq0, [x0]", "ldr\tx0, [sp, #16]", "str\ts0, [sp]"]
    assert all(map(modelled.is_stack_vector, on)) and not any(map(modelled.is_stack_vector, off))


def test_prices_are_those_of_the_preset():
    a72, n1 = modelled.prices_of(resolve("cortex-a72")), modelled.prices_of(resolve("neoverse-n1"))
    assert a72.caches == (CacheLevel(32, 2), CacheLevel(1024, 16)) and a72.miss_cycles == (9, 64 / 3)  # behind its L2 is memory
    assert n1.caches == (CacheLevel(64, 4), CacheLevel(1024, 16), CacheLevel(32768, 16)) and n1.miss_cycles == (9, 64 / 8, 64 / 8)
    assert str(a72) == "L1 32 KiB, 2 ways, a miss 9 cycles; L2 1024 KiB, 16 ways, a miss 21.3 cycles"


def test_a_model_that_llvm_does_not_have():
    assert modelled.mca_cpu(resolve("cortex-a76")) == "neoverse-n1" and modelled.mca_cpu(resolve("neoverse-v1")) == "neoverse-v1"


@needs_llvm
def test_counts_become_cycles():
    counts = Counts((Block(0x1000, 1000, (FMLA,) * 4), Block(0x2000, 10, ("ffffffff", BACK))), (100, 10))
    found = modelled.model(counts, resolve("cortex-a72"))
    assert found.instructions == 4020 and found.flops == 4 * 8 * 1000 and found.misses == (100, 10)
    assert found.miss_cycles == pytest.approx(100 * 9 + 10 * 64 / 3) and found.cycles == found.core_cycles + found.miss_cycles
    # Four multiply-adds to one register wait for each other, by the latency of a forwarded accumulator at the least.
    assert found.core_cycles > 1000 * 4 * 2


def test_devices_that_are_not_modelled():
    assert [modelled.modelled_device(name) for name in ("here", "emulated", "emulated:max", "emulated:Nehalem", "board:9190")] == [None] * 5
    with pytest.raises(TenfoldError, match="zen3: cycles are modelled for AArch64 alone"):
        modelled.Modelled(resolve("zen3"))


@needs_all
def test_a_layer_is_priced(tmp_path):
    with open_timer("emulated:cortex-a72", None, Settings()) as (target, timer):
        assert isinstance(timer, TimedModules) and (target.name, target.cores) == ("cortex-a72", 1)
        assert "llvm-mca" in model_of(timer) and timer.device.describe().startswith("modelled cortex-a72 (emulated qemu-aarch64")
        module = timer.kernels(layer_module(CONV))
        ms = module()
        # 16 * 16 * 9 * 64 multiply-adds take four lanes a cycle at best, and Winograd up to four times fewer. The same again is the same.
        assert 16 * 16 * 9 * 64 / 4 / 4 / 1.5e6 < ms < 0.5 and module() == ms
        table = LatencyTable(target, timer, tmp_path)
        dense, factored = table.ms([TimedLayer(CONV), TimedLayer(CONV, METHODS["tucker2"].outline(CONV, (4, 4)))])
        assert factored < dense == pytest.approx(ms, rel=0.01)
        assert all('"modelled": "cycles by llvm-mca' in line for line in (tmp_path / "cortex-a72.jsonl").read_text().splitlines())


@needs_all
def test_several_threads_are_not_modelled():
    with pytest.raises(TenfoldError, match="emulated:cortex-a72: its cycles are those of one thread"):
        with open_timer("emulated:cortex-a72", None, Settings(threads=2)):
            pass
