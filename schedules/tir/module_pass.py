"""What a rewrite of all functions of a module is, for those who call it."""
from __future__ import annotations

from abc import ABC, abstractmethod

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator


class ModulePass(ABC):
    """A class that TVM's decorator `module_pass` makes a pass of: call an instance with a module, and it returns the rewritten one."""

    @abstractmethod
    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite a module.

        Parameters
        ----------
        mod : tvm.IRModule
            The module; it is not changed.
        context : tvm.transform.PassContext
            TVM's settings of passes.
        """

    def __call__(self, mod: tvm.IRModule) -> tvm.IRModule:
        """Rewrite a module under TVM's present settings. The decorated class has TVM's own method in the place of this one."""
        return self.transform_module(mod, tvm.transform.PassContext.current())


def rewritten(mod: tvm.IRModule, rewriter: PyExprMutator) -> tvm.IRModule:
    """Return a module whose `main` a mutator has rewritten; the other functions stay."""
    rewriter.builder_.update_func(mod.get_global_var("main"), rewriter.visit_expr(mod["main"]))
    return rewriter.builder_.get()


def with_main(mod: tvm.IRModule, rewriter: PyExprMutator) -> tvm.IRModule:
    """Return a module as `rewritten`, without what nothing reads any more."""
    return relax.transform.DeadCodeElimination()(rewritten(mod, rewriter))
