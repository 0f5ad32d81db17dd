"""What `compare` found, for people: a table, and lines below it."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from ...support.listing import Listing
from ..report import dim, milliseconds
from .compare import BETTER, SAME, WORSE, Change, Changes, RowChange
from .measured import ACCURACY, BYTES, FIGURES, LATENCY, MACS, MEMORY, Measured, Results

WORDS = {WORSE: "slower", BETTER: "faster", SAME: "same"}
HEADINGS = {BYTES: "file", MEMORY: "memory", ACCURACY: "accu-\nracy", MACS: "MACs"}
FEW = 3  # rows that a line names


def changes_table(changes: Changes) -> Listing:
    """One row for each network and engine; what became worse is bold."""
    timed = any(LATENCY in row.figures for row in changes.rows)
    batches = len({row.new.batch for row in changes.rows}) > 1
    others = [name for name in HEADINGS if any(name in row.figures for row in changes.rows)]
    headings = ["model", "engine", *["batch"] * batches, *["old\nms", "new\nms", "change", "noise", "verdict"] * timed]
    headings += [HEADINGS[name] for name in others]
    words = {headings.index("verdict")} if timed else set()
    caption = f"Slower and faster: by more than {changes.threshold:g} %, and than the spread of either run ('?': not known)." * timed
    if others:
        caption += f"{' ' * timed}Others: bold by more than {changes.threshold:g} %, accuracy by more than {changes.max_drop:g} points."
    table = Listing(headings, set(range(2, len(headings))) - words, title=f"{changes.old.source} -> {changes.new.source}", caption=caption)
    for row in changes.rows:
        batch = [str(row.new.batch or "-")] * batches
        cells = [_other(row.figures.get(name), name) for name in others]
        table.add_row(row.new.model, row.new.engine, *batch, *(_times(row) if timed else ()), *cells)
    return table


def _times(row: RowChange) -> Iterator[str | Text]:
    one = row.figures.get(LATENCY)
    if one is None:
        yield from ("-",) * 5
        return
    style = {WORSE: "bold", BETTER: "", SAME: "dim"}[one.verdict]
    unknown = "?" * (row.old.spread is None or row.new.spread is None)
    yield milliseconds(one.old)
    yield milliseconds(one.new)
    yield Text(f"{one.relative:+.1%}", style)
    yield dim(f"{one.noise:.1%}{unknown}")
    yield Text(WORDS[one.verdict], style)


def _other(one: Change | None, name: str) -> str | Text:
    if one is None:
        return "-"
    if one.new == one.old:
        return dim("=")
    told = f"{100 * (one.new - one.old):+.2f}" if name == ACCURACY else f"{one.relative:+.1%}"
    return Text(told, "bold" if one.verdict == WORSE else "")


def changes_lines(changes: Changes) -> Iterator[str]:
    """What differs besides, what has no match, and the outcome in a line."""
    for difference in changes.differences:
        yield f"differs   {difference}"
    for word, file, rows in (("missing", changes.new, changes.missing), ("added", changes.old, changes.added)):
        if rows:
            yield f"{word:<9} {_few(rows)}: not in {file.source}"
    for name in FIGURES:
        for file, other, side in ((changes.old, changes.new, "old"), (changes.new, changes.old, "new")):
            rows = [getattr(row, side) for row in changes.rows if name not in row.figures and name in getattr(row, side).figures]
            if rows:
                yield f"alone     {name} of {_few(rows)}: in {file.source}, not in {other.source}"
    if noisy := [row.new for row in changes.rows if LATENCY in row.figures and row.figures[LATENCY].noise > changes.threshold / 100]:
        yield (f"noisy     {_few(noisy)}: the spread is beyond the threshold, and a smaller change is not seen there;"
               " bench --until-stable waits for quiet")
    if any(LATENCY in row.figures for row in changes.rows) and _machine_known(changes.old).isdisjoint(_machine_known(changes.new)):
        yield "machines  a file does not say what it was measured on: taken for the same"
    for file in (changes.old, changes.new):
        for note in file.notes:
            yield f"note      {file.source}: {note}"
    yield summary(changes)


def _machine_known(file: Results) -> set[str]:
    """What a file says of the machine that its times are of: a target may be of many."""
    return file.machine.keys() - {"target"}


def _few(rows: list[Measured]) -> str:
    return ", ".join(map(str, rows[:FEW])) + (f" and {len(rows) - FEW} more" if len(rows) > FEW else "")


def summary(changes: Changes) -> str:
    """In one line: how many rows became slower, the worst of them, and what else became worse."""
    timed = [row for row in changes.rows if LATENCY in row.figures]
    slower = sorted(changes.slower, key=lambda row: -row.figures[LATENCY].relative)
    parts = []
    if timed:
        worst = f" (most: {slower[0].new.model} in {slower[0].new.engine}, {slower[0].figures[LATENCY].relative:+.1%})" if slower else ""
        parts = [f"{len(slower)} of {len(timed)} rows slower{worst}", f"{len(changes.having(BETTER))} faster"]
    else:
        parts = [f"{len(changes.rows)} rows without times"]
    titles: dict[str, Any] = {BYTES: "larger files", MEMORY: "more memory", ACCURACY: "less accuracy", MACS: "more MACs"}
    parts += [f"{len(found)} with {title}" for name, title in titles.items() if (found := changes.having(WORSE, (name,)))]
    lone = [f"{len(rows)} {word}" for word, rows in (("missing", changes.missing), ("added", changes.added)) if rows]
    return ", ".join([*parts, *lone])
