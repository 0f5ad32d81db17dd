"""A trained network -> the same network with factored layers, as ONNX, with the plan and a report of what was done."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..factorization import Plan
from ..runner.bench.disturbance import Watch
from ..runner.build import read_plan, require_compiler
from ..runner.check_reading import check_images, check_reading
from ..runner.data import Data, random_inputs
from ..runner.quantize.rewrite import check_quantizable
from ..runner.verify import verify
from ..runtime.arrays import read_arrays
from ..support.errors import TenfoldError
from ..support.files.folder import check_output, output_folder
from ..support.files.inputs import protect
from ..support.phases import Phases, recording
from ..support.progress import Progress, reporter
from ..targets.target import FLOAT32
from .budget import OPTIONS, Budget
from .calibration.evaluation import Judge, split
from .calibration.network_rewriter import NetworkRewriter
from .compression import Compression, figures_after, figures_before, layer_changes
from .find import find
from .finetuning.options import require_torch
from .made import disturbance, made_by
from .measures.choose import is_classifier
from .measures.metric import metric_of
from .measures.output_judge import OutputJudge
from .precision.forms import check_target
from .recipe import Recipe
from .result_files import CURVE, MODEL, PICTURES, PLAN, REPORT, RESULT, write_report
from .search import Search
from .search_report import search_report, with_search
from .settings import Settings
from .store import FINETUNED, cache_folder
from .timing.timer import Timer, open_timer

if TYPE_CHECKING:
    import onnx

    from ..factorization import FactorChain
    from ..frontends import Network
    from ..runner.devices.device import Device
    from ..targets import Target
    from .finetuning.tuned import Tuned
    from .finetuning.tuner import Tuner
    from .knapsack import Indices


def compress(
    model: Any,
    output: str | os.PathLike[str],
    how: Budget | Recipe | Plan | str | os.PathLike[str] | None = None,
    *,
    data: Any = None,
    settings: Settings | None = None,
    device: str | Device | Timer | None = None,
    target: str | Target | dict[str, Any] | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> Compression:
    """Factor the layers of a network, and write it as ONNX.

    Parameters
    ----------
    model : path, onnx.ModelProto, torch.export.ExportedProgram or torch.nn.Module
        As of `compile`.
    output : path
        The folder for ``model.onnx``, ``plan.json`` and ``report.json``. A result of `compress` that is there already is replaced,
        nothing else is.
    how : Budget, Recipe, Plan or path, optional
        A Budget: search for the best network within it. A Recipe: factor every layer alike. A Plan, or the path of one: do what it says.
        Default: ``Recipe()``.
    data : path, dict or ndarray, optional
        Images ``x``, preprocessed, and labels ``y``; of a network with several inputs an array for each, by its name. A Budget needs
        them: one part calibrates, the other verifies; without labels, agreement with the dense network stands in for accuracy. Networks
        that are no plain classifiers are held against the dense network, or against labels of any form by a metric (`Settings.metric`).
        With a Recipe the factored layers are corrected with them, labelled or not. A Plan that was made with data needs the same again.
    settings : Settings, optional
        Of the search for a Budget; of a Recipe and a Plan only `Settings.finetuning` and `Settings.cache` count.
    device : str, Device or Timer, optional
        Where the search times candidates: ``here``; ``HOST:PORT``, where ``tenfold serve`` runs; ``tracker:HOST:PORT/KEY``, any that is
        registered there; or what times modules for the caller (`search.timing.timer.Timer`). Default: this machine.
    target : str, Target or dict, optional
        A preset's name, ``host``, or a TVM target as dict or JSON. Its vector length is what ranks are rounded to, and what a search times
        is compiled for it. Default: the machine that candidates are timed on.
    progress : callable, optional
        Called with a few words when a step begins, and with what is done of it; see `support.progress.Progress`.
    **reading
        How to read the model: the attributes of `frontends.Reading`, by name.

    Returns
    -------
    Compression

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments, a plan that does not fit the network, or a budget that can't be met.
    VerificationError
        The network as it was read is not the one in the file: nothing is made of it.
    """
    from ..frontends import Reading
    from ..passes.simplify.network import load

    Reading.of("compress", reading)
    settings = settings or Settings()
    asked = _asked(how)
    _check_use(asked, settings, device, data)
    say = reporter(progress)
    require_compiler()
    metric = None if settings.metric is None else metric_of(settings.metric)
    learned = None if settings.finetuning is None else settings.finetuning.data
    inputs = model, how, settings.forms, data, metric.file if metric and metric.file else None, learned
    with protect(*inputs):
        check_output(output, RESULT)
    with recording() as phases, _chosen_target(asked, device, target, settings, say) as (chosen, timer):
        settings = replace(settings, forms=read_plan(settings.forms))
        given = read_arrays(data) if isinstance(data, (str, os.PathLike)) else data  # a wrong file is told before the network is read
        if isinstance(learned, (str, os.PathLike)):
            read_arrays(learned)
        if settings.precision != FLOAT32:
            check_target(chosen, settings.precision)
        say("reading the network")
        network = load(model, **reading)
        if settings.precision != FLOAT32:
            check_quantizable(network.name, network.onnx)
        images = None if data is None else Data.of(given, network.inputs, True, str(data) if given is not data else "data")
        if images is not None:
            check_images(images, network)
        say("comparing the network as it was read with the file")
        check_reading(network, images)
        if isinstance(asked, Budget):
            assert images is not None and timer is not None  # asked for above
            watch = Watch()
            search = Search(network, images, chosen, timer, settings, say, metric)
            done = _searched(search, asked, images, settings, say)
            disturbed = disturbance(timer, watch)
        else:
            disturbed = None
            done = _planned(network, asked, images, chosen, settings, say)
        say("comparing with the dense network")
        with protect(*inputs), output_folder(output, RESULT) as folder:
            written = _write(done, folder, asked, settings, phases, made_by(timer, disturbed))
        if done.tuner is not None:
            done.tuner.forget()
        return written


@dataclass(frozen=True)
class _Factored:
    """A plan that is carried out; with the search that found it, and its choice there; with what fine-tuning made of it."""

    rewriter: NetworkRewriter
    plan: Plan
    chains: dict[str, FactorChain]
    search: Search | None = None
    indices: Indices = ()
    tuned: Tuned | None = None
    tuner: Tuner | None = None


def _asked(how: Any) -> Budget | Recipe | Plan:
    if how is None:
        return Recipe()
    if isinstance(how, Budget | Recipe | Plan):
        return how
    if isinstance(how, str | os.PathLike):
        plan = read_plan(how)
        assert plan is not None
        return plan
    raise TenfoldError(f"compress takes a Budget, a Recipe, a Plan or the path of a plan, not {type(how).__name__}")


def _check_use(asked: Budget | Recipe | Plan, settings: Settings, device: str | Device | Timer | None, data: Any) -> None:
    """TenfoldError for what is given and has no use, and for what is missing."""
    if settings.finetuning is not None:
        require_torch()
        if data is None:
            raise TenfoldError("--finetune trains on the data, and verifies on a part of it: give --data D.npz with images x and labels y")
    if isinstance(asked, Budget):
        if data is None:
            raise TenfoldError("a budget needs data to calibrate with and to verify on: give --data D.npz with images x and labels y")
        if settings.pareto:
            from ..plots.canvas import require_matplotlib

            require_matplotlib()
        return
    budgets = ", ".join(OPTIONS.values())
    if device is not None or settings.silence is not None:
        raise TenfoldError(f"--device times candidates for a budget: give one too ({budgets})")
    if settings.tune:
        raise TenfoldError(f"--tune is for the last plans of a search: give a budget too ({budgets}); tenfold tune is for any network")
    if settings.pareto:
        raise TenfoldError(f"--pareto shows what a search found: give a budget too ({budgets})")
    if settings.precision != FLOAT32:
        raise TenfoldError(f"--precision says what a budget may choose: give one too ({budgets}); a plan has its own, tenfold quantize is"
                           " for any network")
    if settings.forms is not None:
        raise TenfoldError(f"--forms are what a search looks at: give a budget too ({budgets}), or --plan to do what the plan says")
    if settings.metric is not None or settings.output_kinds:
        option = "--metric" if settings.metric is not None else "--output-kind"
        raise TenfoldError(f"{option} says what a budget is measured in: give one too ({budgets})")


@contextlib.contextmanager
def _chosen_target(
    asked: Budget | Recipe | Plan, device: str | Device | Timer | None, target: Any, settings: Settings, say: Progress
) -> Iterator[tuple[Target, Timer | None]]:
    from ..targets import resolve

    if isinstance(asked, Budget):
        with open_timer(device, target, settings, say) as found:
            yield found
    else:
        yield resolve("host" if target is None else target), None


def _searched(search: Search, budget: Budget, images: Data, settings: Settings, say: Progress) -> _Factored:
    if settings.finetuning is None:
        indices = find(search, budget)
        return _Factored(search.rewriter, search.plan(indices), search.chains(indices), search, indices)
    from .finetuning.alternate import find_tuned

    tuner = _tuner(search.rewriter, images, search.judge, settings, say)
    indices, tuned = find_tuned(search, budget, lambda choice: tuner.tune(search.plan(choice), search.chains(choice)))
    return _Factored(search.rewriter, search.plan(indices), search.chains(indices), search, indices, tuned, tuner)


def _tuner(rewriter: NetworkRewriter, images: Data, judge: Judge | OutputJudge | None, settings: Settings, say: Progress) -> Tuner:
    """What fine-tunes plans of a network; `judge`: by the images held out, where there is one already."""
    from .finetuning.images import training_images
    from .finetuning.tuner import Tuner

    network, options = rewriter.network, settings.finetuning
    assert options is not None
    if not is_classifier(network) or isinstance(judge, OutputJudge):
        raise TenfoldError(f"{network.name}: --finetune trains classifiers, by labels or scores: this is none, or judged otherwise")
    calibrating, held_out = split(images)
    judge = Judge(network, held_out) if judge is None else judge
    folder = cache_folder(settings.cache) / FINETUNED
    return Tuner(rewriter, training_images(network, options.data, calibrating, held_out), judge, options, folder, say)


def _planned(
    network: Network, asked: Recipe | Plan, images: Data | None, target: Target, settings: Settings, say: Progress
) -> _Factored:
    """What needs no search."""
    if isinstance(asked, Recipe):
        rewriter = NetworkRewriter.of(network) if images is None else NetworkRewriter.correcting(network, images, say)
        how = (network.sha256, target.name, asked.method, asked.energy, target.rank_multiple)
        plan = Plan.by_energy(rewriter.layers, rewriter.weights, *how, say)
        if images is not None:
            plan = replace(plan, data=rewriter.calibrated.sha256, correction=rewriter.correction())
    else:
        plan, rewriter = asked, NetworkRewriter.for_plan(network, asked, images, say)
    plan.check(rewriter.layers, network.sha256)
    if settings.finetuning is not None and plan.precision:
        raise TenfoldError("the plan has layers in int8, and --finetune trains in float32: leave it out, or the plan's field 'precision'")
    if not plan.layers and not plan.precision:
        raise TenfoldError(f"{network.name}: no layer is factored: {_first_reason(plan)}")
    chains = rewriter.chains(plan, say) if plan.layers else {}
    if settings.finetuning is None or images is None:
        return _Factored(rewriter, plan, chains)
    tuner = _tuner(rewriter, images, None, settings, say)
    return _Factored(rewriter, plan, chains, tuned=tuner.tune(plan, chains), tuner=tuner)


def _write(
    factored: _Factored, folder: Path, asked: Budget | Recipe | Plan, settings: Settings, phases: Phases, made: dict[str, Any]
) -> Compression:
    """Write the result's files into a folder; `phases`: of the search, if there was one; `made`: as of `write_report`."""
    rewriter, plan, search = factored.rewriter, factored.plan, factored.search
    network = rewriter.network
    small = rewriter.emitted(plan, factored.chains) if factored.tuned is None else factored.tuned.model
    plain = rewriter.in_float32(plan, factored.chains) if plan.precision else small  # of the same MACs and parameters
    changes, size = layer_changes(rewriter, plan, factored.chains), _write_model(small, folder / MODEL)
    done = Compression(
        plan=plan,
        layers=changes,
        before=figures_before(rewriter),
        after=figures_after(network, changes, plain, size),
        output_error=_output_error(small, network),
        reading=check_reading(network).to_dict(),
        files=(MODEL, PLAN, REPORT),
        finetuning=factored.tuned,
    )
    plan.write(folder / PLAN)
    if search is not None and isinstance(asked, Budget):
        found = search_report(search, asked, factored.indices)
        done = with_search(done, search, factored.indices, found)
        if settings.pareto:
            from .pareto import write_curve

            write_curve(search, folder)
            done = replace(done, files=(*done.files, CURVE, *PICTURES))
        done = replace(done, search=replace(found, seconds=search.seconds, phases=phases.seconds))
    write_report(folder, done.to_json(), made)
    return done


def _write_model(model: onnx.ModelProto, path: Path) -> int:
    """Write a network and check it; returns the bytes of the file."""
    import onnx

    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)
    return path.stat().st_size


def _output_error(small: onnx.ModelProto, network: Network) -> float:
    from ..frontends.reference import Reference

    errors, _ = verify(Reference.of_onnx(small), network.reference, [random_inputs(network.inputs)])
    return errors.relative


def _first_reason(plan: Plan) -> str:
    name, reason = next(iter(plan.refused.items()), ("", "the plan is empty"))
    return f"{name}: {reason}" if name else reason
