"""Instructions of compiled kernels, counted. Needs ``nvdisasm``, which compiling does not."""
from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from .fatbin import images
from .nvcc import cuda_folders

INSTALL = "pip install nvidia-cuda-nvdisasm"
ENTRY = re.compile(r"^\.text\.(\w+):")
LABEL = re.compile(r"^(\.L\w+):")
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*?);")
TARGET = re.compile(r"`\((\.L\w+)\)")
MATRIX = ("HMMA", "IMMA", "DMMA", "QGMMA", "HGMMA", "IGMMA")
ARITHMETIC = (*MATRIX, "FFMA", "FFMA2", "FADD", "FMUL", "HFMA2", "HADD2", "HMUL2", "DFMA")


@dataclass(frozen=True)
class KernelCode:
    """The instructions of a kernel. They are those in the file, not those that run.

    Attributes
    ----------
    kernel : str
    instructions : mapping of str to int
        Of the whole kernel: how many there are of each kind. Loads and stores have their width: ``LDS.128``.
    main_loop : mapping of str to int
        Of the innermost loop with the most arithmetic; empty where there is no loop.
    """

    kernel: str
    instructions: Mapping[str, int]
    main_loop: Mapping[str, int]

    @property
    def arithmetic_share(self) -> float:
        """Arithmetic among the instructions of the main loop."""
        return arithmetic(self.main_loop) / max(1, sum(self.main_loop.values()))


def arithmetic(instructions: Mapping[str, int]) -> int:
    """How many of some instructions multiply or add floats."""
    return sum(count for name, count in instructions.items() if name.split(".")[0] in ARITHMETIC)


def find_nvdisasm() -> Path | None:
    """The disassembler: of NVIDIA's wheels, of an installed CUDA, or of PATH."""
    for folder in cuda_folders():
        if (folder / "bin" / "nvdisasm").is_file():
            return folder / "bin" / "nvdisasm"
    on_path = shutil.which("nvdisasm")
    return Path(on_path) if on_path else None


def kernel_code(fatbin: bytes, architecture: str) -> tuple[KernelCode, ...]:
    """Count the instructions of each kernel of a fatbin, for one GPU.

    Raises
    ------
    TenfoldError
        There is no disassembler, or no machine code for that GPU.
    """
    tool = find_nvdisasm()
    if tool is None:
        raise TenfoldError(f"no nvdisasm was found to read CUDA machine code with: {INSTALL}")
    cubins = [image.code for image in images(fatbin) if (image.kind, image.architecture) == ("cubin", architecture)]
    if not cubins:
        raise TenfoldError(f"the CUDA code (fatbin) has no machine code for {architecture}")
    with TemporaryFolder() as folder:
        path = folder / "kernels.cubin"
        path.write_bytes(cubins[0])
        done = subprocess.run([str(tool), "-c", str(path)], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode:
        raise TenfoldError(f"nvdisasm can't read the CUDA code: {(done.stderr.strip() or 'no reason is given').splitlines()[0][:300]}")
    return read_sass(done.stdout)


def read_sass(text: str) -> tuple[KernelCode, ...]:
    """Read what ``nvdisasm -c`` prints."""
    kernels: dict[str, list[tuple[str, str]]] = {}
    lines: list[tuple[str, str]] = []
    for line in text.splitlines():
        if entry := ENTRY.match(line):
            lines = kernels.setdefault(entry[1], [])
        elif label := LABEL.match(line):
            lines.append(("label", label[1]))
        elif instruction := INSTRUCTION.match(line):
            lines.append((_kind(instruction[1]), instruction[2]))
    return tuple(KernelCode(kernel, _count(lines), _main_loop(lines)) for kernel, lines in kernels.items())


def _kind(opcode: str) -> str:
    name, *rest = opcode.split(".")
    if name in MATRIX:
        return opcode
    width = [part for part in rest if part in ("64", "128")] if name.startswith(("LD", "ST")) else []
    return ".".join([name, *width])


def _count(lines: list[tuple[str, str]]) -> dict[str, int]:
    return dict(Counter(kind for kind, _ in lines if kind != "label").most_common())


def _main_loop(lines: list[tuple[str, str]]) -> dict[str, int]:
    labels = {rest: number for number, (kind, rest) in enumerate(lines) if kind == "label"}
    loops = []
    for number, (kind, rest) in enumerate(lines):
        target = TARGET.search(rest) if kind == "BRA" else None
        if target and labels.get(target[1], number) < number:
            loops.append((labels[target[1]], number))
    innermost = [loop for loop in loops if not any(loop != other and loop[0] <= other[0] and other[1] <= loop[1] for other in loops)]
    counted = [_count(lines[first:last + 1]) for first, last in innermost]
    return max(counted, key=lambda one: (arithmetic(one), sum(one.values())), default={})
