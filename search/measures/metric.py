"""A metric of the user's own: a function of outputs and labels that gives a number, the higher the better.

Its file is executed, because the user named it. Whatever goes wrong in it is told in one line.
"""
from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import sys
import traceback
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ...support.errors import TenfoldError
from ...support.files.regular import read_regular

MAX_FILE_BYTES = 1 << 24
MAX_WORDS = 200  # characters of a message that is told

Function = Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], Any]


@dataclass(frozen=True)
class Metric:
    """A function with what it is called.

    Attributes
    ----------
    name : str
        Of the function.
    function : callable
        Of the outputs and the labels of all images, arrays by name.
    digest : str
        What tells its code apart from others.
    file : str
        That it is in; empty: the caller's own function.
    """

    name: str
    function: Function
    digest: str
    file: str = ""

    def __call__(self, outputs: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], what: str) -> float:
        """Its value; TenfoldError where it gives none, `what` says for which network and images."""
        with _beside(self.file):
            try:
                value = self.function(_read_only(outputs), _read_only(labels))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever the user's code does, SystemExit too
                raise TenfoldError(f"--metric {self}: {_said(error, self._source)}, on {what}") from None
        if isinstance(value, (bool, np.bool_)) or not hasattr(type(value), "__float__"):
            raise TenfoldError(f"--metric {self}: it gives {_brief(repr(value))}, which is not a number, on {what}")
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise TenfoldError(f"--metric {self}: it gives {_brief(repr(value))}, which is not one number, on {what}") from None
        if not isfinite(number):
            raise TenfoldError(f"--metric {self}: it gives {number} on {what}: a metric must be a finite number")
        return number

    def __str__(self) -> str:
        return f"{self.file}:{self.name}" if self.file else self.name

    @property
    def _source(self) -> str:
        return self.file or getattr(getattr(self.function, "__code__", None), "co_filename", "")


def metric_of(asked: str | Function) -> Metric:
    """From ``FILE.py:FUNCTION``, whose file is executed, or from a function.

    Raises
    ------
    TenfoldError
        There is no such file or function, or the file raises something.
    """
    if not isinstance(asked, str):
        return Metric(getattr(asked, "__name__", type(asked).__name__), asked, _digest(asked))
    file, name = split_name(asked)
    if not os.path.isfile(file):
        raise TenfoldError(f"--metric {asked}: {file}: {'this is a folder' if os.path.isdir(file) else 'no such file'}")
    source = read_regular(Path(file), MAX_FILE_BYTES)
    module = types.ModuleType(f"_tenfold_metric_{hashlib.sha256(os.path.abspath(file).encode()).hexdigest()[:12]}")
    module.__file__ = os.path.abspath(file)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for what is defined in it
    with _beside(file):
        try:
            exec(compile(source, file, "exec"), module.__dict__)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise TenfoldError(f"--metric {asked}: {_said(error, file)}, when the file is read") from None
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__]
        found = f"there is {', '.join(functions)}" if functions else "there is none"
        raise TenfoldError(f"--metric {asked}: there is no function {name!r} in {file} ({found})")
    return Metric(name, function, hashlib.sha256(source).hexdigest()[:12], file)


def split_name(asked: str) -> tuple[str, str]:
    """``FILE.py:FUNCTION`` -> file and function; TenfoldError for anything else."""
    file, _, name = asked.rpartition(":")
    if not file or not name.isidentifier():
        raise TenfoldError(f"--metric {asked!r}: give FILE.py:FUNCTION, the name of a function in a Python file")
    return file, name


def _digest(function: Function) -> str:
    """Of its source; a new one each time where that is not known, so that nothing is taken for its value that another one gave."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return uuid.uuid4().hex[:12]
    captured = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else None
    if captured is None or captured:  # values of another scope may change what it gives
        return uuid.uuid4().hex[:12]
    return hashlib.sha256(source.encode()).hexdigest()[:12]


@contextlib.contextmanager
def _beside(file: str) -> Iterator[None]:
    """While the block lasts, modules in the folder of the file can be imported, as if it were run."""
    if not file:
        yield
        return
    folder = os.path.dirname(os.path.abspath(file))
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _read_only(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    views = {name: array.view() for name, array in arrays.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


def _said(error: BaseException, file: str) -> str:
    """The error in one line, with the line of the user's file that it came from."""
    text = _brief(" ".join(str(error).split()))
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if file and frame.filename == file]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = "" if line is None else f" (line {line})"
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


def _brief(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]} ..."
