"""Compile everything into a folder, with the parts of Tenfold that run it."""
from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnxruntime
import tenfold
from box.case import CASES, FACTS, Case, pack_files
from box.reference import Reference, chosen_images, images
from tenfold.frontends import load
from tenfold.runner.build import build_library, program_of
from tenfold.support.errors import TenfoldError
from tenfold.support.files.temporary import TemporaryFolder
from tenfold.targets import resolve

from .cases import Source, sources
from .graph import graph_of

HERE, PACKAGE = Path(__file__).parents[1], Path(tenfold.__file__).parent
MOST_BYTES = 60 << 20  # of a box
# Of Tenfold: what loads and launches, and what emulates.
PARTS = ("__init__.py", "py.typed", "support", "targets", "runtime", "codegen/__init__.py", "codegen/toolchain.py", "runner/__init__.py",
         "runner/devices/__init__.py", "runner/devices/device.py", "runner/devices/emulated_cuda.py", "runner/devices/cuda")


def pack(folder: Path, only: Sequence[str], archs: str, cache: Path | None) -> int:
    """Make a box.

    Parameters
    ----------
    folder : Path
        Cases that are in it already stay.
    only : sequence of str
        Patterns of names or steps; none: everything.
    archs : str
        Architectures, with commas.
    cache : Path, optional
        Where networks are kept.

    Returns
    -------
    int
        The exit code: 1 where a case can't be compiled, or the box becomes too large.
    """
    (folder / CASES).mkdir(parents=True, exist_ok=True)
    _copy_parts(folder)
    failed = 0
    with TemporaryFolder() as own:
        nets = cache or own
        nets.mkdir(parents=True, exist_ok=True)
        chosen = [(order, one) for order, one in enumerate(sources(nets)) if fits(one, only)]
        for number, (order, source) in enumerate(chosen, 1):
            begin = time.monotonic()
            try:
                made = _pack_case(source, order, archs, folder / CASES)
            except (TenfoldError, ValueError) as error:
                failed += 1
                print(f"[{number}/{len(chosen)}] {source.name}: FAILED: {error}", flush=True)
                continue
            print(f"[{number}/{len(chosen)}] {source.name}: {made >> 10} KiB, {time.monotonic() - begin:.1f} s", flush=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {len(chosen) - failed} cases, {size / 2**20:.1f} MiB; there: python run.py")
    if size > MOST_BYTES:
        print(f"that is more than {MOST_BYTES >> 20} MiB: leave some out with --only")
    return int(failed > 0 or size > MOST_BYTES)


def fits(source: Source, only: Sequence[str]) -> bool:
    """Whether a case is asked for: by its name, its step, or a list of shapes."""
    return not only or any(fnmatch(name, pattern) for pattern in only for name in (source.name, source.step, *source.lists))


def _pack_case(source: Source, order: int, archs: str, cases: Path) -> int:
    case = Case(source.name, source.step, order, source.batch, source.lists, (), (), {}, {}, {})
    place = cases / case.folder
    if not (place / FACTS).exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        _fill(source, order, archs, place)
    return sum(path.stat().st_size for path in place.iterdir())


def _fill(source: Source, order: int, archs: str, place: Path) -> None:
    network = load(source.make(source.batch))
    with TemporaryFolder() as work:
        built = build_library(network.mod, resolve(f"cuda:{archs}"), work)
        program = program_of(network.mod, built, work, 1)
        pack_files(work, place)
    inputs, outputs = (tuple((port.name, port.shape, port.dtype) for port in ports) for ports in (program.inputs, program.outputs))
    chosen = chosen_images(source.batch)
    small = load(source.make(len(chosen))).onnx
    session = onnxruntime.InferenceSession(small.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images(inputs[0][1], 0, chosen)}
    Reference.of(np.asarray(session.run(None, feed)[0])).write(place)
    macs = {str(kernel["function"]): int(kernel["macs"]) for kernel in built.kernels}
    facts = source.name, source.step, order, source.batch, source.lists
    Case(*facts, inputs, outputs, macs, dict(built.choices), graph_of(network.onnx)).write(place)


def _copy_parts(folder: Path) -> None:
    """The suite, and the parts of Tenfold that it runs on."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copy2(HERE / "run.py", folder / "run.py")
    shutil.copytree(HERE / "box", folder / "box", dirs_exist_ok=True, ignore=ignored)
    for part in PARTS:
        source, target = PACKAGE / part, folder / "tenfold" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy2(source, target)
