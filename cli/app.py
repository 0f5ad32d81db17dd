"""The application: options that all commands have, and how each is called."""
from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import typer

from ..support import interrupts
from ..support.command_line import carrying_out
from ..support.files.inputs import protect
from ..support.printable import one_line
from .answer import Answer, check_json
from .ending import MISTAKE, ending
from .options import READING, reading_keywords
from .work import Work

UsageError: Any = typer.BadParameter.__mro__[1]  # of the parser of options, which Typer does not export: an unknown option, a bad value

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only results and errors: no progress, no warnings.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Every step, what the tools below print, and tracebacks.")]
Json = Annotated[str | None, typer.Option("--json", help="Write the result as JSON too; - for standard output.", metavar="FILE|-")]
# Options that name what is read: no command writes over it.
INPUTS = ("model", "what", "artifact", "inputs", "data", "plan", "tune_log", "old", "new")
LOUDNESS = {"quiet": (Quiet, False), "verbose": (Verbose, False)}

app = typer.Typer(
    help="Factor a trained convolutional network, compile it with Apache TVM, and prove on the device itself what was gained.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"tenfold {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    context.obj = {"quiet": quiet, "verbose": verbose}


def group(name: str, about: str) -> typer.Typer:
    """Register commands that stand behind another word: ``tenfold NAME COMMAND``. They are registered by `command`."""
    within = typer.Typer(help=about, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
    app.add_typer(within, name=name)
    return within


def command(function: Callable[..., Answer], within: typer.Typer = app) -> Callable[..., None]:
    """Register a command: a function of its Work and its options that returns an Answer. It gets --json, -q and -v too.

    Where it has a parameter `reading`, it gets the options of reading a model too.
    """
    reads = "reading" in inspect.signature(function).parameters

    @functools.wraps(function)
    def run(context: typer.Context, json: str | None, quiet: bool, verbose: bool, **options: Any) -> None:
        work = _work(context, quiet, verbose)
        with ending(work), carrying_out(["tenfold", *sys.argv[1:]]), protect(*(options.get(name) for name in INPUTS)):
            check_json(json)
            with work.going_on():
                if reads:
                    options["reading"] = reading_keywords(**{name: options.pop(name) for name in READING})
                answer = function(work, **options)
            work.kept = "its work was done"
            answer.publish(json, work.quiet)
            if answer.code:
                raise typer.Exit(answer.code)

    _declare(run, function, {**(READING if reads else {}), "json": (Json, None), **LOUDNESS})
    return within.command()(run)


def service(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command that goes on until it is stopped, and speaks on standard output meanwhile. It gets -q and -v too."""

    @functools.wraps(function)
    def run(context: typer.Context, quiet: bool, verbose: bool, **options: Any) -> None:
        work = _work(context, quiet, verbose, captured=False)
        with ending(work), work.going_on():
            function(work, **options)

    _declare(run, function, LOUDNESS)
    return app.command()(run)


def _work(context: typer.Context, quiet: bool, verbose: bool, captured: bool = True) -> Work:
    """-q and -v may stand before the command or behind it."""
    return Work(quiet or context.obj["quiet"], verbose or context.obj["verbose"], captured)


def _declare(run: Callable[..., None], function: Callable[..., Any], more: Mapping[str, tuple[Any, Any]]) -> None:
    """Let `run` show Typer the options of `function`, without its Work and what is made of others, and some more."""
    hints = get_type_hints(function, include_extras=True)
    _, *own = inspect.signature(function).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("context", keyword, annotation=typer.Context)]
    parameters += [parameter.replace(kind=keyword, annotation=hints[parameter.name]) for parameter in own if parameter.name != "reading"]
    parameters += [inspect.Parameter(name, keyword, annotation=kind, default=default) for name, (kind, default) in more.items()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def main() -> None:
    """The console script."""
    interrupts.listen()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal has no letters for must not stop a command
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="tenfold", standalone_mode=False)
    except UsageError as error:
        if len(sys.argv) > 1:
            command = error.ctx.command_path if error.ctx else "tenfold"
            print(f"tenfold: {one_line(error.format_message())} (see {command} --help)", file=sys.stderr)
        code = MISTAKE
    sys.exit(code or 0)
