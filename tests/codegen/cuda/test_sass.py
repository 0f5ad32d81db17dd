"""Counting instructions, in text of nvdisasm's form and in what nvcc makes."""
from __future__ import annotations

from pathlib import Path

import pytest
from tenfold.codegen.cuda import sass
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.codegen.cuda.sass import arithmetic, find_nvdisasm, kernel_code, read_sass
from tenfold.codegen.cuda.toolchain import compile_fatbin
from tenfold.support.errors import TenfoldError

TINY = Path(__file__).with_name("tiny.fatbin").read_bytes()
TEXT = """\
//--------------------- .text.first       --------------------------
\t.section\t.text.first,"ax",@progbits
first:
.text.first:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_2:
        /*0010*/              @!P1 LDG.E.128.CONSTANT R12, [R30.64] ;
        /*0020*/                   STS.128 [R54.X16+0x1000], R20 ;
        /*0030*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
.L_x_0:
        /*0040*/                   LDS.64 R4, [R2] ;
        /*0050*/                   FFMA R3, R4, R5, R3 ;
        /*0060*/                   FFMA R7, R4, R6, R7 ;
        /*0070*/                   HMMA.1688.F32.TF32 R8, R4, R6, R8 ;
        /*0080*/               @P0 BRA `(.L_x_0) ;
        /*0090*/                   ISETP.GE.AND P0, PT, R0, 0x12, PT ;
.L_x_1:
        /*00a0*/                   FADD R3, R4, R5 ;
        /*00b0*/              @!P2 BRA `(.L_x_1) ;
        /*00c0*/               @P0 BRA `(.L_x_2) ;
        /*00d0*/                   EXIT ;
.L_x_3:
        /*00e0*/                   BRA `(.L_x_3);
        /*00f0*/                   NOP;
.L_x_4:
.text.second:
        /*0000*/                   STL [R1], R2 ;
        /*0010*/                   BRA `(.L_x_9) ;
.L_x_9:
        /*0020*/                   EXIT ;
"""


def test_kernels_and_loops():
    first, second = read_sass(TEXT)
    assert (first.kernel, second.kernel) == ("first", "second")
    assert first.instructions == {"MOV": 1, "LDG.128": 1, "STS.128": 1, "BAR": 1, "LDS.64": 1, "FFMA": 2, "HMMA.1688.F32.TF32": 1, "BRA": 4,
                                  "ISETP": 1, "FADD": 1, "EXIT": 1, "NOP": 1}
    assert first.main_loop == {"LDS.64": 1, "FFMA": 2, "HMMA.1688.F32.TF32": 1, "BRA": 1}
    assert arithmetic(first.instructions) == 4
    assert first.arithmetic_share == 3 / 5
    assert second.instructions == {"STL": 1, "BRA": 1, "EXIT": 1}
    assert second.main_loop == {} and second.arithmetic_share == 0


def test_without_a_disassembler(monkeypatch):
    monkeypatch.setattr(sass, "find_nvdisasm", lambda: None)
    with pytest.raises(TenfoldError, match="no nvdisasm was found to read CUDA machine code with: pip install nvidia-cuda-nvdisasm"):
        kernel_code(TINY, "sm_80")


@pytest.mark.skipif(find_nvdisasm() is None, reason="no nvdisasm: pip install nvidia-cuda-nvdisasm")
def test_what_is_compiled():
    code, = kernel_code(TINY, "sm_90")
    assert code.kernel == "doubled"
    assert {"LDG", "STG", "FADD", "EXIT"} <= code.instructions.keys()
    with pytest.raises(TenfoldError, match="no machine code for sm_75"):
        kernel_code(TINY, "sm_75")


@pytest.mark.skipif(not finds_nvcc(), reason="no nvcc of CUDA 13: pip install tenfold[cuda]")
@pytest.mark.skipif(find_nvdisasm() is None, reason="no nvdisasm: pip install nvidia-cuda-nvdisasm")
def test_the_main_loop_of_what_is_compiled(tmp_path):
    source = """
extern "C" __global__ void dot(float* x, float* y) {
  float sums[8] = {};
  for (int i = 0; i < 1000; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j) sums[j] += x[i * 64 + j * 8 + threadIdx.x] * x[j];
  for (int j = 0; j < 8; ++j) y[j * 32 + threadIdx.x] = sums[j];
}
"""
    compile_fatbin(source, ["sm_80"], False, tmp_path / "kernels.fatbin")
    code, = kernel_code((tmp_path / "kernels.fatbin").read_bytes(), "sm_80")
    assert code.main_loop["FFMA"] % 8 == 0 and code.main_loop["LDG"] >= code.main_loop["FFMA"]
