"""Benchmarks, measured and never part of a test's verdict.

    python tests/benchmarks/run.py layers|flattened|denton|networks|startup [--json FILE] [--only PATTERN]... [--resume]

Every row is ours and every rival's on the same threads, interleaved, with the share of the machine's peak that was measured beside it.
Rows are written as they come: a run that is broken off is taken up again with --resume.
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

import startup
from race import OURS, QUIET, Case, Race
from results import Results
from rich.console import Console
from rich.table import Table
from suites import BATCHES, SUITES, Settings, chosen
from table import full_table, mean_line
from tenfold.runner.bench.engines import RIVALS, describe, rival
from tenfold.runner.bench.environment import describe_machine
from tenfold.support import interrupts
from tenfold.support.errors import TenfoldError
from tenfold.targets.detection import physical_cores


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=[*SUITES, "startup"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, after every row")
    parser.add_argument("--resume", action="store_true", help="keep the rows that FILE has, measure the others")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="rows of this list of shapes, or of such a name")
    parser.add_argument("--batch", metavar="N,N", help="batch sizes of layers; default: the suite's")
    parser.add_argument("--against", default=",".join(RIVALS), metavar="ENGINES", help="default: all that are installed")
    parser.add_argument("--threads", type=int, default=physical_cores(), metavar="N", help="of every engine; default: the physical cores")
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="timed runs of each engine at most; default: 100")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="to spend on a row, about; default: 20")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the ONNX files of networks there; default: a temporary folder")
    parser.add_argument("--list", action="store_true", help="only list the rows")
    return parser.parse_args(arguments)


def installed(names: Sequence[str], out: Console) -> list[str]:
    """The rivals that are there; the others are named with the reason."""
    found = []
    for name in filter(None, names):
        try:
            rival(name)
            found.append(name)
        except TenfoldError as error:
            if name not in RIVALS:
                raise
            out.print(f"without {name}: {error}")
    return found


def run(cases: Sequence[Case], measure: Callable[[Case], dict[str, Any]], results: Results, out: Console) -> None:
    """Measure what is not finished; a row that fails says so in the results, and the next one is measured."""
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
        out.print(f" {summary(row)} ({time.perf_counter() - begin:.0f} s)")


def summary(row: dict[str, Any]) -> str:
    """A row in a few words, while the next one is measured."""
    if "error" in row:
        return f"failed: {row['error']}"
    if "models" not in row:
        seconds = [f"{name} {value['median']:.2f} s" for name, value in row.get("s", {}).items()]
        return ", ".join(seconds + [f"{name} {value} bytes" for name, value in row.get("peak_bytes", {}).items()])
    found = next(iter(row["models"].values()))
    times = ", ".join(f"{name} {ms:.3f}" for name, ms in found["ms"].items())
    promise = f", {row['share_of_promise']:.0%} of the promise" if "promise" in row else ""
    ratio = "" if found["ratio"] is None else f", {found['ratio']:.2f} x"
    noise = f" (others had {row['cores_of_others']:.2f} cores)" if row["cores_of_others"] > QUIET else ""
    return f"{times} ms{ratio}, {found['share_of_peak']:.0%} of peak, kernels alone {found['kernels_share_of_peak']:.0%}{promise}{noise}"


def show(results: Results) -> None:
    """The rows as a table on standard output."""
    content = results.content()
    headings, rows = full_table(content)
    table = Table(title=f"{content['machine']['cpu']}, {content['threads']} threads of every engine, medians", caption=mean_line(content))
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
    cache.mkdir(parents=True, exist_ok=True)
    batches = tuple(map(int, options.batch.split(","))) if options.batch else BATCHES.get(options.suite, (1,))
    settings = Settings(batches, cache)
    cases = chosen((startup.cases if options.suite == "startup" else SUITES[options.suite])(settings), options.only)
    if not cases:
        raise TenfoldError(f"no row of {options.suite} fits {' or '.join(options.only)}: --list names them all")
    if options.list:
        print("\n".join(f"{case.name}  ({', '.join(case.lists)})" if case.lists else case.name for case in cases))
        return
    race = Race(installed(options.against.split(","), out), options.threads, options.runs, options.seconds)
    results = Results(options.suite, describe_machine(race.rivals), options.threads, options.json)
    if options.resume:
        results.resume()
    out.print(f"{options.suite}: {len(cases)} rows on {options.threads} threads, {', '.join([OURS, *race.rivals])}")
    try:
        run(cases, (lambda case: startup.measure(case, race)) if options.suite == "startup" else race.run, results, out)
    finally:
        if results.rows:
            show(results)


if __name__ == "__main__":
    main()
