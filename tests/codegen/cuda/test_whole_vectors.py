"""Conditions of vectors without their lanes, on loops written by hand."""
from __future__ import annotations

import pytest
import tvm
from tenfold.codegen.cuda.whole_vectors import WholeVectors
from tvm import te, tirx
from tvm.s_tir import Schedule


def vectorised(border: int, step: int) -> str:
    """A copy in vectors of four, of elements that a condition leaves out by their row."""
    x = te.placeholder((240,), "float32", "x")
    zero = tirx.const(0, "float32")
    y = te.compute((240,), lambda i: tirx.if_then_else(tirx.EQ((i * step) // border % 2, 0), x[i], zero), "y")
    s = Schedule(te.create_prim_func([x, y]))
    _, lanes = s.split(s.get_loops(s.get_sblock("y"))[0], [None, 4])
    s.vectorize(lanes)
    lowered = tvm.s_tir.transform.LowerOpaqueBlock()(tvm.s_tir.transform.ConvertBlocksToOpaque()(s.mod))
    return WholeVectors()(lowered)["main"].script()


def condition(script: str) -> str:
    [line] = [line for line in script.splitlines() if "if_then_else" in line]
    return line.partition("if_then_else(")[2].partition(",")[0]


def lane(script: str) -> str:
    [line] = [line for line in script.splitlines() if "vectorized" in line]
    return line.split()[1]


def test_a_vector_that_crosses_no_border_is_guarded_as_a_whole():
    script = vectorised(80, 1)
    assert lane(script) not in condition(script)


@pytest.mark.parametrize("border, step", [(30, 1), (80, 3)], ids=["a border within a vector", "lanes apart"])
def test_other_conditions_keep_their_lanes(border, step):
    script = vectorised(border, step)
    assert lane(script) in condition(script)
