"""Compiling with nvcc."""
from __future__ import annotations

from pathlib import Path

import pytest
from tenfold.codegen.cuda.fatbin import Image, holds_device_code, images
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.codegen.cuda.toolchain import compile_fatbin
from tenfold.support.errors import TenfoldError

pytestmark = pytest.mark.skipif(not finds_nvcc(), reason="no nvcc of CUDA 13: pip install tenfold[cuda]")
TINY = Path(__file__).with_name("tiny.cu").read_text()
STAGED = """
extern "C" __global__ void __launch_bounds__(64) staged(float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[63 - threadIdx.x];
}
"""


def test_several_gpus_and_kernels(tmp_path):
    output = tmp_path / "kernels.fatbin"
    facts = compile_fatbin(TINY + STAGED, ["sm_90", "sm_75", "sm_90"], True, output)
    assert {(fact.kernel, fact.architecture, fact.shared_bytes) for fact in facts} == {
        ("doubled", "sm_75", 0), ("doubled", "sm_90", 0), ("staged", "sm_75", 256), ("staged", "sm_90", 256)}
    assert all(0 < fact.registers <= 32 and not fact.spill_store_bytes and not fact.stack_bytes for fact in facts)
    made = output.read_bytes()
    assert holds_device_code(made, ["sm_75", "sm_90"], ["doubled", "staged"])
    assert [image for image in images(made) if image.kind == "ptx"] == [Image("ptx", "sm_75")]
    assert list(tmp_path.iterdir()) == [output]


def test_without_ptx(tmp_path):
    output = tmp_path / "kernels.fatbin"
    compile_fatbin(TINY, ["sm_86"], False, output)
    assert images(output.read_bytes()) == (Image("cubin", "sm_86", ("doubled",)),)


def test_the_same_source_gives_the_same_bytes(tmp_path):
    outputs = [tmp_path / name for name in ("one", "two")]
    for output in outputs:
        compile_fatbin(TINY, ["sm_80", "sm_90"], True, output)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_results_are_not_made_faster_and_less_exact(tmp_path, monkeypatch):
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "--use_fast_math")
    source = 'extern "C" __global__ void divided(float* x) { x[threadIdx.x] = 1 / x[threadIdx.x]; }'
    approximate = source.replace("1 / x[threadIdx.x]", "__fdividef(1, x[threadIdx.x])")
    exact, fast = (compile_fatbin(one, ["sm_80"], False, tmp_path / "kernels.fatbin") for one in (source, approximate))
    assert exact[0].registers != fast[0].registers  # division as IEEE has it calls a function


@pytest.mark.parametrize("source, archs, says", [
    ('extern "C" __global__ void wrong(float* x) { x[0] = y; }', ["sm_80"],
     r'^nvcc can\'t compile the CUDA kernels: kernels.cu\(1\): error: identifier "y" is undefined$'),
    ('extern "C" __global__ void wrong(float* x) { asm("no.such.instruction;"); }', ["sm_80"], "compile the CUDA kernels: ptxas .*error"),
    (TINY, ["sm_80", "sm_50"], r"makes no code for 'sm_50': name some of sm_75, sm_80, "),
    (TINY, [], "for no GPU"),
    ("// nothing", ["sm_80"], "has the CUDA source a kernel"),
])
def test_mistakes_leave_nothing_behind(source, archs, says, tmp_path):
    with pytest.raises(TenfoldError, match=says) as raised:
        compile_fatbin(source, archs, True, tmp_path / "kernels.fatbin")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
