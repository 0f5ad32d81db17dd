"""The table of an artifact's kernels for GPUs."""
from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tenfold.codegen.cuda.sass import find_nvdisasm
from tenfold.runner import gpu_kernels as module
from tenfold.runner.gpu_kernels import gpu_kernels, gpu_table
from tenfold.runner.report import console, show
from tenfold.runtime.cuda.code_file import CudaCode
from tenfold.runtime.cuda.launches import Launch, Routine
from tenfold.runtime.memory_plan import Operand, Step
from tenfold.runtime.weights import write_weights


def fact(kernel: str, arch: str, registers: int, spilled: int, shared: int) -> dict[str, Any]:
    return {"kernel": kernel, "architecture": arch, "registers": registers, "spill_store_bytes": spilled, "spill_load_bytes": 2 * spilled,
            "stack_bytes": 0, "shared_bytes": shared, "constant_bytes": 0}


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch) -> Any:
    """Two functions: one of two kernels, that is called twice, one of a kernel. Without a disassembler."""
    monkeypatch.setattr(module, "find_nvdisasm", lambda: None)
    sums = Launch("sums", (1, 1, 1), (256, 1, 1), 0, (0, 1))
    routines = {"conv": Routine((Launch("conv_kernel", (4, 1, 1), (32, 2, 1), 1024, (0, 1)), sums)),
                "pool": Routine((Launch("pool_kernel", (1, 1, 1), (32, 1, 1), 0, (0, 1)),))}
    facts = [fact(kernel, arch, registers + (arch == "sm_90"), spilled, 2048) for arch in ("sm_80", "sm_90")
             for kernel, registers, spilled in (("conv_kernel", 70, 4), ("sums", 20, 0), ("pool_kernel", 8, 0))]
    CudaCode(("sm_80", "sm_90", "compute_80"), "", b"", routines, tuple(facts)).write(tmp_path / "model.cuda")
    operands = (Operand(0, (4,)), Operand(1, (4,)))
    write_weights(tmp_path / "weights.bin", [np.zeros(4, "f4")], [], steps=[Step(name, operands) for name in ("conv", "pool", "conv")])
    check = {"max_rel_error": 2e-7, "device": "kernels emulated on the CPU"}
    manifest = SimpleNamespace(verification=check, bytes=2_000_000, target={"features": ["sm_80", "sm_90"]})
    return SimpleNamespace(folder=tmp_path, manifest=manifest)


def test_each_kernel_has_its_launches_and_facts(artifact):
    conv, sums, pool = gpu_kernels(artifact)
    found = [(one.name, one.launches, one.threads) for one in (conv, sums, pool)]
    assert found == [("conv_kernel", 2, 64), ("sums", 2, 256), ("pool_kernel", 1, 32)]
    assert conv.registers == {"sm_80": 70, "sm_90": 71} and conv.spill_bytes == {"sm_80": 12, "sm_90": 12}
    assert conv.shared_bytes == 1024 + 2048 and pool.code == {}


def test_the_table_says_what_is_emulated_and_that_nothing_was_timed(artifact):
    out = io.StringIO()
    show([gpu_table(artifact)], console(out))
    said = " ".join(out.getvalue().split())
    assert "error 2.0e-07 of the largest output, kernels emulated on the CPU" in said and "Nothing was timed" in said
    assert "conv_kernel 2 64 70 71 12 3.0" in said and "all 5" in said and "nvdisasm" in said
    artifact.manifest.verification = None
    show([gpu_table(artifact)], console(out))
    assert "not verified" in " ".join(out.getvalue().split())


@pytest.mark.slow
@pytest.mark.skipif(find_nvdisasm() is None, reason="nvdisasm is not installed")
def test_instructions_are_counted_where_there_is_a_disassembler(tiny_file, tmp_path):
    import tenfold

    kernels = gpu_kernels(tenfold.compile(tiny_file, "sm_80", tmp_path / "out"))
    assert all(kernel.code["sm_80"].instructions for kernel in kernels)
