"""Kernels as TVM generates them: right as they are, and each of their safeguards is missed when it is taken away."""
from __future__ import annotations

import numpy as np
import pytest
from cuda_faults import faults
from tenfold.runner.devices.cuda import CudaProgram, EmulationError
from tenfold.targets.light_import import import_tvm

import_tvm()
import cuda_kernels  # noqa: E402  # imports tvm

CASES = {
    "product": lambda: cuda_kernels.product(),
    "double buffer": lambda: cuda_kernels.product(pipeline=1),
    "three buffers": lambda: cuda_kernels.product(pipeline=2, scope="shared.dyn"),
    "tensor cores": lambda: cuda_kernels.tensor_cores(),
    "reduction": lambda: cuda_kernels.reduction(),
    "reduction of a warp": lambda: cuda_kernels.reduction(threads=32),
    "chain": lambda: cuda_kernels.chain(),
}
UNNEEDED = {"reduction": ["__syncthreads();"]}  # the last one: what it guards is written and read by thread 0 alone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("emulation")


def difference(case, source, folder, checks=True, **options) -> float:
    output = case.operands[-1]
    output[...] = np.nan
    CudaProgram(source, folder, checks=checks).launch(case.launch, case.operands, outputs=case.outputs(), **options)
    return float(np.max(np.abs(output - case.expected)))


@pytest.mark.parametrize("name", CASES)
def test_what_tvm_generates_is_right(name, folder):
    case = CASES[name]()
    for order in ("forward", "backward", 1, 2):
        assert difference(case, case.source, folder, order=order) < 1e-5
    assert difference(case, case.source, folder, checks=False) < 1e-5


def notice(case, source, folder, **options) -> str:
    try:
        return "wrong" if not difference(case, source, folder, **options) < 1e-3 else ""
    except EmulationError as error:
        return str(error)


@pytest.mark.parametrize("name", ["product", "tensor cores", "chain"])
def test_each_missing_barrier_is_noticed(name, folder):
    case = CASES[name]()
    found = [notice(case, source, folder) for what, source in faults(case.source) if "syncthreads" in what]
    assert found and all(found)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["forward", "backward", 1])
@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_noticed(name, order, folder):
    case = CASES[name]()
    found = [(what, notice(case, source, folder, order=order)) for what, source in faults(case.source)]
    unnoticed = [what for what, noticed in found if not noticed]
    assert len(found) > len(unnoticed)
    assert unnoticed == UNNEEDED.get(name, [])
