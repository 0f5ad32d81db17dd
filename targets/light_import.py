"""Importing TVM without torch.

TVM and `tvm_ffi`, on which it stands, import torch wherever that is installed, to exchange tensors with it. That takes seconds and 200 MB,
and compiling or running an ONNX network has no use for it. torch can be imported afterwards as ever.
"""
from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


def import_tvm_ffi() -> ModuleType:
    """The module `tvm_ffi`: enough to run what was compiled."""
    with _without_torch():
        import tvm_ffi
    return tvm_ffi


def import_tvm() -> ModuleType:
    """The module `tvm`, with the compiler."""
    with _without_torch():
        import tvm
    return tvm


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` an ImportError
    try:
        yield
    finally:
        if hide:
            del sys.modules["torch"]
