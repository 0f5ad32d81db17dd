"""What exact rewrites did, for the terminal: one row for each layer that others were merged into, and the totals."""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..support.listing import Listing
from .report import count

if TYPE_CHECKING:
    from ..passes.simplify import Simplified

FIGURES = ("nodes", "macs", "params")
WORDS = ("nodes", "MACs", "parameters")
NOTHING = "nothing to do: no layers of this network can be merged exactly and cheaper"


def merges_table(simplified: Simplified) -> Listing:
    """What was merged, where into, and what each merge saved."""
    table = Listing(["merged into", "by", "nodes\nsaved", "MACs\nsaved", "params\nsaved"], range(2, 5))
    sums: dict[tuple[str, str], list[int]] = {}
    for merge in simplified.merges:
        row = sums.setdefault((merge.into, merge.rewrite), [0, 0, 0])
        row[:] = [total + value for total, value in zip(row, (merge.nodes, merge.macs, merge.params), strict=True)]
    for (into, rewrite), figures in sums.items():
        table.add_row(into, rewrite, *map(signed_count, figures))
    table.add_section()
    before, after = simplified.before, simplified.after
    saved = [getattr(before, name) - getattr(after, name) for name in FIGURES]
    table.add_row(f"all {len(sums)}", "", *map(signed_count, saved))
    return table


def simplified_line(simplified: Mapping[str, Any]) -> str:
    """One line, of what a manifest or an inspection says in JSON; empty where nothing was merged.

    Parameters
    ----------
    simplified : mapping
        `Simplified.to_dict`.
    """
    before, after = simplified["before"], simplified["after"]
    if not simplified["merges"]:
        return ""
    changes = ", ".join(f"{count(before[name])} -> {count(after[name])} {word}" for name, word in zip(FIGURES, WORDS, strict=True))
    return f"merged    {len({merge['into'] for merge in simplified['merges']})} layers by exact rewrites: {changes}"


def signed_count(number: int) -> str:
    """1234567 -> 1.23 M, with a minus where it is less than 0."""
    return f"-{count(-number)}" if number < 0 else count(number)
