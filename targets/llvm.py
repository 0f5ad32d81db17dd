"""What TVM's LLVM knows about CPUs. Every function here imports TVM when it is called."""
from __future__ import annotations

from typing import Any


def system_cpu() -> str:
    """LLVM's name of this machine's CPU, such as ``znver4``."""
    from tvm.target.codegen import llvm_get_system_cpu

    return str(llvm_get_system_cpu())


def cpu_features(target: dict[str, Any]) -> frozenset[str]:
    """LLVM's features that code for a TVM target (dict form) may use."""
    import tvm
    from tvm.target.codegen import llvm_get_cpu_features

    return frozenset(str(feature) for feature in llvm_get_cpu_features(tvm.target.Target(target)))


def known_cpus(target: dict[str, Any]) -> list[str]:
    """The names that ``mcpu`` may have for the architecture of a TVM target."""
    import tvm
    from tvm.target.codegen import llvm_get_cpu_archlist

    return [str(name) for name in llvm_get_cpu_archlist(tvm.target.Target(target))]


def known_features() -> frozenset[str]:
    """The names that ``mattr`` may have, without sign."""
    import tvm

    return frozenset(str(name) for name in tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")())
