"""The memory that kernels allocate while they run: padded copies of inputs, tiles too large for registers."""
from __future__ import annotations

import tvm
import tvm_ffi
from tvm import ir, tirx

ALLOCATE = "tirx.TVMBackendAllocWorkspace"
SIZE = 2  # which argument of that call is the bytes


@tvm.instrument.pass_instrument
class WorkspaceMeter:
    """Watches kernels being lowered, and keeps the bytes of the one that takes most.

    Kernels run one after the other, and TVM keeps workspaces for the next kernel, so the process needs as much as the largest.
    Give it to a PassContext as an instrument; several threads may use one.

    Parameters
    ----------
    threads : int
        How many threads kernels run on: each has its own copy of what is allocated inside a parallel loop.

    Attributes
    ----------
    bytes : int
        The workspaces of the kernel that takes most.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.bytes = 0

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        """Note the workspaces of the kernels as soon as their allocations are written out."""
        if info.name == "tirx.LowerTVMBuiltin":
            for func in mod.functions.values():
                if isinstance(func, tirx.PrimFunc):
                    self.bytes = max(self.bytes, workspace_bytes(func, self.threads))


def workspace_bytes(func: tirx.PrimFunc, threads: int) -> int:
    """The bytes of all workspaces of one lowered kernel, as if they were alive at once."""
    parallel = [loop for loop in _nodes(func.body, tirx.For) if loop.kind == tirx.ForKind.PARALLEL]
    return _allocated(func.body) + (threads - 1) * sum(_allocated(loop.body) for loop in parallel)


def _allocated(body: tirx.Stmt) -> int:
    calls = (call for call in _nodes(body, ir.Call) if isinstance(call.op, ir.Op) and call.op.name == ALLOCATE)
    return sum(int(call.args[SIZE]) for call in calls)


def _nodes(body: tirx.Stmt, kind: type) -> list[ir.Node]:
    found: list[ir.Node] = []
    tvm_ffi.structural_walk(body, (kind, found.append))
    return found
