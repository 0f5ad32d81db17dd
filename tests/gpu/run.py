"""Half an hour on a GPU, in a box: one folder that is made here and run there.

    python tests/gpu/run.py --pack DIR [--only PATTERN]... [--jobs N]     here: compile everything into DIR (nvcc of `tenfold[cuda]`)
    python run.py [--minutes 26] [--emulated]                    there, in DIR: Python and numpy; torch, ncu, compute-sanitizer if installed

There each step runs in a process of its own, with its own limit of time. Rows go into results.json as they come; run it again and it goes
on with what is missing. It ends with a table. With --emulated the kernels run on the CPU, and there are no times.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # of the box: `box`, and Tenfold's runtime as `tenfold`

SKIPPED = 4  # exit code of a step that lacks a tool


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, metavar="DIR", help="make the box")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN",
                        help="cases whose name, step or list of shapes fits (fnmatch)")
    parser.add_argument("--archs", default="sm_80,sm_90", help="to pack machine code for; default: sm_80,sm_90, and PTX")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep there what is compiled")
    parser.add_argument("--jobs", type=int, metavar="N", help="cases that are compiled at a time; default: one for each CPU")
    parser.add_argument("--minutes", type=float, default=26, help="for all steps together; default: 26")
    parser.add_argument("--emulated", action="store_true", help="run the kernels on the CPU")
    parser.add_argument("--steps", help="only these, with commas; default: all")
    parser.add_argument("--step", help=argparse.SUPPRESS)  # of a child
    parser.add_argument("--one", metavar="CASE", help="run one case once, for a profiler")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(arguments)
    if options.pack:
        from pack.build import pack

        return pack(options.pack, options.only, options.archs, options.cache, options.jobs)
    from box.case import read_cases
    from box.journal import RESULTS, Journal
    from box.steps import Box, check

    cases = read_cases(ROOT)
    if not cases:
        raise SystemExit(f"run.py: there are no cases in {ROOT}: make a box with --pack DIR, and run it there")
    box = Box(ROOT, cases, Journal(ROOT / RESULTS), options.emulated)
    if options.one:
        check(box, next(case for case in cases if case.name == options.one))
        return 0
    return run_step(box, options.step) if options.step else run_all(options)


def run_step(box, name: str) -> int:  # type: ignore[no-untyped-def]
    from box.steps import STEPS
    from box.tools import Absent

    try:
        STEPS[name][0](box)
    except Absent as reason:
        box.journal.set(**{name: f"left out: {reason}"})
        return SKIPPED
    return 0


def run_all(options: argparse.Namespace) -> int:
    from box.journal import RESULTS, Journal
    from box.steps import STEPS
    from box.table import table

    Journal(ROOT / RESULTS).forget_unfinished()
    begin, failed = time.monotonic(), False
    for name, (_, seconds) in STEPS.items():
        if options.steps and name not in options.steps.split(","):
            continue
        started, left = time.monotonic(), 60 * options.minutes - (time.monotonic() - begin)
        state = limited(name, min(seconds, left) if not options.emulated else left, options)
        Journal(ROOT / RESULTS).end_step(name, state, time.monotonic() - started)
        print(f"{name}: {state} ({time.monotonic() - begin:.0f} s)", flush=True)
        failed |= state not in ("done", "left out")
    content = Journal(ROOT / RESULTS).content
    print(f"\n{table(content)}")
    return int(failed or any("error" in row for row in content["rows"]))


def limited(name: str, seconds: float, options: argparse.Namespace) -> str:
    """Run a step within some seconds, in as many processes as it takes."""
    from box.child import OUT_OF_TIME, run
    from box.steps import AGAIN

    end, command = time.monotonic() + seconds, [sys.executable, __file__, "--step", name] + ["--emulated"] * options.emulated
    code = AGAIN
    while code == AGAIN or code < 0:  # a process that died of a signal has left a row that says so
        if (left := end - time.monotonic()) <= 0:
            return "out of time"
        code, _ = run(command, left, folder=ROOT)
        if code == OUT_OF_TIME:
            return "out of time"
    return {0: "done", SKIPPED: "left out"}.get(code, f"failed: exit code {code}")


if __name__ == "__main__":
    raise SystemExit(main())
