"""What ptxas prints, as recorded from CUDA 13.0."""
from __future__ import annotations

from tenfold.codegen.cuda.facts import KernelFacts, kernel_facts

LOG = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'calls' for 'sm_80'
ptxas info    : Function properties for calls
    160 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 160 bytes cumulative stack size, 128 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 14.218 ms
ptxas info    : Function properties for _Z5outerPfi
    8 bytes stack frame, 4 bytes spill stores, 2 bytes spill loads
ptxas info    : Compiling entry function 'spills' for 'sm_80'
ptxas info    : Function properties for spills
    720 bytes stack frame, 744 bytes spill stores, 1860 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 720 bytes cumulative stack size, 372 bytes cmem[0], 16 bytes cmem[2]
ptxas info    : Compile time = 51.029 ms
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spills' for 'sm_90'
ptxas info    : Function properties for spills
    720 bytes stack frame, 748 bytes spill stores, 1868 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 720 bytes cumulative stack size
ptxas info    : Compile time = 77.095 ms
"""


def test_kernels_and_gpus():
    spills = dict(kernel="spills", registers=32, stack_bytes=720, shared_bytes=0)
    assert kernel_facts(LOG) == (
        KernelFacts("calls", "sm_80", registers=40, spill_store_bytes=0, spill_load_bytes=0, stack_bytes=160, shared_bytes=128,
                    constant_bytes=368),
        KernelFacts(architecture="sm_80", spill_store_bytes=744, spill_load_bytes=1860, constant_bytes=388, **spills),
        KernelFacts(architecture="sm_90", spill_store_bytes=748, spill_load_bytes=1868, constant_bytes=0, **spills),
    )


def test_other_text_is_passed_over():
    assert kernel_facts("") == ()
    assert kernel_facts("kernels.cu(3): warning #177-D: variable was declared but never referenced\n" + LOG) == kernel_facts(LOG)
