"""After the choice: layer by layer, chains are made to answer as the dense network does, on images without labels.

`bias`      the mean of every output channel is restored
`moments`   its mean and deviation are, which is what re-estimating the batch norm behind the layer would do; the frontends fold
            every batch norm into the layer before it, or into constants
`response`  all stages are fitted to what the dense layer answers, by alternating least squares; then the last one and the bias to what
            a ReLU behind the layer, and a max-pooling behind that, let through (`factorization.solvers.last_stage_fit`)
`fisher`    likewise, and where the ranks leave no room for all that a layer answers, the stages before the last keep what the network's
            answer depends on, by the Fisher information of the layer's output (`frontends.reference.fisher`, which needs PyTorch)

Each layer is measured in the network as factored and corrected before it, so that it sees, and makes up for, the errors that reach it.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from math import prod

import numpy as np
import onnx

from ...factorization import FactorChain, Layer
from ...factorization.moments import Moments
from ...factorization.plan_json import CORRECTIONS
from ...factorization.solvers.chain_als import chain_als_towards
from ...factorization.solvers.kronecker import roots
from ...factorization.solvers.last_stage_fit import LastStageSamples, fit_last_stage, stage_output
from ...factorization.solvers.objective import Moment
from ...factorization.solvers.stage_view import ChainView
from ...frontends import Network
from ...frontends.reference.free_batch import free_batch
from ...passes.factor_chains import push_permutations
from ...support.errors import TenfoldError
from ...support.input_set import Images, InputSet
from ...support.progress import Progress, reporter
from .kept_corrections import KeptCorrections
from .layer_sites import LayerSite, answers
from .moments import MAX_WIDTH, evenly_spaced
from .prefix_values import PrefixValues

MAX_IMAGES = 4096  # of those given, evenly spaced
FISHER_IMAGES = 2048  # of these that gradients are taken of
SMOOTHING = 1e-3  # part of the mean variance that every direction of a layer's input is given: images are fewer than dimensions at times
MAX_GAIN = 2.0  # of a channel's deviation: what shrank more was lost, not scaled


def correct(
    network: Network,
    layers: Sequence[Layer],
    chains: dict[str, FactorChain],
    images: Images,
    kind: str,
    *,
    kept: KeptCorrections | None = None,
    fixed: Collection[str] = (),
    progress: Progress | None = None,
) -> dict[str, FactorChain]:
    """Correct factor chains, in the order of the network.

    Parameters
    ----------
    network
        Dense.
    layers
        Of the network, in order.
    chains
        By layer, without the layers' own biases, as `Plan.chains` gives them.
    images
        (N, ...), preprocessed; no labels are needed. At most 4096 of them are used.
    kind
        One of ``CORRECTIONS``.
    kept
        Of plans of this network that were corrected with these images before; what is found now is added.
    fixed
        Layers whose chains stay as they are.
    progress
        Told before each layer.

    Returns
    -------
    dict of str to FactorChain
        Of the same geometry.

    Raises
    ------
    TenfoldError
        An unknown kind, one that needs PyTorch without it, `fisher` of a network of several inputs, images that do not fit the network, or
        a chain that does not fit its layer.
    """
    if kind not in CORRECTIONS:
        raise TenfoldError(f"unknown correction {kind!r}: choose {', '.join(CORRECTIONS)}")
    if kind == "none" or not chains:
        return dict(chains)
    say, kept = reporter(progress), KeptCorrections() if kept is None else kept
    images = images[evenly_spaced(len(images), MAX_IMAGES)]
    model, batch = free_batch(network.onnx, images), network.inputs[0].shape[0]
    sites = [LayerSite.of(model, layer, len(images), batch) for layer in layers if layer.name in chains]
    unknown = [site for site in sites if site.layer.name not in {*kept.weightings, *fixed}]
    if kind == "fisher" and unknown:
        kept.weightings |= _weightings(model, unknown, images, say)
    begun = [(site.layer.name, chains[site.layer.name]) for site in sites]
    known = kept.prefix(kind, begun)
    done = {name: chain for (name, _), chain in zip(begun, known, strict=False)}
    if len(known) == len(sites):
        return {name: done[name] for name in chains}
    before = PrefixValues(model, images)
    fresh = answers(model, [site for site in sites[len(known):] if site.layer.name not in {*kept.answers, *fixed}], images)
    for number, site in enumerate(sites):
        name = site.layer.name
        before.advance(name, done)  # also where the chain is known: the values before a layer come about in the same way every time
        if number < len(known):
            continue
        if name in fixed:
            done[name] = chains[name]
            kept.keep(kind, begun[: number + 1], done[name])
            continue
        say(f"correcting {name}", number, len(sites))
        if name in kept.answers:
            wanted = kept.answers[name]
        else:
            _, wanted = next(fresh)
            kept.keep_answers(name, wanted)
        weighting = kept.weightings[name] if kind == "fisher" else None
        done[name] = _corrected(site, chains[name], wanted, weighting, kind, before, {key: done[key] for key, _ in begun[:number]})
        kept.keep(kind, begun[: number + 1], done[name])
    return {name: done[name] for name in chains}


def _corrected(
    site: LayerSite, chain: FactorChain, wanted: np.ndarray, weighting: np.ndarray | None, kind: str, before: PrefixValues,
    done: Mapping[str, FactorChain],
) -> FactorChain:
    """The chain of one layer, `done` those before it."""
    chain = push_permutations(chain)
    order = slice(None) if chain.permutation is None else np.argsort(chain.permutation)
    wanted, own = wanted[:, order], site.bias[order]
    solved = kind in ("response", "fisher")
    if solved and len(chain.stages) > 1 and ChainView(chain).width == _width(site) <= MAX_WIDTH:
        weighting = None if weighting is None else weighting[order][:, order]
        chain = _refit(chain, _width(site), site.inputs(before, done), wanted, weighting)
    data = LastStageSamples(site.features(before, done, chain), wanted, site.pool.window if site.pool else 1)
    weight, bias = _respond(chain, own, data, site.rectified) if solved else _restore(chain, data, kind == "moments")
    last = replace(chain.stages[-1], weight=weight, bias=bias - own)
    return replace(chain, stages=(*chain.stages[:-1], last))


def _width(site: LayerSite) -> int:
    return prod(site.layer.weight_shape[1:])


def _weightings(model: onnx.ModelProto, sites: Sequence[LayerSite], images: Images, say: Progress) -> dict[str, np.ndarray]:
    """For each layer the root of the Fisher information of its output, of about 1 on the average; of one that nothing depends on, 1."""
    if find_spec("torch") is None:
        raise TenfoldError("the correction 'fisher' needs PyTorch: pip install torch")
    if isinstance(images, InputSet):
        raise TenfoldError("the correction 'fisher' is for networks of one input: choose 'response'")
    from ...frontends.reference.fisher import output_fisher  # torch is an extra

    some = images[evenly_spaced(len(images), FISHER_IMAGES)]
    say(f"finding what the network's answer depends on, by the gradients of {len(some)} images")
    found = output_fisher(model, {site.layer.name: site.output for site in sites}, some)
    scales = {name: np.trace(fisher) / len(fisher) for name, fisher in found.items()}
    return {name: roots(fisher / scales[name])[0] if scales[name] > 0 else np.eye(len(fisher)) for name, fisher in found.items()}


def _refit(
    chain: FactorChain, width: int, inputs: Iterable[np.ndarray], wanted: np.ndarray, weighting: np.ndarray | None
) -> FactorChain:
    """All stages, so that the chain follows what is wanted of it as its input varies."""
    moments, start = Moments(width, wanted.shape[1]), 0
    for rows in inputs:
        moments.add(rows, wanted[start : start + len(rows)])
        start += len(rows)
    goal = Moment(moments.covariance(), ChainView(chain).kernel(), moments.cross_covariance(), moments.variance(), SMOOTHING)
    return chain_als_towards(chain, goal, weighting=weighting)


def _respond(chain: FactorChain, own: np.ndarray, data: LastStageSamples, rectified: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weight and whole bias of the last stage, solved again."""
    last = chain.stages[-1]
    return fit_last_stage(last.weight, own if last.bias is None else own + last.bias, last.groups, data, rectified)


def _restore(chain: FactorChain, data: LastStageSamples, deviation: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weight and whole bias of the last stage that restore the mean, and with ``deviation`` the deviation, of its channels."""
    last = chain.stages[-1]
    found = stage_output(last.weight, last.groups, data.features)
    gain = np.ones(last.out_channels)
    if deviation:
        before, after = data.targets.std(axis=0, dtype=np.float64), found.std(axis=0, dtype=np.float64)
        gain = np.clip(np.divide(before, after, out=gain, where=after > 0), 1 / MAX_GAIN, MAX_GAIN)
    bias = data.targets.mean(axis=0, dtype=np.float64) - gain * found.mean(axis=0, dtype=np.float64)
    return last.weight * gain[:, None, None, None], bias
