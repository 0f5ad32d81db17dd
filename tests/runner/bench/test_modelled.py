"""Modelled cycles: blocks and misses become cycles, and a network is priced where the tools are there."""
from __future__ import annotations

import pytest
from modelled_checks import LACKS, lacks_llvm
from tenfold.factorization import METHODS, Layer
from tenfold.passes.layer_module import layer_module
from tenfold.runner.bench import modelled
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices.counted import Block, CacheLevel, Counts
from tenfold.search.settings import Settings
from tenfold.search.timing.latency_table import LatencyTable, TimedLayer
from tenfold.search.timing.timer import model_of, open_timer
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve

PRESETS = ("cortex-a53", "cortex-a72", "cortex-a76", "cortex-a78", "neoverse-n1", "neoverse-v1", "neoverse-v2", "apple-m1")
FMLA, BACK = "4e22cc20", "54ffffc1"  # fmla v0.4s, v1.4s, v2.4s; b.ne
FMA, BACK_X86 = "e8a875e2c4", "f975"  # vfmadd213ps %ymm0, %ymm1, %ymm5; jne
CONV = Layer("conv", "conv2d", (16, 16, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))


needs_llvm = pytest.mark.skipif(bool(lacks_llvm()), reason=lacks_llvm())
needs_all = pytest.mark.skipif(bool(LACKS["cortex-a72"]), reason=LACKS["cortex-a72"])
needs_x86 = pytest.mark.skipif(bool(LACKS["zen3"]), reason=LACKS["zen3"])


def test_prices_are_those_of_the_preset():
    a72, n1 = modelled.prices_of(resolve("cortex-a72")), modelled.prices_of(resolve("neoverse-n1"))
    assert a72.caches == (CacheLevel(32, 2), CacheLevel(1024, 16)) and a72.miss_cycles == (9, 64 / 3)  # behind its L2 is memory
    assert n1.caches == (CacheLevel(64, 4), CacheLevel(1024, 16), CacheLevel(32768, 16)) and n1.miss_cycles == (9, 64 / 8, 64 / 8)
    assert str(a72) == "L1 32 KiB, 2 ways, a miss 9 cycles; L2 1024 KiB, 16 ways, a miss 21.3 cycles"


def test_a_model_that_llvm_does_not_have():
    assert modelled.mca_cpu(resolve("cortex-a76")) == "neoverse-n1" and modelled.mca_cpu(resolve("neoverse-v1")) == "neoverse-v1"


@pytest.mark.parametrize("target, known, cpu", [
    ("cortex-a72", ["cortex-a72"], "cortex-a72"), ("neoverse-v1", ["cortex-a72"], "max,sme=off,sve-max-vq=2"),
    ("cortex-a78", [], "max,sme=off,sve=off"), ("zen3", [], "max")])
def test_what_is_emulated_has_no_more_than_the_core(monkeypatch, target, known, cpu):
    monkeypatch.setattr(modelled, "emulator_for", lambda architecture: "/bin/true")
    monkeypatch.setattr(modelled, "cpus_of", lambda emulator: known)
    assert modelled._emulated_cpu(resolve(target)) == cpu
    assert {name for name in PRESETS if "sve" in resolve(name).features} == set(modelled.SVE_QUADS)


@needs_llvm
def test_counts_become_cycles():
    counts = Counts((Block(0x1000, 1000, (FMLA,) * 4), Block(0x2000, 10, ("ffffffff", BACK))), (100, 10))
    found = modelled.model(counts, resolve("cortex-a72"))
    assert found.instructions == 4020 and found.flops == 4 * 8 * 1000 and found.misses == (100, 10)
    assert found.miss_cycles == pytest.approx(100 * 9 + 10 * 64 / 3) and found.cycles == found.core_cycles + found.miss_cycles
    # Four multiply-adds to one register wait for each other, by the latency of a forwarded accumulator at the least.
    assert found.core_cycles > 1000 * 4 * 2


@needs_llvm
def test_counts_of_x86_become_cycles():
    counts = Counts((Block(0x1000, 1000, (FMA,) * 4), Block(0x1014, 1000, (BACK_X86,)), Block(0x2000, 10, ("ff",))), (100, 10, 1))
    found = modelled.model(counts, resolve("zen3"))
    assert found.instructions == 5010 and found.flops == 4 * 16 * 1000
    assert found.miss_cycles == pytest.approx(100 * 9 + 10 * 64 / 16 + 64 / 7)
    assert found.core_cycles > 1000 * 4 * 4  # each waits for the one before


def test_devices_that_are_not_modelled():
    assert [modelled.modelled_device(name) for name in ("here", "emulated", "emulated:max", "emulated:Nehalem", "board:9190")] == [None] * 5
    assert modelled.modelled_device("emulated:host") is None  # which is no preset


@pytest.mark.slow
@pytest.mark.parametrize("cpu, lanes", [("cortex-a72", 4), ("zen3", 16)])
def test_a_layer_is_priced(tmp_path, cpu, lanes):
    """`lanes`: multiply-adds of a cycle at best."""
    if LACKS[cpu]:
        pytest.skip(LACKS[cpu])
    with open_timer(f"emulated:{cpu}", None, Settings()) as (target, timer):
        assert isinstance(timer, TimedModules) and (target.name, target.cores) == (cpu, 1)
        assert "llvm-mca" in model_of(timer) and timer.device.describe().startswith(f"modelled {cpu} (emulated qemu-")
        module = timer.kernels(layer_module(CONV))
        ms, clock = module(), target.model.clock_ghz
        # Winograd multiplies up to four times less. The same again is the same.
        assert 16 * 16 * 9 * 64 / lanes / 4 / clock / 1e6 < ms < 0.5 and module() == ms
        table = LatencyTable(target, timer, tmp_path)
        dense, factored = table.ms([TimedLayer(CONV), TimedLayer(CONV, METHODS["tucker2"].outline(CONV, (4, 4)))])
        assert factored < dense == pytest.approx(ms, rel=0.01)
        (file,) = tmp_path.glob("*.jsonl")
        assert all('"modelled": "cycles by llvm-mca' in line for line in file.read_text().splitlines())


@needs_x86
def test_avx512_is_not_emulated():
    with pytest.raises(TenfoldError, match="target zen4: it is for another CPU: .*avx512.* on emulated:zen4"):
        with open_timer("emulated:zen4", None, Settings()):
            pass


@needs_all
def test_several_threads_are_not_modelled():
    with pytest.raises(TenfoldError, match="emulated:cortex-a72: its cycles are those of one thread"):
        with open_timer("emulated:cortex-a72", None, Settings(threads=2)):
            pass
