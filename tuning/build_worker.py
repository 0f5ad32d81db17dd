"""The process that compiles candidates: it imports the compiler once, and then builds what it is told, one candidate after the other.

Requests come on standard input and answers go to standard output, as pickles: both ends are this package, on one machine. What compilers
print goes to standard error.
"""
from __future__ import annotations

import functools
import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..schedules.task import Task
from ..targets import Target
from .candidates import Candidate

if TYPE_CHECKING:
    import tvm

LONGEST_WORDS = 300  # characters of an error


@dataclass(frozen=True)
class Request:
    """A candidate to build.

    Attributes
    ----------
    task : Task
    target : Target
    candidate : Candidate
    folder : Path
        Where its files go.
    """

    task: Task
    target: Target
    candidate: Candidate
    folder: Path


def build(request: Request) -> Any:
    """Return what was built, as a `Program`; or why it can't be, in a line."""
    from ..runner.build import build_library, program_of
    from ..support.files.regular import reason

    try:
        request.folder.mkdir(parents=True, exist_ok=True)
        mod = _module(request.task)
        built = build_library(mod, request.target, request.folder, wanted=request.candidate.choices)
        return program_of(mod, built, request.folder, request.target.cores)
    except OSError as error:
        return reason(error)
    except Exception as error:  # of the compiler: whatever TVM and LLVM raise
        return f"{type(error).__name__}: {' '.join(str(error).split())[-LONGEST_WORDS:]}"


@functools.lru_cache(maxsize=8)
def _module(task: Task) -> tvm.IRModule:
    from ..passes.task_module import task_module

    return task_module(task)


def main() -> None:
    """Answer requests until there are no more."""
    answers, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    from ..runner import build as compiler

    compiler.require_compiler()
    pickle.dump("ready", answers)
    answers.flush()
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(build(request), answers)
        answers.flush()


if __name__ == "__main__":
    main()
