"""`tenfold tune`: faster kernels by measuring, kept as records; and what is done with records."""
from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..support.errors import TenfoldError
from .answer import Answer
from .app import command
from .options import Device, Keywords, TargetOption, Threads
from .work import Work

if TYPE_CHECKING:
    from ..support.listing import Listing
    from ..tuning.tuner import Tuner

SHOWN_EVERY = 1.0  # seconds between two tables


@command
def tune(
    work: Work,
    what: Annotated[list[str] | None, typer.Argument(help="A network; with --merge and --show: logs, or folders.", metavar="MODEL")] = None,
    log: Annotated[Path | None, typer.Option("--log", help="Folder of records; default: the cache's tune_logs.", metavar="DIR")] = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Candidates to measure; default: what pays.", metavar="N", min=1)] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Stop after so many minutes.", metavar="M")] = None,
    target: TargetOption = "host",
    device: Device = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Factor the layers that this plan names first.", metavar="PLAN.json")] = None,
    threads: Threads = None,
    engine: Annotated[str, typer.Option("--search", help="What proposes candidates: tenfold or metaschedule.", metavar="NAME")] = "tenfold",
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn.", metavar="N")] = 0,
    picture: Annotated[
        Path | None, typer.Option("--plot", help="Draw the best time over trials.", metavar="FILE.png|FILE.svg")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Merge logs into the folder of -o.")] = False,
    show: Annotated[bool, typer.Option("--show", help="List records, all or those of a folder.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="With --merge: the folder to write.", metavar="DIR")] = None,
    *,
    reading: Keywords,
) -> Answer:
    """Measure ways to build each kernel of a network, and keep what is faster than the model's choice: compile uses it from then on."""
    named = what or []
    if merge and show:
        raise TenfoldError("--merge and --show are two things: give one of them")
    if merge:
        return _merge(work, named, output)
    if output is not None:
        raise TenfoldError("-o is the folder that --merge writes: give --merge too, or --log DIR for the folder of records")
    if show:
        return _show(work, named, log)
    if len(named) != 1:
        raise TenfoldError("give one network to tune" if not named else f"give one network to tune, not {len(named)}: {' '.join(named)}")
    work.say("loading the compiler")
    from ..tuning.tune import TuningSettings
    from ..tuning.tune import tune as search
    from .tuning_table import kernels_table, live_table, outcome_lines

    if picture is not None:
        from ..plots.tuning import check_file

        check_file(picture)
    work.kept = f"what was found is in {log or 'the log'}: the same command goes on"
    watch = _Watch(work, live_table)
    found = search(
        named[0], target, log=log, plan=plan, threads=threads, device=device,
        settings=TuningSettings(trials, minutes, seed=seed, search=engine), progress=work.say, watch=watch, **reading,
    )  # fmt: skip
    if picture is not None:
        from ..plots.tuning import draw_to

        draw_to(picture, [(state.task.workload, state.curve) for state in found.states], f"tuning for {found.target.name}")
    dropped = () if found.gain is None else found.gain.dropped
    shown = [kernels_table(found.states, dropped=dropped), *outcome_lines(found)]
    return Answer(shown, found.to_json(), 128 + signal.SIGINT if found.interrupted else 0)


class _Watch:
    """Shows how it goes on: a table on a terminal, counts elsewhere."""

    def __init__(self, work: Work, table: Callable[[Tuner], Listing]) -> None:
        self._work, self._table, self._shown = work, table, -SHOWN_EVERY

    def __call__(self, tuner: Tuner) -> None:
        from .tuning_table import gain_line

        if tuner.seconds - self._shown < SHOWN_EVERY:
            return
        self._shown = tuner.seconds
        self._work.say(f"measuring kernels: {tuner.made} trials, {gain_line(tuner.states)}",
                       sum(bool(state.ended) for state in tuner.states), len(tuner.states))
        self._work.table(self._table(tuner))


def _merge(work: Work, sources: list[str], output: Path | None) -> Answer:
    from ..tuning.merge import merge

    if not sources or output is None:
        raise TenfoldError("--merge A.jsonl DIR ... -o DIR: name the logs to merge, and the folder to write")
    work.say("merging logs")
    report = merge(sources, output)
    lines = [f"read      {report.sources} logs, {report.records + report.repeated} records"]
    lines += [f"wrote     {path}: {count} records" for path, count in report.written.items()]
    lines += [f"unchanged {path}" for path in report.unchanged]
    if report.repeated:
        lines.append(f"left out  {report.repeated} for newer measurements of the same")
    if report.stale:
        lines.append(f"stale     {report.stale}, of other versions of the spaces of kernels: kept, not used")
    if report.refused:
        lines.append(f"refused   {report.refused} lines that are no records; the first: {report.first_refused}")
    content = {**asdict(report), "written": {str(path): count for path, count in report.written.items()},
               "unchanged": list(map(str, report.unchanged))}
    return Answer(lines, content)


def _show(work: Work, named: list[str], log: Path | None) -> Answer:
    from ..runner.tuning_records.files import SHIPPED, user_folder
    from ..tuning.show import show
    from .tuning_table import records_table

    work.say("reading logs")
    folders = [Path(each) for each in named] or ([log] if log is not None else [each for each in (SHIPPED, user_folder()) if each.is_dir()])
    rows, note = show(folders)
    if note:
        work.remark(f"warning: {note}")
    content = [{**asdict(row), "log": str(row.log), "choice": dict(row.choice)} for row in rows]
    return Answer([records_table(rows)] if rows else ["no records yet: tenfold tune MODEL makes some"], content)
