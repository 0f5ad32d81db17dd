"""`tenfold bench`: networks and engines side by side."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..support.command_line import command_line
from .answer import Answer
from .app import command
from .complete import engine_names
from .options import Device, Html, Keywords, TargetOption, Threads
from .work import Work


@command
def bench(
    work: Work,
    what: Annotated[list[str], typer.Argument(help="Model files and artifact folders.", metavar="WHAT...")],
    against: Annotated[
        str,
        typer.Option(
            "--against", help="Some of onnxruntime,openvino,torch,torch-compile,tensorrt.", metavar="ENGINES", autocompletion=engine_names
        ),
    ] = "",
    data: Annotated[Path | None, typer.Option("--data", help="Images x (preprocessed), labels y.", metavar="D.npz")] = None,
    runs: Annotated[int, typer.Option("--runs", help="Timed runs of each row.", metavar="N", min=1)] = 50,
    until_stable: Annotated[
        float | None, typer.Option("--until-stable", help="Go on until rounds agree, for so many seconds at most.", metavar="S")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time of each network in Tenfold goes.")] = False,
    precision: Annotated[str, typer.Option("--precision", help="Of rivals on GPUs: float32 or tf32.", metavar="P")] = "float32",
    threads: Threads = None,
    target: TargetOption = "host",
    device: Device = None,
    html: Html = None,
    *,
    reading: Keywords,
) -> Answer:
    """Compare networks and engines side by side: milliseconds, memory, accuracy and error."""
    work.say("loading the compiler")
    from ..runner.bench.compare import bench as compare
    from ..runner.bench.profile_report import profile_table
    from ..runner.report import comparison_table

    if html is not None:
        from ..reports.write import check_page

        check_page(html, *what)
    engines = [name.strip() for name in against.split(",") if name.strip()]
    result = compare(
        what, against=engines, data=data, runs=runs, threads=threads, target=target, profile=profile, until_stable=until_stable,
        device=device, precision=precision, progress=work.say, **reading,
    )
    for reason, pairs in _by_reason(result.skipped).items():
        work.remark(f"no row for {', '.join(pairs)}: {reason}")
    for model in result.unverified:
        work.remark(f"{model}: it was never verified: tenfold verify {model} does that")
    profiles = [profile_table(row.profile, row.model) for row in result.rows if row.profile is not None]
    content = {**result.to_dict(), "command": command_line()}
    wrote = [] if html is None else [_page(content, what, html)]
    return Answer([comparison_table(result), *profiles, *wrote], content)


def _page(content: dict[str, Any], what: list[str], html: Path) -> str:
    """Write the page of a result, and of the artifacts that were measured."""
    from ..reports.sources import Source, benched, read_sources
    from ..reports.write import write_page
    from ..runner.report import size

    folders = [name for name in dict.fromkeys(what) if Path(name).is_dir()]
    sources: list[Source] = [benched("tenfold bench", content), *(read_sources(folders) if folders else ())]
    return f"wrote {html} ({size(write_page(sources, html))})"


def _by_reason(skipped: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    """What has no row, for each reason, so that one line says it."""
    found: dict[str, list[str]] = {}
    for model, engine, reason in skipped:
        found.setdefault(reason, []).append(f"{model} in {engine}")
    return found
