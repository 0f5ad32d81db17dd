"""The `tenfold` command in a child process of its own: what a fuzz test says of every outcome, a crash and a hang among them."""
from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

SECONDS = 60.0
BYTES = 8 << 30  # of address space that a child may take beyond what this process has
# What most commands import, the parser of options when it is called. TVM comes before torch, as in a command.
IMPORTED = ("tenfold.cli", "typer._adapters", "rich.table", "tenfold.passes.pipeline", "tenfold.search.compress",
            "tenfold.runner.compile", "tenfold.runner.report", "tenfold.runner.bench.compare")
WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload([*IMPORTED, "torch"])


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code (negative: the signal it died of; None: it took too long) and what it printed."""

    code: int | None
    out: str
    err: str

    @property
    def complaint(self) -> str | None:
        """What is wrong with how it ended, or None: success, or one line that says what the user did wrong."""
        # Progress stands in brackets; slow machines have time for it.
        lines = [line for line in self.err.splitlines() if not line.startswith(("tenfold: warning:", "tenfold: ["))]
        if self.code == 0:
            return None
        if self.code not in (1, 2):
            return f"exit code {self.code}: {self.err[-2000:]}"
        if len(lines) != 1 or not lines[0].startswith("tenfold: "):
            return f"{len(lines)} lines instead of one: {self.err[-2000:]}"
        return None


def tenfold(*arguments: object, seconds: float = SECONDS) -> Outcome:
    """Run the command in a fork of this process, which has imported what it needs: a case takes as long as its work alone."""
    _import_all()
    with tempfile.TemporaryDirectory() as name:
        streams = [Path(name) / "out", Path(name) / "err"]
        child = os.fork()
        if child == 0:
            gc.freeze()  # garbage of the parent, such as an engine, would wait in its destructor for threads that are not in this process
            _child([str(argument) for argument in arguments], streams, BYTES)
        return _outcome(_wait(child, seconds), streams)


def tenfold_anew(*arguments: object, seconds: float = SECONDS) -> Outcome:
    """Run the command in a fork of a process that has done nothing but import, with all the address space there is.

    For what trains with torch: its autograd refuses to work in a fork of a process that used it.
    """
    with tempfile.TemporaryDirectory() as name:
        streams = [Path(name) / "out", Path(name) / "err"]
        process = started(*arguments, streams=streams)
        process.join(seconds)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        return _outcome(code, streams)


def started(*arguments: object, streams: Sequence[Path] = (Path(os.devnull),) * 2) -> BaseProcess:
    """The command in such a process, which runs: `streams` are files for its standard output and error."""
    process = WARM.Process(target=_child_anew, args=([str(argument) for argument in arguments], streams, os.getcwd(), dict(os.environ)))
    process.start()
    return process


@functools.cache
def _import_all() -> None:
    from tenfold.targets.light_import import import_tvm

    import_tvm()
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _outcome(code: int | None, streams: Sequence[Path]) -> Outcome:
    return Outcome(code, *(path.read_text(errors="replace") if path.exists() else "" for path in streams))


def _child_anew(arguments: list[str], streams: Sequence[Path], folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # as the environment says
    _child(arguments, streams)


def _child(arguments: list[str], streams: Sequence[Path], room: int | None = None) -> None:
    """The command in this process, with so many bytes of address space to take."""
    code = 99
    try:
        for number, path in enumerate(streams, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
        sys.stdout, sys.stderr = (io.TextIOWrapper(os.fdopen(number, "wb", closefd=False), write_through=True) for number in (1, 2))
        sys.stdin = open(os.devnull)
        if room is not None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["tenfold", *arguments]
        from tenfold.cli import main

        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 98
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _wait(child: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
