"""Conditions around the bodies of blocks in a finished schedule, which no schedule primitive adds."""
from __future__ import annotations

from collections.abc import Callable, Mapping

import tvm_ffi
from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock

Condition = Callable[[SBlock], ir.Expr | None]


def with_conditions(s: Schedule, conditions: Mapping[str, Condition]) -> Schedule:
    """Let blocks run only under conditions.

    A predicate of the block would mean the same, but keeps TVM from shrinking the buffers that the block writes.

    Parameters
    ----------
    s : Schedule
        The finished schedule.
    conditions : mapping of str to callable
        By the names of blocks: a function from the block to a condition on its variables, or to None where it always runs.

    Returns
    -------
    Schedule
        A schedule of the changed function. Blocks and loops taken from `s` are not valid in it.
    """
    def conditional(block: SBlock) -> SBlock:
        condition = conditions[block.name_hint](block) if block.name_hint in conditions else None
        if condition is None:
            return block
        body = tirx.IfThenElse(condition, block.body, None)
        return SBlock(block.iter_vars, block.reads, block.writes, block.name_hint, body, block.init, block.alloc_buffers,
                      block.match_buffers, block.annotations)

    func = s.mod["main"]
    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, (SBlock, conditional), order="post")))
