"""CUDA C as it is rewritten for the host's compiler, and what is refused."""
from __future__ import annotations

import pytest
from tenfold.runner.devices.cuda import CudaProgram, EmulationError
from tenfold.runner.devices.cuda.source import Kernel, prepare

SOURCE = """\
// __shared__ float comment[3];
struct Pair { float x[2]; };
__device__ int twice(int i) { return 2 * i; }
extern "C" __global__ void __launch_bounds__(128, 2) first(const float* __restrict__ x, half* y);
extern "C" __global__ void __launch_bounds__(128, 2) first(const float* __restrict__ x, half* y) {
  __shared__ alignas(64) float4 tile[8][17];
  extern __shared__ __align__(16) uchar buffer[];
  alignas(64) float sums[4]; unsigned int mask[1];
  float scalar = sums[3];  /* float not_this[3]; */
  mask[0] = __shfl_sync(~0u, mask[0], 0);
}
extern "C" __global__ void second() {}
"""


def lines(prepared):
    """Those of the source, after they are rewritten."""
    text, = prepared.units(1)
    return [line.strip() for line in text.partition('#line 1 "kernel.cu"\n')[2].splitlines()]


def test_kernels():
    prepared = prepare(SOURCE)
    assert prepared.kernels == {
        "first": Kernel("first", (("const float*", "x"), ("half*", "y")), 128),
        "second": Kernel("second", (), 1024),
    }
    assert prepared.granule == 2


def test_declarations_are_rewritten_within_functions():
    rewritten = lines(prepare(SOURCE))
    assert rewritten[0] == ""
    assert rewritten[1] == "struct Pair { float x[2]; };"
    assert rewritten[5] == "EMULATOR_SHARED(float4, tile, [8][17]);"
    assert rewritten[6] == 'uchar* buffer = reinterpret_cast<uchar*>(emulator_dynamic_shared("buffer", sizeof(uchar)));'
    assert rewritten[7] == "EMULATOR_REGISTERS(float, sums, [4], false); EMULATOR_REGISTERS(unsigned int, mask, [1], true);"
    assert rewritten[8] == "float scalar = sums[3];"


def test_units_have_each_kernel_once():
    source = SOURCE.replace("second() {}", "second() { __syncthreads(); }\nextern \"C\" __global__ void third() {}")
    units = prepare(source).units(5)
    assert len(units) == 3
    for body in ("EMULATOR_SHARED(float4", "{ __syncthreads(); }", "third() {}"):
        assert sum(body in unit for unit in units) == 1
    assert ["emulator_kernels[]" in unit for unit in units] == [True, False, False]
    assert len({unit.partition("third")[0].count("\n") for unit in units}) == 1  # lines keep their numbers


@pytest.mark.parametrize("kinds, granule", [
    ("float*", 4), ("float* x, half*", 2), ("signed char* x, float*", 1), ("double*", 4), ("float* x, unsigned char*", 1)])
def test_the_smallest_element(kinds, granule):
    assert prepare(f'extern "C" __global__ void k({kinds} y) {{ uchar* bytes = (uchar*)y; }}').granule == granule


@pytest.mark.parametrize("source, says", [
    ("__device__ float f(float x) { return x; }", "has no kernel"),
    ('extern "C" __global__ void k(float* x, int n) {}', "kernel k takes int n; the emulator passes pointers only"),
    ('extern "C" __global__ void k(float* x) { __shared__ Pair two[2]; }', r"does not know this declaration: __shared__ Pair two\[2\];"),
    ('extern "C" __global__ void k(float* x) { asm("wgmma.fence.sync.aligned;"); }', "does not know the PTX instruction 'wgmma.fence"),
])
def test_what_is_refused(source, says):
    with pytest.raises(EmulationError, match=says):
        prepare(source)


def test_what_the_compiler_refuses(folder):
    with pytest.raises(EmulationError, match=r"can't be compiled for the emulator: kernel.cu:2:\d+: error: .*__nanosleep"):
        CudaProgram('extern "C" __global__ void k(float* x) {\n__nanosleep(3); }', folder)


def test_without_a_compiler(folder, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(EmulationError.__mro__[1], match="no C.. compiler was found to emulate CUDA with: install"):
        CudaProgram('extern "C" __global__ void k(float* x) {}', folder)
