"""The `tenfold` command. Everything heavy is imported inside the commands, so that `--help` is instant."""
from __future__ import annotations

import contextlib
import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from . import interrupts
from .errors import TenfoldError, VerificationError

UsageError = typer.BadParameter.__mro__[1]  # of the parser of options, which Typer does not export: an unknown option, a bad value
MISTAKE, DIFFERS = 2, 1

app = typer.Typer(
    help="Factor a trained convolutional network, compile it with Apache TVM, and prove on the device itself what was gained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Argument(help="A network: .onnx, or .pt2 (torch.export).", metavar="MODEL")]
TargetOption = Annotated[str, typer.Option("--target", help="A preset's name, host, or a TVM target as JSON.", metavar="T")]
InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", help="Fix the size of a dynamic input; may be given several times.", metavar="NAME=1,3,224,224"),
]
Batch = Annotated[int | None, typer.Option("--batch", help="The first size of inputs that leave it open; default: 1.", metavar="N", min=1)]
Outputs = Annotated[
    list[str] | None,
    typer.Option("--outputs", help="Cut the network after this value; may be given several times.", metavar="NAME"),
]
Trust = Annotated[bool, typer.Option("--trust", help="Read files that can run code when they are read (pickles in a .pt2).")]
Threads = Annotated[int | None, typer.Option("--threads", help="Default: the physical cores.", metavar="N", min=1)]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result to this file too.", metavar="FILE")]


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command; a mistake becomes one line and an exit code, an interrupt just the exit code."""

    @functools.wraps(function)
    def run(*args: Any, **keywords: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                function(*args, **keywords)
        except TenfoldError as error:
            print(f"tenfold: {' '.join(str(error).split())}", file=sys.stderr)
            raise typer.Exit(DIFFERS if isinstance(error, VerificationError) else MISTAKE) from None
        except KeyboardInterrupt:
            raise typer.Exit(interrupts.exit_code()) from None
        except Exception as error:
            if not interrupts.disguised(error):
                raise
            raise typer.Exit(interrupts.exit_code()) from None

    return app.command()(run)


@_command
def inspect(
    model: Model,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
    json: JsonFile = None,
) -> None:
    """List every convolution and dense layer: geometry, MACs, parameters, and which factored forms apply."""
    from .runner import inspect as work
    from .runner.folder import write_text
    from .runner.report import console, inspection_table

    with _progress() as say:
        say("reading the network")
        result = work.inspect(model, **_reading(input_shape, batch, outputs, trust))
    console().print(inspection_table(result))
    if json is not None:
        write_text(json, result.to_json())


@_command
def compress(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.onnx, plan.json and report.json.", metavar="DIR")],
    data: Annotated[Path | None, typer.Option("--data", help="Images x to calibrate with; labels y for a budget.", metavar="D.npz")] = None,
    max_drop: Annotated[float | None, typer.Option("--max-drop", help="Accuracy that may be lost.", metavar="POINTS")] = None,
    speedup: Annotated[float | None, typer.Option("--speedup", help="Times faster on the target.", metavar="X")] = None,
    latency: Annotated[float | None, typer.Option("--latency", help="Of one run on the target.", metavar="MS")] = None,
    file_size: Annotated[float | None, typer.Option("--size", help="Of model.onnx.", metavar="MB")] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="Write accuracy over milliseconds, MACs and bytes too.")] = False,
    plan: Annotated[Path | None, typer.Option("--plan", help="Do what this plan says.", metavar="PLAN.json")] = None,
    method: Annotated[str | None, typer.Option("--method", help="The form; several to choose from, with a budget.", metavar="M,M")] = None,
    energy: Annotated[float | None, typer.Option("--energy", help="Part of each weight's norm to keep; default: 0.9.", metavar="E")] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Of measurements; default: ~/.cache/tenfold.", metavar="DIR")] = None,
    threads: Threads = None,
    target: TargetOption = "host",
    device: Annotated[str | None, typer.Option("--device", help="Time there, where tenfold serve runs.", metavar="HOST:PORT")] = None,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> None:
    """Factor the layers of a network, within a budget or by energy, and write it as ONNX, with the plan and a report."""
    from .runner.report import console
    from .search import command

    bounds = {"max_drop": max_drop, "speedup": speedup, "latency": latency, "size": file_size}
    recipe = {"plan": plan, "method": method, "energy": energy}
    reading = _reading(input_shape, batch, outputs, trust)
    with _progress() as say:
        if any(bound is not None for bound in bounds.values()):
            search = {"target": target, "threads": threads, "device": device, "cache": cache, "pareto": pareto}
            lines = command.by_budget(model, output, data, bounds, recipe, search, say, **reading)
        else:
            if device is not None:
                raise TenfoldError(f"--device times candidates for a budget: give one too ({', '.join(command.OPTIONS.values())})")
            lines = command.by_recipe(model, output, data, recipe, pareto, say, target=target, **reading)
    out = console()
    for line in lines:
        out.print(line, soft_wrap=isinstance(line, str))


@_command
def compile(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.so, weights.bin and manifest.json.", metavar="DIR")],
    target: TargetOption = "host",
    threads: Threads = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Factor the layers that this plan names.", metavar="PLAN.json")] = None,
    tolerance: Annotated[float | None, typer.Option("--tolerance", help="Largest error that passes.", metavar="T")] = None,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> None:
    """Compile a network to a shared library and its weights, and verify it against an independent engine."""
    from .runner import compile as work
    from .runner.report import console, count, size

    begin = time.perf_counter()
    with _progress() as say:
        artifact = work.compile(
            model, target, output, plan=plan, threads=threads, tolerance=tolerance, progress=say,
            **_reading(input_shape, batch, outputs, trust),
        )
    manifest, out = artifact.manifest, console()
    check = manifest.verification
    tvm = " ".join(f"{key}={value}" for key, value in manifest.target["tvm"].items())
    out.print(f"target    {manifest.target['name']} ({tvm})")
    out.print(f"threads   {manifest.threads}")
    out.print(f"cost      {count(manifest.macs)} MACs, {count(manifest.params)} parameters")
    out.print(
        f"verified  against {check['reference']} on {check['inputs']} inputs: largest error {check['max_abs_error']:.1e},"
        f" {check['max_rel_error']:.1e} of the largest output (tolerance {check['tolerance']:.1e}: {check['tolerance_reason']})"
    )
    for note in check["notes"]:
        out.print(f"          {note}", markup=False)
    parts = ", ".join(f"{size(number)} of {part}" for part, number in manifest.memory.items() if part != "planned")
    out.print(f"memory    {size(manifest.memory['planned'])}: {parts}")
    out.print(f"wrote     {output} ({size(manifest.bytes)}) in {time.perf_counter() - begin:.1f} s")


@_command
def run(
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.", metavar="DIR")],
    inputs: Annotated[Path, typer.Option("--input", help="The one input as .npy, or all by name as .npz.", metavar="X.npy|X.npz")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the outputs by name.", metavar="Y.npz")] = None,
    threads: Threads = None,
) -> None:
    """Run a compiled network on arrays of a file."""
    import numpy as np

    from .runner.artifact import load
    from .runner.data import read_arrays
    from .runner.folder import whole_file
    from .runner.report import console

    feeds = read_arrays(inputs)
    results = load(artifact, threads).run(feeds)
    out = console()
    for name, value in results.items():
        out.print(f"{name}: {value.dtype}{list(value.shape)}, {_summary(value)}")
    if output is not None:
        if output.suffix != ".npz":
            raise TenfoldError(f"{output}: the outputs are written as .npz: give a name that ends in it")
        with whole_file(output) as temporary, open(temporary, "wb") as file:
            np.savez(file, **results)
        out.print(f"wrote {output}")


@_command
def serve(
    host: Annotated[str, typer.Option("--host", help="Listen on this address; whoever reaches it can run any code here.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free.", min=0, max=65535)] = 9190,
) -> None:
    """Let another machine time networks on this one (compress --device), until Ctrl-C."""
    from .runner.serve import serve as work

    work(host, port, lambda line: print(line, flush=True))


@_command
def bench(
    what: Annotated[list[str], typer.Argument(help="Model files and artifact folders.", metavar="WHAT...")],
    against: Annotated[str, typer.Option("--against", help="Some of onnxruntime,openvino,torch,torch-compile.", metavar="ENGINES")] = "",
    data: Annotated[Path | None, typer.Option("--data", help="Images x (preprocessed), labels y.", metavar="D.npz")] = None,
    runs: Annotated[int, typer.Option("--runs", help="Timed runs of each row.", metavar="N", min=1)] = 50,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time of each network in Tenfold goes.")] = False,
    threads: Threads = None,
    json: JsonFile = None,
    target: TargetOption = "host",
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> None:
    """Compare networks and engines side by side: milliseconds, memory, accuracy and error."""
    from .runner import compare as work
    from .runner.folder import write_text
    from .runner.profile_report import profile_table
    from .runner.report import comparison_table, console

    engines = [name.strip() for name in against.split(",") if name.strip()]
    reading = _reading(input_shape, batch, outputs, trust)
    with _progress() as say:
        result = work.compare(
            what, against=engines, data=data, runs=runs, threads=threads, target=target, profile=profile, progress=say, **reading
        )
    out = console()
    out.print(comparison_table(result))
    for row in result.rows:
        if row.profile is not None:
            out.print(profile_table(row.profile, row.model))
    for model, engine, reason in result.skipped:
        print(f"tenfold: no row for {model} in {engine}: {reason}", file=sys.stderr)
    if json is not None:
        write_text(json, result.to_json())


@_command
def plot(
    kind: Annotated[str, typer.Argument(help="spectra, filters or parameters.", metavar="KIND")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write.", metavar="FILE.png|FILE.svg")],
    model: Annotated[str | None, typer.Argument(help="A network; not for parameters.", metavar="MODEL")] = None,
    colors: Annotated[int | None, typer.Option("--colors", help="Of the monochromatic form; default: about 6.", metavar="C", min=1)] = None,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> None:
    """Draw singular value spectra, first-layer filters in RGB space, or parameters over the ratio of channels."""
    from .plots.command import plot as work
    from .runner.report import console

    with _progress() as say:
        say("drawing")
        work(kind, model, output, colors, **_reading(input_shape, batch, outputs, trust))
    console().print(f"wrote {output}")


@_command
def targets(
    name: Annotated[str | None, typer.Argument(help="A preset's name, host, or a TVM target as JSON.", metavar="NAME")] = None,
) -> None:
    """List the devices to compile for, or describe one."""
    from .runner.report import console, target_lines, targets_table
    from .targets import cpu, presets, resolve

    out = console()
    if name is None:
        out.print(targets_table(presets(), cpu.cpu_flags()))
        out.print(f"host: this machine, {cpu.cpu_model()}, {cpu.physical_cores()} physical cores; tenfold targets host tells more")
    else:
        for key, value in target_lines(resolve(name)):
            out.print(f"{key:<24}{value}", soft_wrap=True)


def _summary(value: Any) -> str:
    if value.size and value.dtype.kind in "fiu":
        return f"from {value.min():.6g} to {value.max():.6g}, largest at {value.argmax()}"
    return f"{value.size} values"


def _reading(input_shape: list[str] | None, batch: int | None, outputs: list[str] | None, trust: bool) -> dict[str, Any]:
    """The options of reading a model as keywords of the API."""
    return {"input_shapes": _shapes(input_shape), "batch": batch, "outputs": tuple(outputs) if outputs else None, "trust": trust}


def _shapes(options: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """``["x=1,3,224,224"]`` -> ``{"x": (1, 3, 224, 224)}``."""
    shapes = {}
    for option in options or ():
        name, _, sizes = option.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shapes[name] = ()
        if not name or not shapes[name] or min(shapes[name]) < 1:
            raise TenfoldError(f"--input-shape {option}: write it as NAME=1,3,224,224, all sizes 1 or more")
    return shapes or None


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is being done, on terminals only."""
    from rich.console import Console

    with Console(stderr=True, markup=False).status("") as status:
        yield lambda step: status.update(step)


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    print(f"tenfold: warning: {' '.join(str(message).split())}", file=sys.stderr)


def main() -> None:
    """The console script."""
    interrupts.listen()
    try:
        code = app(prog_name="tenfold", standalone_mode=False)
    except UsageError as error:
        if len(sys.argv) > 1:
            command = error.ctx.command_path if error.ctx else "tenfold"
            print(f"tenfold: {' '.join(error.format_message().split())} (see {command} --help)", file=sys.stderr)
        code = MISTAKE
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
