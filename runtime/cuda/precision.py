"""In which precision each function of a network multiplies on a GPU: read from its source, so that it is what runs."""
from __future__ import annotations

import re
from collections.abc import Mapping

from .code_file import CudaCode

FLOAT32, INT8 = "float32", "int8"
ENTRY = re.compile(r'^extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\([^;{]*\) \{$(.*?)^\}$', re.MULTILINE | re.DOTALL)
PRODUCT = re.compile(r"\btenfold_mma_(\w+)\(")  # of tensor cores, by the precision of its operands: `schedules.cuda.gemm.fragments`
BYTE_SUMS = re.compile(r"\bint (?:direct|matvec)\w*\[")  # of other kernels, where they are integers: `schedules.cuda.int8.kernel`


def precisions(code: CudaCode) -> Mapping[str, str]:
    """The precision of operands of each function; float32 where no kernel of it has products of tensor cores, or sums of bytes."""
    of_kernels = {name: _kinds(body) for name, body in ENTRY.findall(code.source)}
    found = {}
    for function, routine in code.routines.items():
        kinds = set().union(*(of_kernels.get(launch.kernel, set()) for launch in routine.launches))
        found[function] = "+".join(sorted(kinds)) or FLOAT32
    return found


def _kinds(body: str) -> set[str]:
    return {*PRODUCT.findall(body), *([INT8] if BYTE_SUMS.search(body) else [])}
