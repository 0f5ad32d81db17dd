"""Register of the files that the present work reads. Nothing that it writes may take their place."""
from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..errors import TenfoldError
from .regular import LARGEST_MESSAGE

_protected: ContextVar[tuple[Path, ...]] = ContextVar("protected", default=())


@contextlib.contextmanager
def protect(*given: Any) -> Iterator[None]:
    """While the block lasts, what is written may not replace these inputs.

    Parameters
    ----------
    *given
        Paths (or lists of them) of models, plans, data, artifact folders; whatever is no path, or not there, is passed over.
    """
    before = _protected.get()
    token = _protected.set((*before, *(path for path in _paths(given) if path not in before)))
    try:
        yield
    finally:
        _protected.reset(token)


def check_file(path: Path) -> None:
    """Raise TenfoldError if writing the file `path` would overwrite an input: under its own name, over a link, or as another name of it."""
    own = _identity(path)
    for given in input_files():
        if os.path.realpath(given) == os.path.realpath(path) or (own is not None and _identity(given) == own):
            raise TenfoldError(f"{path}: this is {_named(given, path)}, an input, and would be overwritten: give another name")


def check_folder(folder: Path) -> None:
    """Raise TenfoldError if an input, or a link on the way to one, lies in what is replaced with this folder."""
    with contextlib.suppress(OSError):
        inside = {_identity(path) for path in folder.iterdir()}
        whole = os.path.realpath(folder)
        for given in input_files():
            places = [os.path.realpath(given), *(os.path.join(os.path.realpath(hop.parent), hop.name) for hop in _hops(given))]
            if _identity(given) in inside or any(os.path.commonpath([place, whole]) == whole for place in places):
                raise TenfoldError(f"{folder}: {given}, an input, lies in this folder, which would be replaced: give another folder")


def input_files() -> list[Path]:
    """The files that are protected, with those that belong to them: external weights of a model, the files of an artifact."""
    files = [file for path in _protected.get() for file in (path, *_companions(path))]
    return [file for file in dict.fromkeys(files) if not os.path.isdir(file) and os.path.exists(file)]


def _paths(given: Iterable[Any]) -> Iterator[Path]:
    for each in given:
        if isinstance(each, (str, os.PathLike)):
            with contextlib.suppress(OSError, TypeError):  # without a current folder a relative path names nothing
                yield Path(os.path.abspath(os.fspath(each)))
        elif isinstance(each, (list, tuple)):
            yield from _paths(each)


def _companions(path: Path) -> list[Path]:
    with contextlib.suppress(OSError, ValueError):
        if path.is_dir():
            return [entry for entry in path.iterdir() if entry.is_file()]
        found = path.stat()
        if path.suffix.lower() == ".onnx" and stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_MESSAGE:
            parents = {path.parent, Path(os.path.realpath(path)).parent}
            return [parent / location for location in _external(path) for parent in sorted(parents)]
    return []


def _external(path: Path) -> set[str]:
    """Where a model keeps weights outside its file; nothing for what is no model, which its reader will tell."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(path, load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return set()
    tensors = [*_tensors(model.graph), *(tensor for function in model.functions for tensor in _constants(function.node))]
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _constants(graph.node)


def _constants(nodes: Iterable[Any]) -> Iterator[Any]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            if graph.node or graph.initializer:
                yield from _tensors(graph)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
        return found.st_dev, found.st_ino
    except (OSError, ValueError):
        return None


def _hops(path: Path) -> Iterator[Path]:
    """A path and, one by one, the links that it leads over."""
    for _ in range(40):  # as many as the system follows
        yield path
        if not path.is_symlink():
            return
        path = path.parent / os.readlink(path)


def _named(given: Path, path: Path) -> str:
    return "a file that is read here" if given == path else str(given)
