"""GPUs as targets: presets, lists of architectures, the GPU of this machine, and what code runs on which."""
from __future__ import annotations

from dataclasses import replace

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.targets import CpuTarget, GpuTarget, gpu_presets, gpu_registry, resolve, resolve_cpu
from tenfold.targets.cuda_driver import Driver, Gpu
from tenfold.targets.gpu_model import RESERVED


def gpu(arch, name="a card", **figures):
    return Gpu(**{"index": 0, "name": name, "capability": arch, "sms": 20, "clock_ghz": 1.5, "l2_bytes": 1 << 22,
                  "memory_bytes_per_second": 300e9, **figures})


@pytest.mark.parametrize("preset", gpu_presets(), ids=lambda preset: preset.name)
def test_a_preset_is_a_gpu_that_blocks_fit_on(preset):
    model = preset.model
    assert resolve(preset.name) is preset and preset.instruction_set == "cuda" and len(preset.archs) == 1 and not preset.ptx
    assert preset.tvm["kind"] == "cuda" and preset.tvm["arch"] == preset.archs[0]
    assert preset.tvm["max_shared_memory_per_block"] == model.shared_block_bytes
    assert model.shared_block_bytes + RESERVED >= model.shared_bytes or model.shared_block_bytes < model.shared_bytes
    assert model.threads % 32 == 0 and model.registers == 65536 and preset.rank_multiple % preset.lanes == 0


def test_without_a_gpu_cuda_is_the_default_with_ptx(monkeypatch):
    monkeypatch.setattr(gpu_registry, "gpus", lambda: ())
    found = resolve("cuda")
    assert isinstance(found, GpuTarget) and found.name == "cuda" and found.features == ("sm_80", "compute_80") and found.ptx


def test_cuda_is_the_gpu_of_the_machine(monkeypatch):
    monkeypatch.setattr(gpu_registry, "gpus", lambda: (gpu((8, 9), "a card"),))
    found = resolve("cuda")
    assert found.archs == ("sm_89",) and not found.ptx and found.description == "a card" and found.model.sms == 20
    assert found.model.memory_bytes_per_cycle == pytest.approx(200)
    assert found.model.shared_bytes == resolve("sm_89").model.shared_bytes
    monkeypatch.setattr(gpu_registry, "gpus", lambda: (gpu((10, 0)),))
    newer = resolve("cuda")
    assert newer.features == ("sm_90", "compute_90")  # it translates PTX
    monkeypatch.setattr(gpu_registry, "gpus", lambda: (gpu((7, 0), "an old card"),))
    with pytest.raises(TenfoldError, match="an old card is sm_70: the oldest architecture that CUDA 13 compiles for is sm_75"):
        resolve("cuda")


def test_several_architectures_in_one():
    found = resolve("cuda:sm_90,sm_80,sm_90")
    assert found.name == "cuda:sm_90,sm_80,sm_90" and found.archs == ("sm_80", "sm_90") and found.ptx
    assert found.features[-1] == "compute_80"
    least = resolve("sm_86").model.shared_block_bytes  # newer GPUs run the code, too: no block has more than any of them has
    assert found.model == replace(resolve("sm_80").model, shared_block_bytes=least) and least < resolve("sm_80").model.shared_block_bytes


@pytest.mark.parametrize(("spec", "words"), [
    ("cuda:sm_99", "unknown architecture 'sm_99': it is one of sm_75, sm_80"), ("cuda:", "unknown architecture ''"),
    ("cuda:80", "unknown architecture '80'"), ("cuad", "did you mean cuda?"), ("sm_8", "did you mean sm_8"),
])  # fmt: skip
def test_what_is_no_gpu_is_told(spec, words):
    with pytest.raises(TenfoldError) as caught:
        resolve(spec)
    assert words in str(caught.value)


def test_threads_and_cpus_are_not_for_gpus():
    with pytest.raises(TenfoldError, match="threads are for CPUs: leave --threads out for target sm_80"):
        resolve("sm_80").with_cores(2)
    with pytest.raises(TenfoldError, match="target sm_80 is a GPU: name a CPU"):
        resolve_cpu("sm_80")
    assert isinstance(resolve_cpu("zen3"), CpuTarget)


@pytest.mark.parametrize(("arch", "features", "runs"), [
    ((8, 0), ["sm_80"], True), ((8, 6), ["sm_80"], True), ((8, 0), ["sm_86"], False), ((9, 0), ["sm_80"], False),
    ((9, 0), ["sm_80", "compute_80"], True), ((7, 5), ["sm_80", "compute_80"], False), ((12, 0), ["compute_90"], True),
    ((12, 0), ["sm_120"], True), ((10, 0), ["sm_90", "sm_80"], False),
])  # fmt: skip
def test_machine_code_is_for_its_generation_and_ptx_for_all_later_ones(arch, features, runs):
    assert gpu(arch).runs(features) is runs


def test_a_machine_without_a_driver_says_so():
    with pytest.raises(TenfoldError, match="this machine has no NVIDIA driver"):
        Driver("libthere-is-no-such-driver.so.1")
