"""Compile everything into a folder, with the parts of Tenfold that run it."""
from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from fnmatch import fnmatch
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

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
from tenfold.targets.detection import physical_cores

from .cases import Source, sources
from .graph import graph_of

HERE, PACKAGE = Path(__file__).parents[1], Path(tenfold.__file__).parent
MOST_BYTES = 60 << 20  # of a box
Work = Callable[[int], tuple[str, str, bool]]
_networks: Any = nullcontext()
# Of Tenfold: what loads and launches, and what emulates.
PARTS = ("__init__.py", "py.typed", "support", "targets", "runtime", "codegen/__init__.py", "codegen/toolchain.py", "runner/__init__.py",
         "runner/devices/__init__.py", "runner/devices/device.py", "runner/devices/emulated_cuda.py", "runner/devices/cuda")


def pack(folder: Path, only: Sequence[str], archs: str, cache: Path | None, jobs: int | None = None) -> int:
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
    jobs : int, optional
        Cases that are compiled at a time, each in a process of its own. Default: one for each CPU.

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
        work = partial(_packed, nets, archs, folder / CASES)
        for number, (name, said, fine) in enumerate(_in_processes(work, [order for order, _ in chosen], jobs), 1):
            failed += not fine
            print(f"[{number}/{len(chosen)}] {name}: {said}", flush=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {len(chosen) - failed} cases, {size / 2**20:.1f} MiB; there: python run.py")
    if size > MOST_BYTES:
        print(f"that is more than {MOST_BYTES >> 20} MiB: leave some out with --only")
    return int(failed > 0 or size > MOST_BYTES)


def fits(source: Source, only: Sequence[str]) -> bool:
    """Whether a case is asked for: by its name, its step, or a list of shapes."""
    return not only or any(fnmatch(name, pattern) for pattern in only for name in (source.name, source.step, *source.lists))


def _in_processes(work: Work, orders: Sequence[int], jobs: int | None) -> Iterator[tuple[str, str, bool]]:
    """What the work says of each case, as they end; several at a time. Forks would have the threads of TVM and ONNX Runtime."""
    context = multiprocessing.get_context("spawn")
    count = max(1, min(jobs or physical_cores(), len(orders)))
    with ProcessPoolExecutor(count, context, _begin, (context.Lock(),)) as pool:
        futures = [pool.submit(work, order) for order in orders]
        try:
            for each in as_completed(futures):
                yield each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(lock: Any) -> None:
    """Give a process the lock for networks, of which the first case makes a file, and others read it."""
    global _networks
    _networks = lock


def _packed(nets: Path, archs: str, cases: Path, order: int) -> tuple[str, str, bool]:
    """Pack a case in one of several processes: its name, what there is to say, and whether it went well."""
    begin = time.monotonic()
    source = next(islice(sources(nets), order, None))
    try:
        made = _pack_case(source, order, archs, cases)
    except (TenfoldError, ValueError) as error:
        return source.name, f"FAILED: {error}", False
    return source.name, f"{made >> 10} KiB, {time.monotonic() - begin:.1f} s", True


def _pack_case(source: Source, order: int, archs: str, cases: Path) -> int:
    case = Case(source.name, source.step, order, source.batch, source.lists, (), (), {}, {}, {}, source.precision)
    place = cases / case.folder
    if not (place / FACTS).exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        _fill(source, order, archs, place)
    return sum(path.stat().st_size for path in place.iterdir())


def _fill(source: Source, order: int, archs: str, place: Path) -> None:
    with _networks if source.step == "networks" else nullcontext():
        network = load(source.make(source.batch))
    with TemporaryFolder() as work:
        built = build_library(network.mod, resolve(f"cuda:{archs}").with_precision(source.precision), work)
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
    Case(*facts, inputs, outputs, macs, dict(built.choices), graph_of(network.onnx), source.precision).write(place)


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
