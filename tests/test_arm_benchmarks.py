"""The benchmarks of AArch64 without a board: loops are found in assembly, and tables say what the results hold."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from arm import kernels, tables  # noqa: E402
from results import read  # noqa: E402
from table import RESULTS, markdown  # noqa: E402
from tenfold.runner.bench.modelled import llvm_version  # noqa: E402
from tenfold.support.errors import TenfoldError  # noqa: E402
from tenfold.targets import resolve  # noqa: E402

# Two loops in a loop, and one beside them.
ASSEMBLY = """
main:
\tstp\tx29, x30, [sp, #-16]!
.LBB0_1:                                // a loop
\tmov\tx3, x1
.LBB0_2:
\tldr\tq4, [x3], #16
\tldp\tq6, q7, [sp, #32]
\tfmla\tv0.4s, v4.4s, v5.s[0]
\tfmla\tv1.4s, v4.4s, v5.s[1]
\tfmla\tv2.4s, v4.4s, v5.s[2]
\tfmla\tv3.4s, v4.4s, v5.s[3]
\tsubs\tx2, x2, #1
\tb.ne\t.LBB0_2                         // back
\tcbz\tx5, .LBB0_4
.LBB0_3:
\tfmla\tv0.4s, v4.4s, v5.4s
\tfmla\tv0.4s, v4.4s, v5.4s
\tfmla\tv0.4s, v4.4s, v5.4s
\tfmla\tv0.4s, v4.4s, v5.4s
\ttbnz\tw5, #0, .LBB0_3
.LBB0_4:
\tsubs\tx6, x6, #1
\tb.ne\t.LBB0_1
.LBB0_5:
\tstr\tq0, [x7], #16
\tcbnz\tx8, .LBB0_5
\tret
"""


def lacks_llvm() -> str:
    try:
        llvm_version()
    except TenfoldError as error:
        return str(error)
    return ""


def test_innermost_loops():
    found = list(kernels.innermost(ASSEMBLY))
    assert [depth for depth, _ in found] == [1, 1, 0]
    assert [body[0] for _, body in found] == ["ldr\tq4, [x3], #16", "fmla\tv0.4s, v4.4s, v5.4s", "str\tq0, [x7], #16"]
    assert found[0][1][-1] == "b.ne\t.LBB0_2" and len(found[0][1]) == 8


@pytest.mark.skipif(bool(lacks_llvm()), reason=lacks_llvm())
def test_loops_are_judged():
    main, other = kernels.loops_of(ASSEMBLY, "main", resolve("cortex-a72"))
    assert (main.fmla, main.accumulators, main.loads, main.stack, main.depth) == (4, 4, 2, 1, 1) and 0 < main.share_of_peak <= 1
    assert other.accumulators == 1 and other.share_of_peak < main.share_of_peak  # each waits for the one before


def loop(share: float, **changes: int) -> dict:
    return {"share_of_peak": share, "fmla": 24, "accumulators": 24, "loads": 8, "stack": 0, "instructions": 30} | changes


def test_what_falls_below_is_listed_with_the_cause():
    rows = [
        {"name": "fast", "lists": ["a"], "kind": "dense", "cpus": {"cortex-a72": [loop(0.95), loop(0.2)]}},
        {"name": "thin", "lists": ["a"], "kind": "depthwise", "cpus": {"cortex-a72": [loop(0.75)]}},
        {"name": "spilled", "lists": ["a", "b"], "kind": "dense", "cpus": {"cortex-a72": [loop(0.85, stack=7)]}},
        {"name": "loading", "lists": ["b"], "kind": "depthwise", "cpus": {"cortex-a72": [loop(0.6, loads=25)]}},
        {"name": "waiting", "lists": ["b"], "kind": "dense", "cpus": {"cortex-a72": [loop(0.5, accumulators=1)]}},
        {"name": "broken", "lists": ["b"], "error": "no"}]
    content = {"suite": "arm-kernels", "rows": rows}
    _, slow = tables.slow_table(content, ["cortex-a72"])
    assert [(row[0], row[-1]) for row in slow] == [("spilled", "spills"), ("loading", "loads"), ("waiting", "latency: few accumulators")]
    assert tables.kernels_table(content)[1] == [["a", "3", "85%", "75%", "1"], ["b", "3", "60%", "50%", "3"]]


def test_the_page_says_that_no_board_was_timed():
    found = tables.sections(RESULTS / "arm", read, markdown)
    assert {"arm-kernels", "arm-slow", "arm-networks-cortex-a72"} <= set(found)
    assert all(tables.HONEST in text for name, text in found.items() if name != "arm-slow")
    page = (RESULTS.parents[2] / "docs" / "arm.md").read_text(encoding="utf-8")
    assert "**No board was timed.**" in page and all(f"<!-- benchmark {name} -->" in page for name in found)
