"""The tables of a benchmark's results: for the terminal, and for the README.

    python tests/benchmarks/table.py [--results DIR] [--readme FILE] [--check]

puts the tables of the results into the README, each between its markers ``<!-- benchmark NAME -->`` and ``<!-- end -->``; with --check it
writes nothing, and fails where the README is not what the results say.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from results import read
from tenfold.runner.report import count, milliseconds
from tenfold.support.errors import TenfoldError
from tenfold.support.files.folder import write_text

HERE = Path(__file__).parent
OURS = "tenfold"
TITLES = {"tenfold": "Tenfold", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch channels-last",
          "torch-compile": "torch.compile"}
MARKED = re.compile(r"(<!-- benchmark (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
Table = tuple[list[str], list[list[str]]]  # headings, rows


def engines(result: dict[str, Any]) -> list[str]:
    """Tenfold and the rivals of a result, in the order of the tables."""
    return [name for name in TITLES if name in result["machine"]["versions"]]


def measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that are not failures."""
    return [row for row in result["rows"] if "error" not in row]


def mean_line(result: dict[str, Any]) -> str:
    """The geometric mean of the ratios to the best rival."""
    ratios = [ratio for row in measured(result) if "models" in row and (ratio := subject(row)["ratio"])]
    if not ratios:
        return ""
    ahead = sum(ratio >= 1 for ratio in ratios)
    return f"geometric mean against the best rival {geometric_mean(ratios):.2f} x; ahead in {ahead} of {len(ratios)} rows"


def subject(row: dict[str, Any]) -> dict[str, Any]:
    """The figures of what a row is about."""
    return next(iter(row["models"].values()))


def full_table(result: dict[str, Any]) -> Table:
    """One line for each row, for the terminal and for the README's whole tables."""
    if result["suite"] == "startup":
        return _startup(result)
    names = engines(result)
    factored = any("speedup" in row for row in measured(result))
    promised = any("promise" in row for row in measured(result))
    kernels = all("kernels_share_of_peak" in subject(row) for row in measured(result))
    headings = ["", "MACs", *(f"{TITLES[name]}, ms" for name in names), "against best rival", "GFLOP/s", "of peak"]
    headings += ["kernels alone"] * kernels + ["against our dense", "against best dense rival"] * factored
    headings += ["promised", "of the promise"] * promised
    rows = []
    for row in measured(result):
        found = subject(row)
        cells = [row["name"], count(found["macs"]), *(_ms(found["ms"].get(name)) for name in names), _times(found["ratio"]),
                 f"{found['gflops']:.0f}", f"{found['share_of_peak']:.0%}"]
        if kernels:
            cells.append(f"{found['kernels_share_of_peak']:.0%}")
        if factored:
            cells += [_times(row.get("speedup", {}).get(OURS)), _times(row.get("against_dense_rival"))]
        if promised:
            cells += [_times(row.get("promise")), f"{row['share_of_promise']:.0%}"]
        rows.append(cells)
    return headings, rows


def alone(found: Sequence[dict[str, Any]]) -> list[float]:
    """Shares of the peak that our kernels reach without what brings values in and out."""
    return [one["kernels_share_of_peak"] for one in found]


def layers_table(result: dict[str, Any]) -> Table:
    """One line for each list of layers: too many layers for a README."""
    headings = ["layers of", "number", "mean against best rival", "worst", "ahead or level (5 %)"]
    headings += ["median of peak", "kernels alone", "worst kernel"]
    lists = sorted({name for row in measured(result) for name in row["lists"]}, key=lambda name: ("-factored" in name, name))
    rows = []
    for name in lists:
        found = [subject(row) for row in measured(result) if name in row["lists"]]
        ratios = [one["ratio"] for one in found if one["ratio"]]
        if ratios:
            level = sum(ratio >= 0.95 for ratio in ratios)
            rows.append([name, str(len(found)), _times(geometric_mean(ratios)), _times(min(ratios)), f"{level} of {len(ratios)}",
                         f"{median(one['share_of_peak'] for one in found):.0%}", f"{median(alone(found)):.0%}", f"{min(alone(found)):.0%}"])
    return headings, rows


def _startup(result: dict[str, Any]) -> Table:
    names = engines(result)
    rows = []
    for row in measured(result):
        if "s" in row:
            rows.append([row["name"], *(f"{row['s'][name]['median']:.2f} s" if name in row["s"] else "-" for name in names)])
        else:
            planned = {OURS: (row["manifest_memory"] or {}).get("planned")}  # only an artifact says beforehand what it will take
            for what, found in (("peak", row["peak_bytes"]), ("planned", planned)):
                rows.append([f"{row['name']}, {what}", *(f"{found[name] / 1e6:.0f} MB" if found.get(name) else "-" for name in names)])
    return ["", *(TITLES[name] for name in names)], rows


TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {"layers": layers_table}


def _ms(value: float | None) -> str:
    return "-" if value is None else milliseconds(value)


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def markdown(table: Table) -> str:
    """A table in Markdown, numbers to the right."""
    headings, rows = table
    lines = [headings, ["---", *["--:"] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def section(result: dict[str, Any]) -> str:
    """What stands between the markers of a suite."""
    machine, failed = result["machine"], [row for row in result["rows"] if "error" in row]
    versions = ", ".join(f"{TITLES[name]} {machine['versions'][name]}" for name in engines(result) if name != OURS)
    text = markdown(TABLES.get(result["suite"], full_table)(result))
    facts = [f"{machine['cpu']}, {machine['physical_cores']} cores, {machine['vector_bits']}-bit vectors",
             f"{result['threads']} threads for every engine", "float32", "medians of interleaved runs", result["date"][:10], versions]
    text += "\n" + "; ".join(facts) + "." + (f" In all: {mean}." if (mean := mean_line(result)) else "") + "\n"
    if failed:
        text += f"\nFailed: {'; '.join(row['name'] + ': ' + row['error'] for row in failed)}.\n"
    return text


def rewritten(readme: str, results: dict[str, dict[str, Any]]) -> str:
    """The README with the sections of these results between their markers.

    Raises
    ------
    TenfoldError
        Results that the README has no markers for.
    """
    marked = {match[2] for match in MARKED.finditer(readme)}
    if missing := sorted(set(results) - marked):
        raise TenfoldError(f"the README has no markers for {missing[0]}: put <!-- benchmark {missing[0]} --> and <!-- end --> into it")

    def fill(match: re.Match[str]) -> str:
        result = results.get(match[2])
        return match[1] + (match[3] if result is None else "\n" + section(result) + "\n") + match[4]

    return MARKED.sub(fill, readme)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Put the tables of the results into the README.")
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--readme", type=Path, default=HERE.parent.parent / "README.md", metavar="FILE")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the README differs from the results")
    options = parser.parse_args(arguments)
    try:
        results = {content["suite"]: content for content in map(read, sorted(options.results.glob("*.json")))}
        old = options.readme.read_text(encoding="utf-8")
        new = rewritten(old, results)
        if options.check and new != old:
            raise TenfoldError(f"{options.readme} is not what the results say: run python tests/benchmarks/table.py")
        if not options.check:
            write_text(options.readme, new)
    except TenfoldError as error:
        sys.exit(f"table.py: {error}")


if __name__ == "__main__":
    main()
