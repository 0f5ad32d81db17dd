"""The application: what every command has in common, from the exit code of a mistake to the progress of long work."""
from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import typer

from .. import interrupts
from ..errors import TenfoldError, VerificationError

UsageError = typer.BadParameter.__mro__[1]  # of the parser of options, which Typer does not export: an unknown option, a bad value
MISTAKE, DIFFERS = 2, 1

app = typer.Typer(
    help="Factor a trained convolutional network, compile it with Apache TVM, and prove on the device itself what was gained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(function: Callable[..., None]) -> Callable[..., None]:
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


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
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
