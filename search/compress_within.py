"""A trained network, data and a budget -> a folder with the network that fits, its plan, and a report of the search."""
from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plots.canvas import require_matplotlib, save
from ..plots.pareto import draw
from ..runner.build import require_compiler, with_threads
from ..runner.check_reading import check_reading
from ..runner.data import Data
from ..runner.devices.wire import SILENCE
from ..runner.network_facts import count_params, total_macs
from ..support.errors import TenfoldError
from ..support.files.folder import check_output, output_folder
from ..support.files.inputs import protect
from ..support.progress import Progress, reporter
from .budget import Budget
from .calibration.evaluation import check
from .compress import write_model
from .outcome import Figures, LayerOutcome, Outcome
from .pareto import curve, to_json
from .result_files import CURVE, MODEL, PICTURES, PLAN, RESULT, write_report
from .search import Search, Settings

if TYPE_CHECKING:
    import onnx

    from .timing.network_timing import Indices



def settings_for(
    target: Any, threads: int | None = None, device: str | None = None, silence: float | None = None, **options: Any
) -> Settings:
    """Settings of a search.

    Parameters
    ----------
    target
        As of `compile`; ``host`` means the device, where there is one.
    threads : int, optional
        Default: the target's cores.
    device : str, optional
        Where candidates are timed: the address of ``tenfold serve``, ``HOST:PORT``. Default: here.
    silence : float, optional
        Seconds without a sign of life of the device after which it is given up. Default: 60.
    **options
        Further fields of Settings.

    Raises
    ------
    TenfoldError
        There is no such target, its code does not run where candidates are timed, or the device does not answer.
    """
    from ..codegen.library import support_objects
    from ..runner.devices.session import Session
    from ..targets import resolve
    from .timing.device import Host, Remote

    known = {field.name for field in fields(Settings)} - {"target", "device"}
    for name in options:
        if name not in known:
            raise TypeError(f"settings_for() got an unexpected keyword argument {name!r}")
    require_compiler()
    if silence is not None and device is None:
        raise TenfoldError("--silence is a limit for a device: give --device HOST:PORT too")
    session = None if device is None else Session(device, SILENCE if silence is None else silence)
    chosen = with_threads(session.target if session and target == "host" else resolve(target), threads)
    support_objects(chosen)  # a C++ compiler that is missing or fails is told now, not after an hour
    return Settings(chosen, Remote(chosen, session) if session else Host(chosen), **options)


def compress_within(
    model: Any,
    output: str | os.PathLike[str],
    data: Any,
    budget: Budget,
    *,
    settings: Settings | None = None,
    pareto: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> Outcome:
    """Find the factored form of a network that a budget asks for, and write it as ONNX.

    Parameters
    ----------
    model
        As of `compile`; a classifier of one input.
    output : path
        The folder for ``model.onnx``, ``plan.json`` and ``report.json``.
    data : path, dict or ndarray
        Images ``x``, preprocessed, and labels ``y``. One half calibrates, the other verifies. Without labels, agreement with the dense
        network stands in for accuracy.
    budget : Budget
    settings : Settings, optional
        Target, device and caches; default: this machine.
    pareto : bool
        Write the curve of what accuracy costs too, as ``pareto.json``, ``pareto.png`` and ``pareto.svg`` (needs matplotlib).
    progress : callable, optional
        Called with a few words when a step begins, and with what is done of it; see `progress.Progress`.
    **reading
        As of `compile`.

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments, or a budget that can't be met.
    VerificationError
        The network as it was read is not the one in the file: nothing is made of it.
    """
    from ..frontends import Reading, load
    from ..passes.factorize_onnx import factorize_onnx

    Reading.of("compress_within", reading)
    if pareto:
        require_matplotlib()
    with protect(model, data):
        check_output(output, RESULT)
    settings = settings or settings_for("host")
    images = Data.of(data)
    say = reporter(progress)
    say("reading the network")
    network = load(model, **reading)
    check(network, images)
    say("comparing the network as it was read with the file")
    check_reading(network, images)
    search = Search(network, images, settings, say)
    chosen = search.find(budget)
    small = factorize_onnx(search.network.onnx, search.chains(chosen))
    with protect(model, data), output_folder(output, RESULT) as folder:
        outcome = _outcome(search, budget, chosen, small, write_model(small, folder / MODEL))
        outcome.plan.write(folder / PLAN)
        if pareto:
            _write_curve(search, folder, outcome.labels)
            outcome = replace(outcome, seconds=search.seconds)
        write_report(folder, outcome.to_json())
    return outcome


def _write_curve(search: Search, folder: Path, labels: bool) -> None:
    points = curve(search)
    (folder / CURVE).write_text(to_json(points, labels), encoding="utf-8")
    name = f"{Path(search.network.name).stem} on {search.settings.target.description or search.settings.target.name}"
    figure = draw([point.to_dict() for point in points], name, "accuracy" if labels else "agreement")
    save(figure, [folder / picture for picture in PICTURES])


def _outcome(search: Search, budget: Budget, chosen: Indices, small: onnx.ModelProto, size: int) -> Outcome:
    verdict, labels = search.verdict(chosen), search.judge.data.y is not None
    nothing = (0,) * len(chosen)
    ms_before, ms = search.costs.whole.ms, search.measured(chosen, ["ms"])["ms"]
    options = search.costs.chosen(chosen).values()
    layers = [survey.layer for survey in search.surveys]
    macs = sum(layer.macs if option is None else option.candidate.macs for layer, option in zip(layers, options, strict=True))
    network, whole = search.network, search.costs.whole
    before = Figures(total_macs(layers), count_params(network.onnx), ms_before, whole.bytes, _accuracy(search.verdict(nothing)))
    return Outcome(
        plan=search.plan(chosen),
        budget=budget,
        layers=_layers(search, chosen),
        before=before,
        after=Figures(macs, count_params(small), ms, size, _accuracy(verdict)),
        predicted_ms=search.timing.foreseen(chosen),
        verdict=verdict,
        expected=search.expected(chosen) if any(chosen) else None,
        images={"calibration": search.rewriter.calibration.images, "held_out": len(search.judge.data.x)},
        tried=len(search.verdicts),
        seconds=search.seconds,
        labels=labels,
        reading=network.reading.to_dict(),
    )


def _accuracy(verdict: Any) -> float:
    return verdict.agreement if verdict.accuracy is None else verdict.accuracy


def _layers(search: Search, chosen: Indices) -> tuple[LayerOutcome, ...]:
    options, reasons = search.costs.chosen(chosen), search.costs.reasons(chosen)
    outcomes = []
    for survey in search.surveys:
        name, option = survey.layer.name, options[survey.layer.name]
        dense = LayerOutcome(name, None, (), None, survey.dense_ms, survey.dense_ms, reasons.get(name), survey)
        if option is not None:
            choice = option.candidate.choice
            dense = replace(dense, method=choice.method, ranks=tuple(choice.ranks), error=option.error, ms=option.ms)
        outcomes.append(dense)
    return tuple(outcomes)
