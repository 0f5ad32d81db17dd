"""A trained network -> the same network with factored layers, as ONNX, with the plan and a report of what was done."""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import TenfoldError
from .build import read_plan, require_compiler
from .data import random_inputs
from .folder import output_folder
from .network_facts import count_params
from .verify import Errors, verify

if TYPE_CHECKING:
    from ..factorization.chain import FactorChain
    from ..factorization.layer import Layer
    from ..factorization.plan import Plan

MODEL, PLAN, REPORT = "model.onnx", "plan.json", "report.json"
ENERGY = 0.9
Progress = Callable[[str], None]


@dataclass(frozen=True)
class LayerChange:
    """What was done with one layer.

    Attributes
    ----------
    name : str
    method : str or None
        None: left dense, for `reason`.
    ranks : tuple of int
    error : float or None
        Of the weight: ``||W - chain|| / ||W||`` in the Frobenius norm.
    macs, macs_before, params, params_before : int
        Of one run; weights without biases.
    reason : str or None
    """

    name: str
    method: str | None
    ranks: tuple[int, ...]
    error: float | None
    macs: int
    macs_before: int
    params: int
    params_before: int
    reason: str | None


@dataclass(frozen=True)
class Compression:
    """What `compress` did.

    Attributes
    ----------
    plan : Plan
    layers : tuple of LayerChange
    macs, macs_before, params, params_before : int
        Of the network; parameters are all its floating-point constants.
    bytes : int
        Size of model.onnx.
    output_error : float
        Largest difference of the outputs from those of the dense network, over the largest output, on standard normal inputs. It says
        little of the accuracy: measure that on real data (``tenfold bench --data``).
    """

    plan: Plan
    layers: tuple[LayerChange, ...]
    macs: int
    macs_before: int
    params: int
    params_before: int
    bytes: int
    output_error: float

    def to_json(self) -> str:
        """The report, without the plan, which is a file of its own."""
        totals = {name: getattr(self, name) for name in ("macs", "macs_before", "params", "params_before", "bytes", "output_error")}
        head = {"model": self.plan.model, "target": self.plan.target, **totals}
        return json.dumps({**head, "layers": [asdict(layer) for layer in self.layers]}, indent=2) + "\n"


def compress(
    model: Any,
    output: str | os.PathLike[str],
    *,
    plan: Plan | str | os.PathLike[str] | None = None,
    method: str = "auto",
    energy: float = ENERGY,
    target: Any = "host",
    example_inputs: Any = None,
    input_shapes: dict[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
) -> Compression:
    """Factor the layers of a network, and write it as ONNX.

    Parameters
    ----------
    model, example_inputs, input_shapes
        As of `compile`.
    output : path
        The folder for ``model.onnx``, ``plan.json`` and ``report.json``.
    plan : Plan or path, optional
        What to do. Without one, every layer is factored with `method` to the ranks that keep `energy`, if that saves MACs.
    method : str
        A name in ``METHODS``, or ``auto``: the one that needs the fewest MACs.
    energy : float
        In (0, 1]: the part of each weight's squared norm that is kept.
    target : str, Target or dict
        Its vector length is what ranks are rounded to.

    Returns
    -------
    Compression

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments, or a plan that does not fit the network.
    """
    import onnx

    from ..factorization.plan import Plan
    from ..frontends import load
    from ..frontends.onnx import onnxruntime_reference
    from ..passes.factorize_onnx import factorize_onnx
    from ..passes.inventory import inventory, weights
    from ..targets import resolve

    say = progress or (lambda step: None)
    require_compiler()
    device = resolve(target)
    plan = read_plan(plan)
    say("reading the network")
    network = load(model, example_inputs=example_inputs, input_shapes=input_shapes)
    layers, arrays = inventory(network.mod), weights(network.mod)
    say("factoring")
    if plan is None:
        plan = Plan.by_energy(layers, arrays, network.sha256, device.name, method, energy, device.rank_multiple)
    plan.check(layers, network.sha256)
    if not plan.layers:
        raise TenfoldError(f"{network.name}: no layer is factored: {_first_reason(plan)}")
    chains = plan.chains(layers, arrays)
    small = factorize_onnx(network.onnx, chains)
    with output_folder(output, (MODEL, PLAN, REPORT)) as folder:
        onnx.save(small, folder / MODEL)
        onnx.checker.check_model(folder / MODEL, full_check=True)
        say("comparing with the dense network")
        error = _output_error(onnxruntime_reference(small), network.reference, random_inputs(network.inputs))
        changes = tuple(_change(layer, chains.get(layer.name), arrays, plan) for layer in layers)
        done = Compression(
            plan=plan,
            layers=changes,
            macs=sum(change.macs for change in changes),
            macs_before=sum(change.macs_before for change in changes),
            params=count_params(small),
            params_before=count_params(network.onnx),
            bytes=(folder / MODEL).stat().st_size,
            output_error=error.relative,
        )
        plan.write(folder / PLAN)
        (folder / REPORT).write_text(done.to_json(), encoding="utf-8")
    return done


def _change(layer: Layer, chain: FactorChain | None, arrays: dict[str, np.ndarray], plan: Plan) -> LayerChange:
    if chain is None:
        reason = layer.reason or plan.refused.get(layer.name, "not in the plan")
        return LayerChange(layer.name, None, (), None, layer.macs, layer.macs, layer.params, layer.params, reason)
    choice = plan.layers[layer.name]
    weight = arrays[layer.name]
    return LayerChange(
        name=layer.name,
        method=choice.method,
        ranks=tuple(choice.ranks),
        error=chain.relative_error(weight),
        macs=layer.batch * chain.macs(*layer.input_size),
        macs_before=layer.macs,
        params=chain.params,
        params_before=layer.params,
        reason=None,
    )


def _output_error(ours: Any, theirs: Any, feeds: dict[str, np.ndarray]) -> Errors:
    errors, _ = verify(ours, theirs, [feeds])
    return errors


def _first_reason(plan: Plan) -> str:
    name, reason = next(iter(plan.refused.items()), ("", "the plan is empty"))
    return f"{name}: {reason}" if name else reason
