"""Parallel convolutions, identities and batch norms of one input that are added -> one convolution.

    x -> Conv 3 x 3 -----+
    x -> Conv 1 x 1 -----+-> Add -> y        ->      x -> Conv 3 x 3 -> y
    x -> Mul -> Add -----+                           W = W3 + (W1 in the middle) + diag(scale),   b = b3 + b1 + shift
    x -------------------+

That is RepVGG, MobileOne and ACNet as they were trained. A branch may be a run of linear layers (1 x 1 and an average pool behind it,
the two factors of a low-rank update), and dense layers are branches too. Kernels are put on one grid, groups are written out. Branches
are merged two by two, as long as that is cheaper: 1 x 7 and 7 x 1 stay as they are.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from onnxscript import ir

from .editing import elements, fits, insert, is_float, operator, sizes, sole_producer, supplant
from .emit import replace_by_layer
from .kernel import added, added_grid
from .linear import Linear, identity, layer_work, runs_to, spatial
from .rewrite import Rewrite
from .work import Work


class Branches(Rewrite):
    """Merge branches that are added."""

    name = "branches"

    def at(self, node: ir.Node) -> str | None:
        """Rewrite the sum that ends with this node."""
        result = node.outputs[0] if operator(node) in ("Add", "Sum") else None
        if not is_float(result) or _continues(node):
            return None
        leaves = list(_leaves(node, sizes(result)))
        for last in (False, True):
            rank = len(sizes(result) or ())
            if rank >= (2 if last else 3) and (name := self._merge(node, leaves, last)):
                return name
        return None

    def _merge(self, node: ir.Node, leaves: list[ir.Value], last: bool) -> str | None:
        """Merge the two leaves of the sum for which that pays most."""
        shape = sizes(node.outputs[0])
        runs = [[identity(leaf, last), *runs_to(sole_producer(leaf), last)] if sizes(leaf) == shape else [] for leaf in leaves]
        best = None
        for (i, a_runs), (j, b_runs) in combinations(enumerate(runs), 2):
            for a in a_runs:
                for b in b_runs:
                    found = _sum(a, b, node.outputs[0]) if a.source is b.source else None
                    if found is not None and (best is None or found[1] < best[1]):
                        best = found[0], found[1], (i, j)
        if best is None:
            return None
        merged, _, pair = best
        rest = [leaf for number, leaf in enumerate(leaves) if number not in pair]
        return _write(node, merged, rest)


def _continues(node: ir.Node) -> bool:
    """Whether a sum is a part of a larger one."""
    value = node.outputs[0]
    users = [user for user, _ in value.uses()]
    if len(users) != 1 or value.is_graph_output() or operator(users[0]) not in ("Add", "Sum"):
        return False
    return all(sizes(other) == sizes(value) for other in (*users[0].inputs, *users[0].outputs))


def _leaves(node: ir.Node, shape: tuple[int, ...] | None) -> Iterator[ir.Value]:
    """What a sum adds up, sums within it gone through; nothing where one is of another shape."""
    for value in node.inputs:
        inner = sole_producer(value)
        if inner is not None and operator(inner) in ("Add", "Sum") and all(sizes(each) == shape for each in inner.inputs):
            yield from _leaves(inner, shape)
        elif value is not None:
            yield value


def _sum(a: Linear, b: Linear, result: ir.Value) -> tuple[Linear, float] | None:
    """Two runs from one value as one layer, and the time that it costs more than they do; None where that does not pay."""
    if a.layer is None and b.layer is None:
        return None
    grid = added_grid(a.grid, b.grid, spatial(a.source, a.last), spatial(result, a.last))
    if grid is None:
        return None
    before = a.work + b.work + Work.elementwise(3 * elements(result))
    main = max((a, b), key=lambda run: -1 if run.layer is None else elements(run.layer.inputs[1]))
    work = layer_work(grid, a.source, result, main.layer, a.shifted or b.shifted)
    if not work.pays_instead_of(before):
        return None
    merged = Linear(
        a.source, main.result, (*a.nodes, *b.nodes), a.last, grid, None, lambda: added(a.kernel(), b.kernel(), grid), work
    )
    return merged, work.time - before.time


def _write(node: ir.Node, merged: Linear, rest: list[ir.Value]) -> str | None:
    """Write the sum anew: the merged layer, and the other leaves."""
    main, result, kernel = merged.layer, node.outputs[0], merged.kernel()
    if main is None or not fits(result, kernel.weight, kernel.bias):
        return None
    if not rest:
        replace_by_layer(result, merged.source, kernel, main, merged.last)
        return main.name
    value = merged.result
    for leaf in rest:
        value = insert(node, "Add", [value, leaf], node.name or "sum", sizes(result) or ())
    supplant(result, value)
    replace_by_layer(merged.result, merged.source, kernel, main, merged.last)
    return main.name
