"""A CUDA source that runs on the CPU."""
from __future__ import annotations

import _ctypes
import ctypes
import os
import weakref
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from ....runtime.cuda.launches import Launch
from .counts import Counts, SiteCounts, merged
from .errors import EmulationError
from .library import Operand, Report, Request, SiteCount, build, lines_of, load
from .source import Kernel, element_bytes, prepare

ORDERS, SHUFFLED = {"forward": 0, "backward": 1}, 2
MOST_BLOCKS = ((1 << 31) - 1, 65535, 65535)
MOST_SITES = 1 << 16  # places of a kernel that access memory
MOST_SHARED = 227 << 10  # bytes that a block can have, of compute capability 9.0
SPACES = ("shared", "global")


class CudaProgram:
    """The emulation of a CUDA source: each thread of a block is a fiber, each access is checked.

    What it finds: addresses out of bounds or misaligned; values that nobody wrote; races between the threads of a block (accesses of one
    word in the same barrier interval), and between blocks; copies by ``cp.async`` that are used before they are waited for; barriers and
    warp operations that not all threads come to.

    Parameters
    ----------
    source : str
        CUDA C.
    folder : path-like, optional
        Where the compiled emulation is kept; default: the folder for caches.
    checks : bool
        Without checks only results (and barriers) are right or wrong, in a fraction of the time.
    """

    def __init__(self, source: str, folder: str | os.PathLike[str] | None = None, *, checks: bool = True) -> None:
        self._source = source
        self._prepared = prepare(source)
        self._checks = checks
        self._path: Path = build(self._prepared, checks, folder)
        self._library = load(self._path)
        weakref.finalize(self, _ctypes.dlclose, self._library._handle)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The entries of the source."""
        return tuple(self._prepared.kernels)

    def launch(self, launch: Launch, operands: Sequence[np.ndarray], *, order: str | int = "forward",
               outputs: Collection[int] | None = None, blocks: Sequence[int] | None = None, counting: bool = False,
               workers: int | None = None) -> Counts:
        """Run one launch. Arrays that the kernel writes are changed in place.

        Parameters
        ----------
        launch : Launch
        operands : sequence of numpy.ndarray
            Those of the function, contiguous.
        order : str or int
            The order of a block's threads between barriers: ``"forward"``, ``"backward"``, or the seed of random orders.
        outputs : collection of int, optional
            Positions of operands that hold nothing before the launch: they are filled with NaN, and may not be read before they are
            written. The others may not be written. Default: all may be read and written.
        blocks : sequence of int, optional
            Which blocks are run (numbered along x first); default: all.
        counting : bool
            Whether memory transactions are counted. Takes ten times as long, and needs checks.
        workers : int, optional
            Threads of this process that run blocks; default: one for each core.

        Returns
        -------
        Counts
            Empty unless `counting`.

        Raises
        ------
        EmulationError
            The kernel does what it may not do, or can't be launched so.
        """
        kernel = self._kernel(launch, operands)
        if counting and not self._checks:
            raise EmulationError("transactions are counted by a program that is made with checks=True")
        chosen = _blocks(launch, blocks)
        counts = (SiteCount * (MOST_SITES if counting else 0))()
        passed = _operands(kernel, launch, operands, outputs)
        _check_overlap(launch, [(one.data, one.bytes, one.output == 1) for one in passed])
        request = Request(
            kernel=launch.kernel.encode(), grid=launch.grid, block=launch.block, shared_bytes=launch.shared_bytes,
            operands=passed, operand_count=len(launch.arguments),
            order=ORDERS[order] if isinstance(order, str) else SHUFFLED, seed=0 if isinstance(order, str) else order,
            blocks=chosen.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)), block_count=chosen.size,
            workers=min(workers or os.cpu_count() or 1, max(1, chosen.size)), checks=self._checks, counting=counting,
            counts=counts, count_room=len(counts))
        report = Report()
        if self._library.emulator_launch(ctypes.byref(request), ctypes.byref(report)):
            raise EmulationError(f"{launch.kernel}: there is not enough address space to emulate it")
        if report.failed:
            raise EmulationError(self._message(launch, report))
        _check_overlap(launch, [(one.data, one.bytes, bool(one.written)) for one in passed])
        return self._counts(counts[:request.count_size])

    def _kernel(self, launch: Launch, operands: Sequence[np.ndarray]) -> Kernel:
        kernel = self._prepared.kernels.get(launch.kernel)
        if kernel is None:
            raise EmulationError(f"the CUDA source has no kernel {launch.kernel}; it has {', '.join(self.kernels)}")
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        mistakes = [
            (not 0 < threads <= kernel.most_threads, f"a block of {threads} threads, where the source allows 1 to {kernel.most_threads}"),
            (not 0 <= launch.shared_bytes <= MOST_SHARED, f"{launch.shared_bytes} bytes of shared memory; a block can have {MOST_SHARED}"),
            (min(launch.block) < 1 or launch.block[2] > 64, f"a block of {launch.block}"),
            (not all(0 < extent <= most for extent, most in zip(launch.grid, MOST_BLOCKS, strict=True)), f"a grid of {launch.grid}"),
            (len(launch.arguments) != len(kernel.parameters), f"{len(launch.arguments)} arguments for {len(kernel.parameters)} pointers"),
            (not all(0 <= one < len(operands) for one in launch.arguments), f"arguments {launch.arguments} of {len(operands)} operands"),
        ]
        for wrong, what in mistakes:
            if wrong:
                raise EmulationError(f"{launch.kernel} can't be launched with {what}")
        return kernel

    def _message(self, launch: Launch, report: Report) -> str:
        lines = (report.line,) if report.line > 0 else lines_of(self._path, [report.site])[0] if report.site else ()
        where = f"{launch.kernel}: block {_index(report.block, launch.grid)}"
        if report.thread >= 0:
            where += f", thread {_index(report.thread, launch.block)}"
        if lines:
            where += f", line {lines[0]}" + (f" (called from {lines[-1]})" if len(lines) > 1 else "")
        text = self._source.splitlines()[lines[0] - 1].strip() if lines else ""
        return f"{where}: {report.text.decode(errors='replace')}" + (f": {text[:160]}" if text else "")

    def _counts(self, found: list[SiteCount]) -> Counts:
        lines = lines_of(self._path, [one.site for one in found])
        return merged(SiteCounts(line[-1] if line else 0, SPACES[one.space], bool(one.store), one.requests, one.transactions, one.least)
                      for line, one in zip(lines, found, strict=True))


def sampled_blocks(launch: Launch, count: int, seed: int = 0) -> list[int]:
    """Some blocks of a launch to run in the place of all: the first, the last, and random ones.

    Parameters
    ----------
    launch : Launch
    count : int
        How many, at least two; all, if there are no more.
    seed : int
    """
    total = launch.grid[0] * launch.grid[1] * launch.grid[2]
    if count >= total:
        return list(range(total))
    inner = np.random.default_rng(seed).choice(np.arange(1, total - 1), max(0, count - 2), replace=False)
    return sorted({0, total - 1, *inner.tolist()})


def _index(number: int, extents: tuple[int, int, int]) -> str:
    x, y, _ = extents
    return f"({number % x}, {number // x % y}, {number // x // y})"


def _blocks(launch: Launch, chosen: Sequence[int] | None) -> np.ndarray:
    count = launch.grid[0] * launch.grid[1] * launch.grid[2]
    numbers = np.ascontiguousarray(range(count) if chosen is None else chosen, dtype=np.int64)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < count:
        raise EmulationError(f"{launch.kernel}: blocks {numbers.min()} to {numbers.max()} are asked for, of {count}")
    return numbers


def _operands(kernel: Kernel, launch: Launch, operands: Sequence[np.ndarray], outputs: Collection[int] | None) -> ctypes.Array[Operand]:
    passed = (Operand * max(1, len(launch.arguments)))()
    for place, (position, (kind, name)) in enumerate(zip(launch.arguments, kernel.parameters, strict=True)):
        array = operands[position]
        if not array.flags.c_contiguous:
            raise EmulationError(f"{launch.kernel}: operand {position} ({name}) is not contiguous")
        if (outputs is None or position in outputs) and not array.flags.writeable:
            raise EmulationError(f"{launch.kernel}: operand {position} ({name}) can't be written: the array is read-only")
        output = -1 if outputs is None else int(position in outputs)
        passed[place] = Operand(array.ctypes.data, array.nbytes, name.encode(), element_bytes(kind), output, 0)
    return passed


def _check_overlap(launch: Launch, operands: list[tuple[int, int, bool]]) -> None:
    """Refuse an operand that is written and shares memory with another: each is copied, so the other does not see it."""
    ranges = sorted((start, start + size, written) for start, size, written in operands if size)
    for (_, end, one), (start, _, other) in pairwise(ranges):
        if start < end and (one or other):
            raise EmulationError(f"{launch.kernel} can't be launched with operands that share memory and are written")
