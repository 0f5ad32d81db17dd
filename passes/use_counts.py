"""How often values are read: a value that only one operator reads may become part of that operator."""
from __future__ import annotations

from collections import Counter

from tvm import relax


def count_uses(main: relax.Function) -> Counter[relax.Var]:
    """How often each variable is read."""
    uses: Counter[relax.Var] = Counter()

    def count(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Var):
            uses[expr] += 1

    for block in main.body.blocks:
        for binding in block.bindings:
            relax.analysis.post_order_visit(binding.value, count)
    relax.analysis.post_order_visit(main.body.body, count)
    return uses
