"""How a command ends: one line and an exit code for whatever stops it."""
from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from importlib import metadata

import typer

from ..support import interrupts
from ..support.errors import TenfoldError, VerificationError
from ..support.printable import one_line
from .work import Work

DIFFERS, MISTAKE, UNFORESEEN = 1, 2, 70
NOBODY_READS = 128 + 13  # as a shell tells of SIGPIPE
# What the machine lacks, not Tenfold: no space, no permission, no memory, no more open files.
OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO}
PACKAGES = ("tenfold", "apache-tvm", "onnx", "onnxruntime", "numpy")
MAX_MESSAGE = 300  # characters of a foreign message


@contextlib.contextmanager
def ending(work: Work) -> Iterator[None]:
    """Turn exceptions into a line on standard error and ``typer.Exit``."""
    try:
        yield
    except TenfoldError as error:
        raise _exit(one_line(error), DIFFERS if isinstance(error, VerificationError) else MISTAKE) from None
    except KeyboardInterrupt:
        raise _stopped(work) from None
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(NOBODY_READS) from None
    except MemoryError as error:
        raise _exit(f"not enough memory while {work.step}: {_brief(error)}", MISTAKE) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if interrupts.disguised(error):
            raise _stopped(work) from None
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            where = f"{error.filename}: " if error.filename else ""
            raise _exit(one_line(f"{where}{error.strerror} (while {work.step})"), MISTAKE) from None
        raise _unforeseen(error, work) from None


def _stopped(work: Work) -> typer.Exit:
    return _exit(one_line(f"stopped while {work.step}: {work.kept}"), interrupts.exit_code())


def _unforeseen(error: Exception, work: Work) -> typer.Exit:
    if work.verbose:
        traceback.print_exception(error)
    more = "the traceback is above" if work.verbose else "--verbose shows the traceback"
    return _exit(
        f"unforeseen while {work.step}: {type(error).__name__}: {_brief(error)}: this is a fault of Tenfold's: please report it"
        f" with the command and this line ({versions()}); {more}",
        UNFORESEEN,
    )


def versions() -> str:
    """What a report must say: packages, Python, system."""
    known = []
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            known.append(f"{package} {metadata.version(package)}")
    return ", ".join([*known, f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"])


def _brief(error: BaseException) -> str:
    text = one_line(error)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} ..."


def _exit(line: str, code: int) -> typer.Exit:
    print(f"tenfold: {line}", file=sys.stderr)
    return typer.Exit(code)


def _forget_stdout() -> None:
    """Whatever is still to be flushed goes nowhere: the interpreter would complain of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
