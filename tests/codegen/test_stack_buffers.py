"""Accumulators stay on the stack up to the size of the register file, if their places are known."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
from tenfold.codegen.stack_buffers import PIPELINE, REGISTER_FILE_BYTES
from tenfold.codegen.workspaces import WorkspaceMeter
from tenfold.schedules.tir.bound_loops import lower_blocks
from tenfold.targets import resolve
from tvm import te

HOST = resolve("host").tvm_target()
ROWS, LANES = 40, 8


def build(rows: int, unrolled: bool) -> tuple[tvm.runtime.Module, int]:
    """Sums over k of x[k, i, :], `rows` of them at a time in a buffer of their own, and the bytes of workspaces that this takes."""
    x = te.placeholder((3, 2 * rows, LANES), name="x")
    k = te.reduce_axis((0, 3), "k")
    y = te.compute((2 * rows, LANES), lambda i, j: te.sum(x[k, i, j], axis=k), name="y")
    s = tvm.s_tir.Schedule(te.create_prim_func([x, y]).with_attr("global_symbol", "main"))
    sums = s.get_sblock("y")
    stored = s.cache_write(sums, 0, "global")
    _, inner = s.split(s.get_loops(stored)[0], [2, rows])
    s.compute_at(sums, s.get_loops(stored)[0])
    i, j, k = s.get_loops(sums)[-3:]
    s.reorder(k, i, j)
    for row, lane in ((inner, s.get_loops(stored)[-1]), (i, j)):
        s.vectorize(lane)
        if unrolled:
            s.unroll(row)
    s.decompose_reduction(sums, k)
    meter = WorkspaceMeter(1)
    with tvm.transform.PassContext(instruments=[meter]):
        library = tvm.tirx.build(lower_blocks(s.mod), target=HOST, pipeline=PIPELINE)
    return library, meter.bytes


@pytest.mark.parametrize(("rows", "unrolled", "workspace"), [
    (ROWS, True, False),                        # 1280 bytes: TVM itself would take them from the heap
    (REGISTER_FILE_BYTES // (4 * LANES), True, False),
    (REGISTER_FILE_BYTES // (4 * LANES) + 1, True, True),     # more than there are registers
    (ROWS, False, True),                        # a loop moves through it: no registers
    (8, False, False),                          # small
])
def test_where_sums_are_kept(rows, unrolled, workspace):
    library, bytes_ = build(rows, unrolled)
    assert bool(bytes_) is workspace
    x = np.random.default_rng(0).standard_normal((3, 2 * rows, LANES), "float32")
    y = tvm.runtime.tensor(np.full((2 * rows, LANES), np.nan, "float32"))
    library["main"](tvm.runtime.tensor(x), y)
    np.testing.assert_allclose(y.numpy(), x.sum(0), rtol=1e-5, atol=1e-6)
