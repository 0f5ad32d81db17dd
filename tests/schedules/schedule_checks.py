"""Small Relax functions, scheduled by the rules and run: what the tests of schedules share."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tvm
from host_model import model, named
from tenfold.passes.pipeline import phases
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cpu import RULES
from tenfold.schedules.driver import ApplySchedules
from tenfold.schedules.tir.analysis import block_names
from tenfold.schedules.tir.vector_math import VectorMath
from tenfold.targets import Target, resolve
from tvm import relax, tirx

HOST = resolve("host")
AVX512 = named("skylake-avx512")
NAMED = model("zen3", cores=4)  # for what a schedule looks like: the same whatever this machine is

_LOWER = [relax.transform.RewriteDataflowReshape(), dict(phases(backend_of(HOST)))["lower"]]


def fused(body: Callable[..., relax.Expr], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str] | str = "float32") -> tvm.IRModule:
    """The module of `body(x0, x1, ...)`, legalized and fused by TVM as in our pipeline."""
    dtypes = [dtypes] * len(shapes) if isinstance(dtypes, str) else dtypes
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(body(*params))
        builder.emit_func_output(result)
    with HOST.tvm_target():
        return tvm.transform.Sequential([
            relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern(), relax.transform.FoldConstant(),
            relax.transform.FuseOps(), relax.transform.FuseTIR(), relax.transform.DeadCodeElimination(),
        ])(builder.get())


def scheduled(mod: tvm.IRModule, target: Target = NAMED) -> tvm.IRModule:
    """The module with every function scheduled; an error where no rule takes one."""
    return VectorMath()(ApplySchedules(RULES, target, strict=True)(mod))


def kernels(mod: tvm.IRModule) -> list[tirx.PrimFunc]:
    """The module's functions, `main` aside."""
    return [f for _, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)]


def kernel(mod: tvm.IRModule) -> str:
    """The script of the module's only function."""
    [func] = kernels(mod)
    return func.script()


def blocks(mod: tvm.IRModule) -> list[str]:
    """Names of the blocks of the module's only function."""
    [func] = kernels(mod)
    return block_names(func)


def run(body: Callable[..., relax.Expr], *inputs: np.ndarray) -> np.ndarray:
    """What the scheduled functions compute from the inputs."""
    mod = scheduled(fused(body, [x.shape for x in inputs], [str(x.dtype) for x in inputs]), HOST)
    executable = tvm.compile(tvm.transform.Sequential(_LOWER)(mod), target=HOST.tvm_target(), relax_pipeline=None)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return machine["main"](*[tvm.runtime.tensor(x) for x in inputs]).numpy()


def assembly(mod: tvm.IRModule, target: Target) -> str:
    """The machine code of the module's only function."""
    [func] = kernels(mod)
    module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    return tvm.compile(module, target=target.tvm_target()).mod.inspect_source("asm")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")
