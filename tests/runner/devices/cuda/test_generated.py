"""Kernels as TVM generates them: right as they are, and each of their safeguards is missed when it is taken away."""
from __future__ import annotations

import numpy as np
import pytest
from cuda_faults import faults
from tenfold.runner.devices.cuda import CudaProgram, EmulationError
from tenfold.runner.devices.cuda.scan import closing
from tenfold.targets.light_import import import_tvm

import_tvm()
import cuda_kernels  # noqa: E402  # they import tvm
import cuda_tensor_cores  # noqa: E402

CASES = {
    "product": lambda: cuda_kernels.product(),
    "double buffer": lambda: cuda_kernels.product(pipeline=1),
    "three buffers": lambda: cuda_kernels.product(pipeline=2, scope="shared.dyn"),
    "tensor cores": lambda: cuda_tensor_cores.tensor_cores(),
    "reduction": lambda: cuda_kernels.reduction(),
    "reduction of a warp": lambda: cuda_kernels.reduction(threads=32),
    "chain": lambda: cuda_kernels.chain(),
    "half precision": lambda: cuda_kernels.half_vectors(),
    "pairs in half precision": lambda: cuda_kernels.half_vectors(lanes=2),
}
UNNEEDED = {"reduction": ["__syncthreads();"]}  # the last one: what it guards is written and read by thread 0 alone


def difference(case, source, folder, checks=True, **options) -> float:
    output = case.operands[-1]
    output[...] = np.nan
    CudaProgram(source, folder, checks=checks).launch(case.launch, case.operands, outputs=case.outputs(), **options)
    return float(np.max(np.abs(output - case.expected)))


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", CASES)
def test_what_tvm_generates_is_right(name, folder):
    case = CASES[name]()
    for order in ("forward", "backward", 1, 2):
        assert difference(case, case.source, folder, order=order) < 1e-5
    assert difference(case, case.source, folder, checks=False) < 1e-5


FILLED = """{
  unsigned int to = __cvta_generic_to_shared((float*)dst + dst_off);
  float* from = (float*)src + (predicate ? src_off : 0);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(predicate ? 16 : 0) : "memory");
}"""


def test_padding_by_the_size_of_the_source(folder):
    """A copy without branch: where there is no pixel, it takes nothing from memory and fills with zeros."""
    case = CASES["three buffers"]()
    name = "ptx_cp_async_legacy_pred_cg_16_4_4"
    start = case.source.index("{", case.source.index(f"void {name}("))
    filled = case.source[:start] + FILLED + case.source[closing(case.source, start) + 1:]
    assert difference(case, filled, folder) < 1e-5
    assert notice(case, filled.replace("predicate ? 16 : 0", "16"), folder)
    assert notice(case, filled.replace("predicate ? src_off : 0", "src_off"), folder) == ""  # nothing is taken from there


def notice(case, source, folder, **options) -> str:
    try:
        return "wrong" if not difference(case, source, folder, **options) < 1e-3 else ""
    except EmulationError as error:
        return str(error)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["product", "tensor cores", "chain"])
def test_each_missing_barrier_is_noticed(name, folder):
    case = CASES[name]()
    found = [notice(case, source, folder) for what, source in faults(case.source) if "syncthreads" in what]
    assert found and all(found)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["forward", *(pytest.param(order, marks=pytest.mark.long) for order in ("backward", 1))])
@pytest.mark.parametrize("name", [name for name in CASES if "half" not in name])  # those have no safeguards
def test_each_fault_is_noticed(name, order, folder):
    case = CASES[name]()
    found = [(what, notice(case, source, folder, order=order)) for what, source in faults(case.source)]
    unnoticed = [what for what, noticed in found if not noticed]
    assert len(found) > len(unnoticed)
    assert unnoticed == UNNEEDED.get(name, [])
