"""Inlining of the element-wise blocks behind an accumulation into the one block that stores its result."""
from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from .analysis import effort
from .shared_values import MOST_EFFORT


def inline_epilogue(s: Schedule, accumulate: SBlockRV, keep: tuple[str, ...] = ("padded",)) -> SBlockRV:
    """Inline every block behind an accumulation into the last one.

    `crop`, bias, activation, residual: each is inlined into the next, as long as the shape stays the same and the code stays small
    (`MOST_EFFORT`). From the first block that changes the shape (a broadcast of the result over a larger tensor), or that would make the
    code large, blocks are kept as they are. What the epilogue reads beside the result, such as a resized feature map, is inlined too.

    Parameters
    ----------
    s : Schedule
        The schedule of the function.
    accumulate : SBlockRV
        The block that adds up.
    keep : tuple of str
        Blocks before it are kept if their names begin with one of these.

    Returns
    -------
    SBlockRV
        The block that stores the result.
    """
    blocks = s.get_child_blocks(s.get_sblock("root"))
    at = [s.get(b).name_hint for b in blocks].index(s.get(accumulate).name_hint)
    for block in blocks[:at]:
        if not s.get(block).name_hint.startswith(keep):
            s.compute_inline(block)
    behind = blocks[at + 1:]
    shape, total = _domain(s, behind[0]), _effort(s, behind[0])
    same = 1
    while same < len(behind) and _domain(s, behind[same]) == shape:
        total += _effort(s, behind[same])
        if total > MOST_EFFORT and _alone(s, behind, same):
            break
        same += 1
    for block in behind[:same - 1]:
        s.compute_inline(block)
    return behind[same - 1]


def _domain(s: Schedule, block: SBlockRV) -> tuple[int, ...]:
    return tuple(int(v.dom.extent) for v in s.get(block).iter_vars)


def _effort(s: Schedule, block: SBlockRV) -> int:
    return effort(s.get(block).body)


def _alone(s: Schedule, blocks: list[SBlockRV], cut: int) -> bool:
    """Whether blocks behind a cut read nothing of the blocks before it but what the last of these stores."""
    hidden = [w.source for block in blocks[:cut - 1] for w in s.get(block).writes]
    return not any(r.source.same_as(buffer) for block in blocks[cut:] for r in s.get(block).reads for buffer in hidden)
