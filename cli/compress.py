"""`tenfold compress`: a network with factored layers, within a budget or by a recipe."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..support.errors import TenfoldError
from .answer import Answer
from .app import command
from .complete import method_names, mixed_names
from .options import Html, Keywords, Model, Silence, TargetOption, Threads
from .work import Work

if TYPE_CHECKING:
    from ..search.budget import Budget
    from ..search.finetuning.options import Finetuning
    from ..search.recipe import Recipe


@command
def compress(
    work: Work,
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.onnx, plan.json and report.json.", metavar="DIR")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images x (or an array for each input) to calibrate with; labels y for a budget.", metavar="D.npz"),
    ] = None,
    max_drop: Annotated[float | None, typer.Option("--max-drop", help="Accuracy that may be lost.", metavar="POINTS")] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="What accuracy is: a function of outputs and labels; the file is run.", metavar="FILE.py:FUNCTION"),
    ] = None,
    output_kind: Annotated[
        list[str] | None,
        typer.Option("--output-kind", help="How an output diverges: scores, values or classes; may be given again.", metavar="NAME=KIND"),
    ] = None,
    speedup: Annotated[float | None, typer.Option("--speedup", help="Times faster on the target.", metavar="X")] = None,
    latency: Annotated[float | None, typer.Option("--latency", help="Of one run on the target.", metavar="MS")] = None,
    file_size: Annotated[float | None, typer.Option("--size", help="Of model.onnx.", metavar="MB")] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="Write accuracy over milliseconds, MACs and bytes too.")] = False,
    plan: Annotated[Path | None, typer.Option("--plan", help="Do what this plan says.", metavar="PLAN.json")] = None,
    forms: Annotated[
        Path | None, typer.Option("--forms", help="Search among the forms of this plan alone, and layers as they are.", metavar="PLAN.json")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="The form; several to choose from, with a budget.", metavar="M,M", autocompletion=method_names),
    ] = None,
    energy: Annotated[float | None, typer.Option("--energy", help="Part of each weight's norm to keep; default: 0.9.", metavar="E")] = None,
    precision: Annotated[
        str,
        typer.Option("--precision", help="Of layers: float32; int8 where it can be; auto, what pays, layer by layer.", metavar="P",
                     autocompletion=mixed_names),
    ] = "float32",
    cache: Annotated[Path | None, typer.Option("--cache", help="Of measurements; default: ~/.cache/tenfold.", metavar="DIR")] = None,
    threads: Threads = None,
    target: TargetOption = "host",
    device: Annotated[
        str | None,
        typer.Option("--device", help="Time there: HOST:PORT (tenfold serve), tracker:HOST:PORT/KEY (any free one).", metavar="D"),
    ] = None,
    silence: Silence = None,
    tune: Annotated[bool, typer.Option("--tune", help="Tune the kernels of the last plans before one is chosen.")] = False,
    finetune: Annotated[
        int | None, typer.Option("--finetune", help="Train the factored network on: passes over the images.", metavar="EPOCHS")
    ] = None,
    finetune_data: Annotated[
        Path | None, typer.Option("--finetune-data", help="Images x and labels y to train on; default: of --data.", metavar="F.npz")
    ] = None,
    finetune_how: Annotated[
        str | None, typer.Option("--finetune-how", help="all weights, or cascade: layer by layer, those above.", metavar="HOW")
    ] = None,
    finetune_rate: Annotated[
        float | None, typer.Option("--finetune-rate", help="Highest learning rate; default: 0.001.", metavar="R")
    ] = None,
    finetune_augment: Annotated[
        str | None, typer.Option("--finetune-augment", help="Change images at random: flip, shift, or both with a comma.", metavar="A")
    ] = None,
    distil: Annotated[bool, typer.Option("--distil", help="Learn the dense network's scores, not the labels.")] = False,
    html: Html = None,
    *,
    reading: Keywords,
) -> Answer:
    """Factor the layers of a network, within a budget or by energy, and write it as ONNX, with the plan and a report."""
    work.say("loading the compiler")
    from ..runner.report import size
    from ..search.budget import Budget
    from ..search.compress import compress as compress_network
    from ..search.result_files import MODEL
    from ..search.settings import Settings
    from ..search.store import cache_folder
    from ..search.tables import compression_line, compression_table, phases_table

    if html is not None:
        from ..reports.write import check_page

        check_page(html, output)
    how = _how({"max_drop": max_drop, "speedup": speedup, "latency": latency, "size": file_size}, plan, method, energy)
    methods = _methods(method) if isinstance(how, Budget) else None
    kinds = _kinds(output_kind or [])
    settings = Settings(
        methods=methods, cache=cache, threads=threads, silence=silence, tune=tune, pareto=pareto, metric=metric, output_kinds=kinds,
        finetuning=_finetuning(finetune, finetune_data, finetune_how, finetune_rate, finetune_augment, distil),
        precision=precision, forms=forms,
    )  # fmt: skip
    if isinstance(how, Budget) or settings.finetuning is not None:
        work.kept = f"everything measured so far is kept in {cache_folder(cache)}: run the same command again to go on from there"
    done = compress_network(
        model, output, how, data=data, settings=settings, device=device, target=target, progress=work.say, **reading
    )
    wrote = f"wrote {output}: {MODEL} ({size(done.after.bytes)}), {', '.join(name for name in done.files if name != MODEL)}"
    took = "" if done.search is None else f"; {done.search.seconds:.0f} s"
    pages = [] if html is None else [_page(output, html)]
    phases = [] if done.search is None else [phases_table(done.search)]
    return Answer(
        [compression_table(done), *phases, compression_line(done), wrote + took, *pages],
        {"output": str(output), "wrote": list(done.files), **done.to_dict()},
    )


def _page(output: Path, html: Path) -> str:
    from ..reports.write import report
    from ..runner.report import size

    return f"wrote {html} ({size(report(output, html))})"


def _how(bounds: dict[str, float | None], plan: Path | None, method: str | None, energy: float | None) -> Budget | Recipe | Path:
    """What the options ask for; TenfoldError where they ask for two things."""
    from ..search.budget import Budget
    from ..search.recipe import Recipe

    if any(bound is not None for bound in bounds.values()):
        given = [name for name, value in (("--plan", plan), ("--energy", energy)) if value is not None]
        if given:
            raise TenfoldError(f"give either a budget or {given[0]}: a budget chooses the ranks of every layer by itself")
        return Budget(**bounds)
    if plan is None:
        usual = Recipe()
        return Recipe(usual.method if method is None else method, usual.energy if energy is None else energy)
    if method is not None or energy is not None:
        raise TenfoldError("give either --plan or --method and --energy: a plan holds the method and ranks of every layer")
    return plan


def _finetuning(
    epochs: int | None, data: Path | None, how: str | None, rate: float | None, augment: str | None, distil: bool
) -> Finetuning | None:
    """What the options of fine-tuning ask for; TenfoldError for those that have no use without it."""
    from ..search.finetuning.options import Finetuning

    names = ("--finetune-data", data), ("--finetune-how", how), ("--finetune-rate", rate), ("--finetune-augment", augment)
    if epochs is None:
        if given := [name for name, value in (*names, ("--distil", distil or None)) if value is not None]:
            raise TenfoldError(f"{given[0]} says how --finetune trains: give --finetune EPOCHS too")
        return None
    usual = Finetuning(epochs)
    changes = () if augment is None else tuple(name.strip() for name in augment.split(","))
    return Finetuning(epochs, data, usual.how if how is None else how, distil, usual.rate if rate is None else rate, changes)


def _kinds(given: list[str]) -> dict[str, str]:
    """``["boxes=values"]`` -> ``{"boxes": "values"}``. A name may have a ``=`` in it, a kind has none."""
    found: dict[str, str] = {}
    for each in given:
        name, _, kind = each.rpartition("=")
        if not name:
            raise TenfoldError(f"--output-kind {each!r}: give NAME=KIND, an output and scores, values or classes")
        if found.get(name, kind) != kind:
            raise TenfoldError(f"--output-kind {each}: {name!r} is {found[name]} too: give one kind for an output")
        found[name] = kind
    return found


def _methods(names: str | None) -> tuple[str, ...] | None:
    """``"svd,cp"`` -> ``("svd", "cp")``."""
    return None if names is None or names == "auto" else tuple(names.split(","))
