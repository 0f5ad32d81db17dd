"""The list of kernels that ``main`` calls one after the other, where that is all it does: then it runs without a virtual machine.

Almost every network is such a list. The others have a branch, an operator that is called from a library, or an output that is no tensor of
its own. They run on TVM's virtual machine, which takes some microseconds more.
"""
from __future__ import annotations

import tvm
from tvm import ir, relax, tirx

from ..runtime.memory_plan import Operand, Step

CHECKS = {"vm.builtin.check_tensor_info", "vm.builtin.match_shape"}  # of the inputs: the caller has made them
RESHAPE, KILL, NOTHING = "vm.builtin.reshape", "relax.vm.kill_object", "relax.null_value"


def call_list(mod: tvm.IRModule) -> tuple[Step, ...]:
    """The calls of ``main`` in order; empty if it does anything else.

    Parameters
    ----------
    mod : tvm.IRModule
        As `externalize_memory` makes it: all memory comes as parameters.
    """
    main = mod["main"]
    operands = {var: Operand(position, _shape(var)) for position, var in enumerate(main.params)}
    steps: list[Step] = []
    if not isinstance(main.body.body, relax.Tuple) or len(main.body.body.fields):
        return ()
    for binding in (binding for block in main.body.blocks for binding in block.bindings):
        call = binding.value
        if not isinstance(call, ir.Call):
            return ()
        kernel = mod[call.op] if isinstance(call.op, ir.GlobalVar) else None
        if isinstance(kernel, tirx.PrimFunc) and all(arg in operands for arg in call.args):
            steps.append(Step(str(kernel.attrs["global_symbol"]), tuple(operands[arg] for arg in call.args)))
        elif _name(call) == RESHAPE and call.args[0] in operands:
            operands[binding.var] = Operand(operands[call.args[0]].position, _shape(binding.var))
        elif _name(call) not in {*CHECKS, KILL, NOTHING}:
            return ()
    return tuple(steps)


def _name(call: ir.Call) -> str:
    """Name of the operator, or of the function of a library, that is called."""
    if isinstance(call.op, relax.ExternFunc):
        return str(call.op.global_symbol)
    return str(call.op.name) if isinstance(call.op, ir.Op) else ""


def _shape(var: relax.Var) -> tuple[int, ...]:
    return tuple(int(size) for size in var.ty.shape.values)
