"""A trained network -> the same network with factored layers, as ONNX, with the plan and a report of what was done."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runner.build import read_plan, require_compiler
from ..runner.check_reading import check_images, check_reading
from ..runner.data import Data, random_inputs
from ..runner.network_facts import count_params
from ..runner.verify import verify
from ..support.errors import TenfoldError
from ..support.files.folder import check_output, output_folder
from ..support.files.inputs import protect
from ..support.progress import Progress, reporter
from .calibration.network_rewriter import NetworkRewriter
from .result_files import MODEL, PLAN, RESULT, write_report

if TYPE_CHECKING:
    import onnx

    from ..factorization import FactorChain, Layer, Plan
    from ..frontends import Network

ENERGY = 0.9


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
    reading : dict
        How the dense network, as it was read, was compared with the file before anything was made of it: `Verified.to_dict`.
    """

    plan: Plan
    layers: tuple[LayerChange, ...]
    macs: int
    macs_before: int
    params: int
    params_before: int
    bytes: int
    output_error: float
    reading: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The report, without the plan, which is a file of its own."""
        totals = {name: getattr(self, name) for name in ("macs", "macs_before", "params", "params_before", "bytes", "output_error")}
        head = {"model": self.plan.model, "target": self.plan.target, **totals, "reading": self.reading}
        return {**head, "layers": [asdict(layer) for layer in self.layers]}

    def to_json(self) -> str:
        """`to_dict`, indented."""
        return json.dumps(self.to_dict(), indent=2) + "\n"


def compress(
    model: Any,
    output: str | os.PathLike[str],
    *,
    plan: Plan | str | os.PathLike[str] | None = None,
    method: str = "auto",
    energy: float = ENERGY,
    data: Any = None,
    target: Any = "host",
    progress: Progress | None = None,
    **reading: Any,
) -> Compression:
    """Factor the layers of a network, and write it as ONNX.

    Parameters
    ----------
    model
        As of `compile`.
    output : path
        The folder for ``model.onnx``, ``plan.json`` and ``report.json``.
    plan : Plan or path, optional
        What to do. Without one, every layer is factored with `method` to the ranks that keep `energy`, if that saves MACs.
    method : str
        A name in ``METHODS``, or ``auto``: the one that needs the fewest MACs.
    energy : float
        In (0, 1]: the part of each weight's squared norm that is kept.
    data : path, dict or ndarray, optional
        Images, labelled or not, to correct the factored layers with (`search.calibration.correction`). With a plan: those that it
        was made with.
    target : str, Target or dict
        Its vector length is what ranks are rounded to.
    progress : callable, optional
        As of `compile`.
    **reading
        As of `compile`.

    Returns
    -------
    Compression

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments, or a plan that does not fit the network.
    VerificationError
        The network as it was read is not the one in the file: nothing is made of it.
    """
    from ..factorization import Plan
    from ..frontends import Reading, load
    from ..passes.factorize_onnx import factorize_onnx
    from ..targets import resolve

    Reading.of("compress", reading)
    say = reporter(progress)
    require_compiler()
    device = resolve(target)
    given, plan = plan, read_plan(plan)
    with protect(model, given, data):
        check_output(output, RESULT)
    images = None if data is None else Data.of(data)
    say("reading the network")
    network = load(model, **reading)
    if images is not None:
        check_images(images, network)
    say("comparing the network as it was read with the file")
    check_reading(network, images)
    if plan is None:
        rewriter = NetworkRewriter.of(network) if images is None else NetworkRewriter.correcting(network, images, say)
        plan = Plan.by_energy(rewriter.layers, rewriter.weights, network.sha256, device.name, method, energy, device.rank_multiple, say)
        if images is not None:
            plan = replace(plan, data=rewriter.calibration.sha256, correction=rewriter.correction())
    else:
        rewriter = NetworkRewriter.for_plan(network, plan, images, say)
    plan.check(rewriter.layers, network.sha256)
    if not plan.layers:
        raise TenfoldError(f"{network.name}: no layer is factored: {_first_reason(plan)}")
    chains = rewriter.chains(plan, say)
    say("comparing with the dense network")
    small = factorize_onnx(network.onnx, chains)
    with protect(model, given, data), output_folder(output, RESULT) as folder:
        done = _compression(rewriter, plan, chains, small, write_model(small, folder / MODEL))
        plan.write(folder / PLAN)
        write_report(folder, done.to_json())
    return done


def write_model(model: onnx.ModelProto, path: Path) -> int:
    """Write a network and check it; returns the bytes of the file."""
    import onnx

    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)
    return path.stat().st_size


def layer_changes(rewriter: NetworkRewriter, plan: Plan, chains: Mapping[str, FactorChain]) -> tuple[LayerChange, ...]:
    """What a plan does with each layer."""
    return tuple(_change(layer, chains.get(layer.name), rewriter, plan) for layer in rewriter.layers)


def _compression(
    rewriter: NetworkRewriter, plan: Plan, chains: Mapping[str, FactorChain], small: onnx.ModelProto, size: int
) -> Compression:
    network, changes = rewriter.network, layer_changes(rewriter, plan, chains)
    return Compression(
        plan=plan,
        layers=changes,
        macs=sum(change.macs for change in changes),
        macs_before=sum(change.macs_before for change in changes),
        params=count_params(small),
        params_before=count_params(network.onnx),
        bytes=size,
        output_error=_output_error(small, network),
        reading=network.reading.to_dict(),
    )


def _change(layer: Layer, chain: FactorChain | None, rewriter: NetworkRewriter, plan: Plan) -> LayerChange:
    if chain is None:
        reason = layer.reason or plan.refused.get(layer.name, "not in the plan")
        return LayerChange(layer.name, None, (), None, layer.macs, layer.macs, layer.params, layer.params, reason)
    choice = plan.layers[layer.name]
    return LayerChange(
        name=layer.name,
        method=choice.method,
        ranks=tuple(choice.ranks),
        error=chain.relative_error(rewriter.weights[layer.name]),
        macs=layer.batch * chain.macs(*layer.input_size),
        macs_before=layer.macs,
        params=chain.params,
        params_before=layer.params,
        reason=None,
    )


def _output_error(small: onnx.ModelProto, network: Network) -> float:
    from ..frontends.reference import Reference

    errors, _ = verify(Reference.of_onnx(small), network.reference, [random_inputs(network.inputs)])
    return errors.relative


def _first_reason(plan: Plan) -> str:
    name, reason = next(iter(plan.refused.items()), ("", "the plan is empty"))
    return f"{name}: {reason}" if name else reason
