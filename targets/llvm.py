"""What TVM's LLVM knows about CPUs. Every function here imports TVM when it is called."""
from __future__ import annotations

from typing import Any

from .light_import import import_tvm


def system_cpu() -> str:
    """LLVM's name of this machine's CPU, such as ``znver4``."""
    return str(import_tvm().target.codegen.llvm_get_system_cpu())


def cpu_features(target: dict[str, Any]) -> frozenset[str]:
    """LLVM's features that code for a TVM target (dict form) may use."""
    tvm = import_tvm()
    return frozenset(str(feature) for feature in tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target(target)))


def known_cpus(target: dict[str, Any]) -> list[str]:
    """The names that ``mcpu`` may have for the architecture of a TVM target."""
    tvm = import_tvm()
    return [str(name) for name in tvm.target.codegen.llvm_get_cpu_archlist(tvm.target.Target(target))]


def known_features() -> frozenset[str]:
    """The names that ``mattr`` may have, without sign."""
    return frozenset(str(name) for name in import_tvm().get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")())
