"""The tables of the benchmarks' results: for the terminal, and for the pages.

    python tests/benchmarks/table.py [--check]
    python tests/benchmarks/table.py --results DIR --page FILE [--check]

The command puts each table between its markers ``<!-- benchmark NAME -->`` and ``<!-- end -->``. Without ``--page`` it writes README.md,
which has one table of milliseconds, docs/benchmarks.md, which has them all, and the pages of other results. With ``--check`` it writes
nothing, and fails where a page differs from the results.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from types import ModuleType
from typing import Any

import commands
import halves
import precision
from arm.precision import section as arm_precision
from arm.tables import sections as arm_sections
from cuda.tables import byte_section
from cuda.tables import sections as cuda_sections
from papers.tables import sections as paper_sections
from quantized.tables import sections as quantized_sections
from results import read
from suite import Table
from tenfold.runner.report import count, milliseconds
from tenfold.support.errors import TenfoldError
from tenfold.support.files.folder import write_text
from tuner.tables import sections as tuning_sections

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULTS = HERE / "results"
SEARCHES = {"search-jin": RESULTS / "search" / "xeon" / "jin.json", "search-vgg": RESULTS / "search" / "xeon" / "vgg.json"}
OURS, ORT = "tenfold", "onnxruntime"
TITLES = {"tenfold": "Tenfold", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch channels-last",
          "torch-compile": "torch.compile"}
MOST_ERROR = 2  # times ONNX Runtime's error, for a row to count as exact
MARKED = re.compile(r"(<!-- benchmark ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def engines(result: dict[str, Any]) -> list[str]:
    """Tenfold and the rivals of a result, in the order of the tables."""
    return [name for name in TITLES if name in result["machine"]["versions"]]


def measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that are not failures."""
    return [row for row in result["rows"] if "error" not in row]


def mean_line(result: dict[str, Any]) -> str:
    """The geometric mean of the ratios to the best rival, and how many rows are less exact than they shall be."""
    ratios = [ratio for row in measured(result) if "models" in row and (ratio := subject(row)["ratio"])]
    if not ratios:
        return ""
    ahead = sum(ratio >= 1 for ratio in ratios)
    mean = f"geometric mean against the best rival {geometric_mean(ratios):.2f} x; ahead in {ahead} of {len(ratios)} rows"
    errors = [row["errors"] for row in measured(result) if {OURS, ORT} <= row.get("errors", {}).keys()]
    exact = sum(found[OURS] <= MOST_ERROR * found[ORT] for found in errors)
    return mean + (f"; at most {MOST_ERROR} times ONNX Runtime's error in {exact} of {len(errors)}" if errors else "")


def subject(row: dict[str, Any]) -> dict[str, Any]:
    """The figures of what a row is about."""
    return next(iter(row["models"].values()))


def full_table(result: dict[str, Any]) -> Table:
    """One line for each row, for the terminal and for whole tables."""
    if result["suite"] == "startup":
        return _startup(result)
    names = engines(result)
    factored = any("speedup" in row for row in measured(result))
    promised = any("promise" in row for row in measured(result))
    exact = any("errors" in row for row in measured(result))
    kernels = all("kernels_share_of_peak" in subject(row) for row in measured(result))
    headings = ["", "MACs", *(f"{TITLES[name]}, ms" for name in names), "against best rival", "GFLOP/s", "of peak"]
    headings += ["kernels alone"] * kernels + ["against our dense", "against best dense rival"] * factored
    headings += ["promised", "of the promise"] * promised + ["error", "ONNX Runtime's error"] * exact
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
        if exact:
            cells += [_error(row, OURS), _error(row, ORT)]
        rows.append(cells)
    return headings, rows


def alone(found: Sequence[dict[str, Any]]) -> list[float]:
    """Shares of the peak that our kernels reach without what brings values in and out."""
    return [one["kernels_share_of_peak"] for one in found]


def layers_table(result: dict[str, Any]) -> Table:
    """One line for each list of layers: there are too many layers for a page."""
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


TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {"layers": layers_table, "modern-layers": layers_table}


def _ms(value: float | None) -> str:
    return "-" if value is None else milliseconds(value)


def _error(row: dict[str, Any], engine: str) -> str:
    return f"{row['errors'][engine]:.1e}" if engine in row.get("errors", {}) else "-"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def markdown(table: Table) -> str:
    """A table in Markdown, numbers to the right."""
    headings, rows = table
    lines = [headings, ["---", *["--:"] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def facts(result: dict[str, Any]) -> str:
    """What the results of a suite were measured on, and their mean, in a line."""
    machine = result["machine"]
    versions = ", ".join(f"{TITLES[name]} {machine['versions'][name]}" for name in engines(result) if name != OURS)
    found = [f"{machine['cpu']}, {machine['physical_cores']} cores, {machine['vector_bits']}-bit vectors",
             f"{result['threads']} threads for every engine", "float32", "medians of interleaved runs", result["date"][:10], versions]
    return "; ".join(found) + "." + (f" In all: {mean}." if (mean := mean_line(result)) else "") + "\n"


def section(result: dict[str, Any]) -> str:
    """What stands between the markers of a suite."""
    text = markdown(TABLES.get(result["suite"], full_table)(result)) + "\n" + facts(result)
    if failed := [row for row in result["rows"] if "error" in row]:
        text += f"\nFailed: {'; '.join(row['name'] + ': ' + row['error'] for row in failed)}.\n"
    return text


def brief(result: dict[str, Any]) -> str:
    """The README's table: the milliseconds of each network in each engine."""
    names = engines(result)
    rows = []
    for row in measured(result):
        found = subject(row)
        times = [_ms(found["ms"].get(name)) for name in names]
        rows.append([row["name"], f"**{times[0]}**", *times[1:], _times(found["ratio"])])
    return markdown((["network", *(f"{TITLES[name]}, ms" for name in names), "against the best rival"], rows)) + "\n" + facts(result)


def search_section(result: dict[str, Any]) -> str:
    """The table of a search: each network in Tenfold and in ONNX Runtime.

    Parameters
    ----------
    result : dict
        What ``tenfold bench --json`` wrote: two rows for each network, one for each engine.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in result["rows"]:
        found.setdefault(row["model"], {})[row["engine"]] = row
    rows = []
    for number, (model, by_engine) in enumerate(found.items()):
        ours = by_engine[OURS]
        name = "dense" if number == 0 else "**Tenfold, `--max-drop 1`**" if number == 1 else (
            f"AIMET, asked for {model.removeprefix('aimet_').removesuffix('.onnx')} of the MACs")
        rows.append([name, count(ours["macs"]), count(ours["params"]), f"{ours['accuracy']:.2%}",
                     *(milliseconds(by_engine[engine]["latency_ms"]["median"]) for engine in (OURS, "onnxruntime"))])
    return markdown((["", "MACs", "parameters", "accuracy, test", "Tenfold, ms", "ONNX Runtime, ms"], rows))


def rewritten(page: str, sections: Mapping[str, str]) -> str:
    """A page with these sections between their markers.

    Parameters
    ----------
    page : str
        The page as it is.
    sections : mapping of str to str
        What belongs between the markers of a name. Sections that are not given stay as they are.

    Raises
    ------
    TenfoldError
        The page has no markers for a section.
    """
    marked = {match[2] for match in MARKED.finditer(page)}
    if missing := sorted(set(sections) - marked):
        raise TenfoldError(f"the page has no markers for {missing[0]}: put <!-- benchmark {missing[0]} --> and <!-- end --> into it")

    def fill(match: re.Match[str]) -> str:
        text = sections.get(match[2])
        return match[1] + (match[3] if text is None else f"\n{text}\n") + match[4]

    return MARKED.sub(fill, page)


def whole_sections(folder: Path) -> dict[str, str]:
    """The whole table of every suite that has results in a folder."""
    return {content["suite"]: section(content) for content in map(read, sorted(folder.glob("*.json")))}


def one_machine_section(content: dict[str, Any], suite: ModuleType) -> str:
    """The table of a suite with the machine that it was measured on."""
    machine = f"{content['machine']['cpu']}, {content['machine']['vector_bits']}-bit vectors, {content['threads']} threads"
    return f"{markdown(suite.table(content))}\n{machine}; {suite.mean(content)}.\n"


def house_pages() -> dict[Path, dict[str, str]]:
    """The sections of the pages that show this repository's results."""
    searches = {name: search_section(json.loads(path.read_text(encoding="utf-8"))) for name, path in SEARCHES.items()}
    return {ROOT / "README.md": {"networks": brief(read(RESULTS / "networks.json"))},
            ROOT / "docs" / "benchmarks.md": whole_sections(RESULTS) | searches,
            ROOT / "docs" / "arm.md": arm_sections(RESULTS / "arm", read, markdown),
            ROOT / "docs" / "training.md": paper_sections(RESULTS / "training", markdown),
            ROOT / "docs" / "tuning.md": tuning_sections(RESULTS / "tuning", read, markdown),
            ROOT / "docs" / "quantization.md": quantized_sections(RESULTS / "quantized", read, markdown),
            ROOT / "docs" / "int8.md": {"precision": one_machine_section(read(RESULTS / "quantized" / "precision.json"), precision),
                                         "arm-precision": arm_precision(read(RESULTS / "arm" / "precision.json"), markdown),
                                         "cuda-int8": byte_section(read(RESULTS / "cuda" / "int8.json"), markdown)},
            ROOT / "docs" / "precision.md": {"halves": one_machine_section(read(RESULTS / "halves" / "halves.json"), halves)},
            ROOT / "docs" / "commands.md": {"commands": commands.section(RESULTS / "commands" / "zen5.json", markdown)},
            ROOT / "docs" / "cuda.md": cuda_sections(RESULTS / "cuda", read, markdown)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Put the tables of the results into the pages.")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page for these results; default: README.md and docs/benchmarks.md")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page differs from the results")
    options = parser.parse_args(arguments)
    try:
        pages = house_pages() if options.page is None else {options.page: whole_sections(options.results)}
        for page, sections in pages.items():
            old = page.read_text(encoding="utf-8")
            new = rewritten(old, sections)
            if options.check and new != old:
                raise TenfoldError(f"{page} is not what the results say: run python tests/benchmarks/table.py")
            if not options.check:
                write_text(page, new)
    except TenfoldError as error:
        sys.exit(f"table.py: {error}")


if __name__ == "__main__":
    main()
