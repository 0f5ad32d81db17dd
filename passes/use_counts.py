"""Who reads what: a value that one operator alone reads may become part of that operator."""
from __future__ import annotations

from collections import Counter

from tvm import relax


def count_uses(main: relax.Function) -> Counter:
    """How often every variable is read."""
    uses: Counter = Counter()

    def count(expr) -> None:
        if isinstance(expr, relax.Var):
            uses[expr] += 1

    for block in main.body.blocks:
        for binding in block.bindings:
            relax.analysis.post_order_visit(binding.value, count)
    relax.analysis.post_order_visit(main.body.body, count)
    return uses
