"""A padded copy of an image of bytes, or of bfloat16: the pixels around it are those that stand for 0."""
from __future__ import annotations

from math import prod

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from ..common import extent_of

BYTE_CYCLES = 1.0  # to copy a byte by itself, with tests for the padding


def padded(data: te.Tensor, padding: tuple[int, int, int, int], groups: int, filled: int, zero: int) -> te.Tensor:
    """Put pixels of 0 around an image, and channels of any value behind those of each group; the image itself where there are none.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    padding : tuple of int
        Rows and columns at the top, left, bottom, right.
    groups : int
    filled : int
        Channels that a group has behind it.
    zero : int
        What stands for 0.
    """
    batch, height, width, channels = (int(d) for d in data.shape)
    per_group = channels // groups
    top, left, bottom, right = padding
    if not any(padding) and per_group == filled:
        return data

    def value(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        inside = [y >= top, y < height + top, x >= left, x < width + left] if any(padding) else []
        if per_group != filled:
            inside, c = [*inside, c % filled < per_group], c // filled * per_group + c % filled
        return tirx.if_then_else(tirx.all(*inside), data[n, y - top, x - left, c], tirx.const(zero, data.dtype))

    return te.compute((batch, height + top + bottom, width + left + right, groups * filled), value, name="padded")


def schedule_byte_padding(s: Schedule, target: CpuTarget) -> None:
    """The padded copy of the input, if there is one: in vectors if the channels fill whole ones; parallel over rows where that pays."""
    block = next((b for b in s.get_child_blocks(s.get_sblock("root")) if s.get(b).name_hint.startswith("padded")), None)
    if block is None:
        return
    *outer, c = s.get_loops(block)
    source = s.get(block).reads[0].source
    channels, whole, bits = int(s.get(c).extent), int(source.shape[-1]) == int(s.get(c).extent), int(source.dtype.bits)
    lengths = [length for length in (64, 32, 16, 8, 4) if length * bits <= target.vector_bits and channels % length == 0]
    elements = prod(extent_of(s, loop) for loop in (*outer, c))
    work = elements * BYTE_CYCLES
    if whole and lengths:
        work = 2 * elements * bits / 8 / target.model.l2_round_trip_bytes_per_cycle
        s.vectorize(s.split(c, [None, lengths[0]])[1])
    if len(outer) > 1 and work * (1 - 1 / target.cores) > target.model.launch_cycles:
        s.parallel(s.fuse(*outer[:2]))
