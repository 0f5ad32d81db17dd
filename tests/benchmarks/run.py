"""Benchmarks, measured and never part of a test's verdict.

    python tests/benchmarks/run.py SUITE [--json FILE] [--only PATTERN]... [--resume] [--list]

Suites that are timed (layers, flattened, denton, networks, modern, modern-layers, startup): every row is ours and every rival's on the
same threads, interleaved, with the share of the machine's peak that was measured beside it. Suites of AArch64 without a board (arm,
arm-kernels, arm-precision), and arm-model, which tells how well their model of cycles orders what is timed: see docs/arm.md. The suite
tuning tells what `tenfold tune` gains, precision what int8 does, and halves what bfloat16 and float16 do. Rows are written as they come: a
run that is broken off is taken up again with --resume.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from results import Results
from rich.console import Console
from rich.table import Table
from suite import Case, Settings, Suite
from suites import SUITES, chosen
from tenfold.runner.bench.engines import describe
from tenfold.support import interrupts
from tenfold.support.errors import TenfoldError

EVERY = frozenset({"suite", "json", "resume", "only", "list"})  # options of every suite


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, after every row")
    parser.add_argument("--resume", action="store_true", default=None, help="keep the rows that FILE has, measure the others")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="rows of this list, or of such a name")
    parser.add_argument("--list", action="store_true", default=None, help="only list the rows")
    parser.add_argument("--batch", metavar="N,N", help="batch sizes of layers; default: the suite's")
    parser.add_argument("--against", metavar="ENGINES", help="default: all that are installed")
    parser.add_argument("--threads", type=int, metavar="N", help="of every engine; default: the physical cores")
    parser.add_argument("--runs", type=int, metavar="N", help="timed runs of each engine at most; default: 100")
    parser.add_argument("--seconds", type=float, metavar="S", help="to spend on a row, about; default: 20")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the ONNX files of networks there; default: a temporary folder")
    parser.add_argument("--cpu", action="append", default=[], metavar="NAME", help="arm suites: a preset; default: the suite's")
    parser.add_argument("--root", type=Path, metavar="DIR", help="arm: what arm/root.sh made; default: no rivals")
    parser.add_argument("--data", type=Path, metavar="DIR", help="arm: what examples/data.py made; default: no searched networks")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="tuning: keep the records of all rows there; default: nowhere")
    parser.add_argument("--search", metavar="NAME", help="tuning: tenfold or metaschedule; default: tenfold")
    return parser.parse_args(arguments)


def run(cases: Sequence[Case], measure: Callable[[Case], dict[str, Any]], results: Results, out: Console,
        brief: Callable[[dict[str, Any]], str] = str) -> None:
    """Measure what is not finished; a row that fails says so in the results, and the next one is measured.

    Parameters
    ----------
    cases : sequence of Case
    measure : callable
        Gives the row of a case.
    results : Results
    out : Console
        Is told of every row, as `brief` puts it.
    brief : callable, optional
    """
    begin = time.perf_counter()
    for number, case in enumerate(cases, 1):
        if case.name in results.finished():
            continue
        out.print(f"[{number}/{len(cases)}] {case.name} ...", end="")
        try:
            row = measure(case)
        except Exception as error:
            if interrupts.disguised(error):
                raise KeyboardInterrupt from None
            traceback.print_exc()
            row = {"name": case.name, "lists": list(case.lists), **case.facts, "error": describe(error)}
        results.add(row)
        said = f"failed: {row['error']}" if "error" in row else brief(row)
        out.print(f" {said} ({time.perf_counter() - begin:.0f} s)")


def show(results: Results, suite: Suite) -> None:
    """The rows as a table on standard output."""
    content = results.content()
    headings, rows = suite.table(content)
    threads = f"{content['threads']} thread{'s' * (content['threads'] > 1)} of every engine"
    table = Table(title=f"{content['machine']['cpu']}, {threads}", caption=suite.caption(content))
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=not i)
    for cells in rows:
        table.add_row(*cells)
    Console(markup=False, width=None if sys.stdout.isatty() else 240).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    options, out = options_of(arguments), Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    interrupts.listen()
    with tempfile.TemporaryDirectory(prefix="tenfold-bench-") as folder:
        try:
            _run_suite(options, options.cache or Path(folder), out)
        except TenfoldError as error:
            sys.exit(f"run.py: {error}")
        except KeyboardInterrupt:
            sys.exit(interrupts.exit_code())


def _run_suite(options: argparse.Namespace, cache: Path, out: Console) -> None:
    suite = SUITES[options.suite]
    suite.check(options, EVERY)
    cache.mkdir(parents=True, exist_ok=True)
    batches = tuple(map(int, options.batch.split(","))) if options.batch else suite.batches
    cases = chosen(suite.cases(Settings(batches, cache, options.data)), options.only)
    if not cases:
        raise TenfoldError(f"no row of {options.suite} fits {' or '.join(options.only)}: --list names them all")
    if options.list:
        print("\n".join(f"{case.name}  ({', '.join(case.lists)})" if case.lists else case.name for case in cases))
        return
    bench = suite.open(options, out)
    results = Results(options.suite, bench.machine, bench.threads, options.json)
    if options.resume:
        results.resume()
    out.print(f"{options.suite}: {len(cases)} rows on {bench.threads} threads, {', '.join(bench.engines)}")
    try:
        run(cases, bench.measure, results, out, bench.brief)
    finally:
        if results.rows:
            show(results, suite)


if __name__ == "__main__":
    main()
