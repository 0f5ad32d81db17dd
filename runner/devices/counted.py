"""A CPU under emulation that counts: what a run executes, by block of machine code, and what it misses in simulated caches.

A plugin of QEMU's user mode counts (`counting.c`). From the counts `runner/bench/modelled.py` makes cycles.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...support.cache_folder import cache_folder
from ...support.errors import TenfoldError
from ...support.files.regular import reason
from .device import NETWORK, Handle, Program
from .emulated import INSTALL as INSTALL_EMULATOR
from .emulated import Emulated

SOURCE = Path(__file__).with_name("counting.c")
OPTIONS = ("-std=gnu11", "-O2", "-shared", "-fPIC")
COUNTS = "counts"  # the file that the plugin writes
INSTALL = f"{INSTALL_EMULATOR}; the statically linked one takes no plugin"
INSTALL_COMPILER = "install gcc, or name a compiler in CC"


@dataclass(frozen=True)
class Block:
    """Instructions that are executed one after the other.

    Attributes
    ----------
    address : int
    runs : int
    code : tuple of str
        The instructions: the bytes of each as one hexadecimal number, the first byte the lowest.
    """

    address: int
    runs: int
    code: tuple[str, ...]

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + sum(map(len, self.code)) // 2


@dataclass(frozen=True)
class Counts:
    """What one run executed, and the lines that it missed in each level of caches."""

    blocks: tuple[Block, ...]
    misses: tuple[int, ...]

    @property
    def instructions(self) -> int:
        return sum(block.runs * len(block.code) for block in self.blocks)


@dataclass(frozen=True)
class CacheLevel:
    """A simulated cache: the line that was longest not used gives way."""

    kib: int
    ways: int


class Counted(Emulated):
    """A CPU that QEMU emulates, with a plugin that counts. It runs networks on one thread.

    Parameters
    ----------
    cpu : str
        The emulator's name of the CPU.
    architecture : str
        As in a manifest.
    caches : sequence of CacheLevel
        From the first level on.
    line_bytes : int
        Of a line of all caches.

    Raises
    ------
    TenfoldError
        QEMU takes no plugin here, has no such CPU, or there is no C compiler for the plugin.
    """

    def __init__(self, cpu: str, architecture: str, caches: Sequence[CacheLevel], line_bytes: int = 64) -> None:
        super().__init__(cpu, architecture)
        self._caches, self._line_bytes = tuple(caches), line_bytes
        self._plugin = counting_plugin()

    @property
    def cores(self) -> int:
        return 1

    @property
    def _has_python(self) -> bool:
        return False  # what Python does besides would be counted too

    def command(self) -> list[str]:
        emulator, *rest = super().command()
        sizes = "+".join(f"{level.kib}:{level.ways}" for level in self._caches)
        return [emulator, "-plugin", f"{self._plugin},out={COUNTS},caches={sizes},line={self._line_bytes}", *rest]

    def load(self, program: Program, timed: str = NETWORK) -> Handle:
        return super().load(replace(program, threads=1), timed)

    def count(self, handle: Handle) -> Counts:
        """Count one run on random inputs, behind one that fills the caches.

        Raises
        ------
        TenfoldError
            The network was dropped, or its process ended.
        """
        path = self._work() / COUNTS
        path.unlink(missing_ok=True)
        self._ask("count", self._of(handle)[0])
        try:
            return parse_counts(path.read_text())
        except (OSError, ValueError) as error:
            raise TenfoldError(f"device {self.name}: there are no counts of a run: {error}") from None


def parse_counts(text: str) -> Counts:
    """The counts of a file that the plugin wrote. ValueError if it is none."""
    *lines, last = text.splitlines() or [""]
    kind, *misses = last.split() or [""]
    if kind != "misses":
        raise ValueError("the file is cut short")
    blocks = []
    for line in lines:
        address, runs, *code = line.split()
        blocks.append(Block(int(address, 16), int(runs), tuple(code)))
    return Counts(tuple(sorted(blocks, key=lambda block: block.address)), tuple(map(int, misses)))


def counting_plugin(cache: Path | None = None) -> Path:
    """The plugin, compiled for this machine and kept for the next time.

    Raises
    ------
    TenfoldError
        There is no C compiler, it fails, or the folder can't be written.
    """
    compiler = os.environ.get("CC") or "cc"
    if not shutil.which(compiler):
        raise TenfoldError(f"no C compiler was found to build what counts instructions: {INSTALL_COMPILER}")
    digest = hashlib.sha256(SOURCE.read_bytes() + repr(OPTIONS).encode()).hexdigest()[:24]
    path = (cache or cache_folder()) / "device" / f"counting-{digest}.so"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise TenfoldError(f"{path.parent}: can't be written: {reason(error)}") from None
    try:
        done = subprocess.run([compiler, *OPTIONS, str(SOURCE), "-o", made], capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            raise TenfoldError(f"the C compiler {compiler} failed: {said[:300]}")
        os.replace(made, path)
    finally:
        Path(made).unlink(missing_ok=True)
    return path
