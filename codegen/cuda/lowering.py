"""Scheduled functions -> functions for the GPU, and the calls that launch them: TVM's passes up to where host and device part.

The list is that of `tvm.s_tir.pipeline`, without what only hosts need.
"""
from __future__ import annotations

import tvm
from tvm import s_tir, tirx

from .byte_copies import ByteCopies
from .scalar_lanes import ScalarLanes
from .whole_vectors import WholeVectors

KERNEL_LAUNCH = 2  # calling convention of a function that a launch begins
CONFIG = {"tirx.use_async_copy": True, "tirx.disable_storage_rewrite": True}  # TVM's rewriting of storage does not know copies under way


def _passes() -> list[tvm.transform.Pass]:
    return [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerCrossThreadReduction(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.LiftThreadBinding(),
        s_tir.transform.ManifestSharedMemoryLocalStage(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerAutoCopy(),
        s_tir.transform.UnifyThreadBinding(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.InjectPermutedLayout(),
        s_tir.transform.AnnotateIrregularLoop(),
        s_tir.transform.InjectSoftwarePipeline(),
        s_tir.transform.TransformMmaBufferLayout(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        s_tir.transform.LoopPartition(),
        WholeVectors(),
        ScalarLanes(),
        tirx.transform.VectorizeLoop(True),
        s_tir.transform.InjectVirtualThread(),
        s_tir.transform.InjectDoubleBuffer(),
        s_tir.transform.LowerAsyncDMA(),
        s_tir.transform.HoistIfThenElse(),
        tirx.transform.UnrollLoop(),
        s_tir.transform.RenormalizeSplitPattern(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.VerifyMemory(),
        tirx.transform.AnnotateEntryFunc(),
        s_tir.transform.ThreadSync("shared"),
        s_tir.transform.ThreadSync("shared.dyn"),
        s_tir.transform.ThreadSync("warp"),
        s_tir.transform.InferFragment(),
        s_tir.transform.LowerThreadAllreduce(),
        ByteCopies(),
        s_tir.transform.InjectPTXAsyncCopy(),
        s_tir.transform.MergeSharedMemoryAllocations(),
        tirx.transform.SplitHostDevice(),
    ]


def lower_device(mod: tvm.IRModule, target: tvm.target.Target) -> tuple[tvm.IRModule, tvm.IRModule]:
    """Return the functions that launch kernels, and the kernels, ready for code generation.

    Parameters
    ----------
    mod : tvm.IRModule
        Scheduled functions; their loops are bound to blocks and threads.
    target : tvm.target.Target
        A GPU.
    """
    bound = tirx.transform.BindTarget(target.with_host("llvm"))(mod)
    with tvm.transform.PassContext(config=CONFIG):
        split = tvm.transform.Sequential(_passes())(bound)
        host, device = ({var: func for var, func in split.functions_items() if _runs_on_device(func) is on} for on in (False, True))
        finish = [tirx.transform.LowerWarpMemory(), tirx.transform.StmtSimplify(), tirx.transform.LowerIntrin()]
        return tvm.IRModule(host), tvm.transform.Sequential(finish)(tvm.IRModule(device))


def _runs_on_device(func: tirx.PrimFunc) -> bool:
    return int(func.attrs.get("calling_conv", 0)) == KERNEL_LAUNCH
