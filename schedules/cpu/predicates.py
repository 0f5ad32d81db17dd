"""Make blocks of a finished schedule conditional, which no schedule primitive does."""
from __future__ import annotations

from collections.abc import Callable, Mapping

import tvm_ffi
from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock

Condition = Callable[[SBlock], ir.Expr | None]


def guarded(s: Schedule, conditions: Mapping[str, Condition]) -> Schedule:
    """Put the bodies of blocks behind conditions.

    A predicate of the block would say the same, but keeps TVM from shrinking the buffers that the block writes.

    Parameters
    ----------
    s : Schedule
    conditions : mapping of str to callable
        By the names of blocks: a condition on the variables of the block given, or None for always.

    Returns
    -------
    Schedule
        Of the changed function; what was taken from `s` is of no use for it.
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
