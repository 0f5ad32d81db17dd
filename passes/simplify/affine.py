"""Steps that scale and shift each channel go into the layer before or after them, or become fewer.

    Conv -> Mul -> Add                        ->   Conv        s (W x + b) + t = (s W) x + (s b + t)
    Mul -> Add -> Conv                        ->   Conv        W (s x + t) + b = (W s) x + (W t + b)      without padding
    Mul -> Conv with padding                  ->   Conv        zeros stay zeros; a shift before padding stays where it is
    Div -> Sub -> Mul -> Add                  ->   Mul -> Add
    Mul by 1, Add of 0                        ->   nothing

Mul, Div, Add and Sub with a constant for each channel are meant: batch norms are written so by now. Where several layers read a scaled
value, all of them take the scale, or none does.
"""
from __future__ import annotations

import numpy as np
from onnxscript import ir

from .editing import fits, operator, sizes, sole_producer
from .emit import replace_by_affine, replace_by_layer
from .linear import AFFINE, Linear, affine_step, layer_work, linear
from .runs import Runs
from .work import Work


class Affine(Runs):
    """Fold scales and shifts."""

    name = "affine"

    def wants(self, run: Linear) -> bool:
        """One layer, and affine steps around it."""
        return sum(operator(node) not in AFFINE for node in run.nodes) == 1

    def at(self, node: ir.Node) -> str | None:
        """Rewrite the run that ends with this node; or the step that several layers behind it can take."""
        return super().at(node) or _fewer(node) or _into_all_readers(node)


def _fewer(node: ir.Node) -> str | None:
    """Two steps or more as one Mul and one Add at most."""
    for last in (False, True):
        run, scale, shift = [], np.ones(1), np.zeros(1)
        current: ir.Node | None = node
        while current is not None and (step := affine_step(current, last)) is not None:
            source, scale, shift = step[0], scale * step[1], scale * step[2] + shift
            run.append(current)
            current = sole_producer(source)
        left = int((scale != 1).any()) + int((shift != 0).any())
        name = node.outputs[0].name or "affine"
        if run and left < len(run) and replace_by_affine(node.outputs[0], source, scale, shift, last):
            return name
    return None


def _into_all_readers(node: ir.Node) -> str | None:
    """Let every layer that reads the result of a step take it over."""
    result = node.outputs[0]
    if operator(node) not in AFFINE or result.is_graph_output() or len(result.uses()) < 2:
        return None
    for last in (False, True):
        step, readers = linear(node, last), list(dict.fromkeys(user for user, _ in result.uses()))
        if step is None:
            continue
        layers = [linear(user, last) if user.inputs[0] is result and user.graph is node.graph else None for user in readers]
        runs = [step.then(layer) if layer is not None and layer.layer is not None else None for layer in layers]
        if any(run is None for run in runs) or len(sizes(result) or ()) < 2:
            continue
        whole = [run for run in runs if run is not None]
        works = [layer_work(run.grid, run.source, run.result, run.layer, run.shifted) for run in whole]
        before = sum((layer.work for layer in layers if layer is not None), step.work)
        kernels = [run.kernel() for run in whole]
        if not sum(works, Work()).pays_instead_of(before) or not all(fits(result, k.weight, k.bias) for k in kernels):
            continue
        for run, kernel in zip(whole, kernels, strict=True):
            main = run.layer
            assert main is not None
            replace_by_layer(run.result, run.source, kernel, main, last)
        return whole[0].layer.name if whole[0].layer is not None else None
    return None
