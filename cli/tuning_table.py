"""How tuning is shown: a table of the kernels, and lines."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from ..support.listing import Listing

if TYPE_CHECKING:
    from ..tuning.show import Row
    from ..tuning.state import TaskState
    from ..tuning.tune import Tuning
    from ..tuning.tuner import Tuner

LIVE_ROWS = 16  # of the table that is shown meanwhile


def live_table(tuner: Tuner) -> Listing:
    """What is going on: the kernels that take most of the network's time."""
    states = sorted(tuner.states, key=lambda state: -state.count * (state.base_ms if state.base_ms < inf else 0.0))
    left = "" if (seconds := seconds_left(tuner)) is None else f", {seconds:.0f} s left at most"
    table = kernels_table(states[:LIVE_ROWS], f"tuning: {tuner.trials} trials in {tuner.seconds:.0f} s{left}; {gain_line(tuner.states)}")
    if len(states) > LIVE_ROWS:
        table.caption = f"and {len(states) - LIVE_ROWS} more kernels"
    return table


def kernels_table(states: Sequence[TaskState], title: str = "", dropped: Sequence[TaskState] = ()) -> Listing:
    """One row for each kernel of the network."""
    headings = ["kernel", "times", "trials", "model\nms", "best\nms", "gain\n%", "% of\nlimit", "state"]
    table = Listing(headings, range(1, 7), remark=True, title=title)
    for state in states:
        known = state.base_ms < inf
        gained = state.ms < state.base_ms
        table.add_row(
            state.task.workload, str(state.count), str(state.trials), f"{state.base_ms:.3g}" if known else "",
            f"{state.ms:.3g}" if known else "", f"{100 * (state.base_ms / state.ms - 1):.1f}" if gained else "",
            f"{100 * state.share_of_limit:.0f}" if known and state.share_of_limit else "", _words(state, state in dropped),
            style="bold" if gained else "",
        )  # fmt: skip
    return table


def _words(state: TaskState, dropped: bool) -> str:
    failed = f", {state.failed} failed" if state.failed else ""
    if dropped:
        return f"withdrawn: in the whole network it is slower{failed}"
    return (state.ended or ("measuring" if state.busy else "")) + failed


def gain_line(states: Sequence[TaskState]) -> str:
    """What all kernels together have gained."""
    known = [state for state in states if state.base_ms < inf]
    before, gained = sum(state.count * state.base_ms for state in known), sum(state.gained_ms for state in known)
    return f"kernels {before:.3g} -> {before - gained:.3g} ms" if known else "nothing is measured yet"


def seconds_left(tuner: Tuner) -> float | None:
    """Until a limit ends it; None where there is none, or nothing is known yet."""
    limits = tuner.limits
    found = []
    if limits.seconds is not None:
        found.append(max(0.0, limits.seconds - tuner.seconds))
    per_second = tuner.made / tuner.seconds if tuner.seconds > 0 else 0.0
    if per_second > 0:
        most = sum(limits.per_task - state.trials for state in tuner.states if not state.ended)
        found.append(max(0, most if limits.trials is None else min(most, limits.trials - tuner.made)) / per_second)
    return min(found, default=None)


def outcome_lines(tuning: Tuning) -> Iterator[str]:
    """What came of it."""
    earlier = f", and {tuning.earlier} of an earlier session" if tuning.earlier else ""
    rate = f", {tuning.trials / tuning.seconds:.1f} a second" if tuning.seconds > 0 and tuning.trials else ""
    yield f"target    {tuning.target.name}, {tuning.target.cores} threads; measured on {tuning.device}"
    yield f"trials    {tuning.trials} in {tuning.seconds:.0f} s{rate}{earlier}" + ("; stopped before its end" if tuning.interrupted else "")
    yield f"kernels   {gain_line(tuning.states).removeprefix('kernels ')}, each timed by itself"
    if tuning.gain is not None:
        before, after = tuning.gain.before_ms, tuning.gain.after_ms
        yield f"network   {before:.4g} -> {after:.4g} ms, {before / after:.3f} times as fast"
    for note in tuning.notes:
        yield f"          {note}"
    yield f"records   {tuning.log}: tenfold compile uses them on this processor"


def records_table(rows: Sequence[Row]) -> Listing:
    """What logs know."""
    table = Listing(["workload", "processor", "cores", "ms", "model\nms", "times\nas fast", "records", "how"], (2, 3, 4, 5, 6))
    for row in rows:
        how = f"{row.how}, stale" if row.stale else row.how
        table.add_row(row.workload, row.processor, str(row.cores), f"{row.ms:.4g}", f"{row.base_ms:.4g}", f"{row.speedup:.2f}",
                      str(row.records), how)
    return table
