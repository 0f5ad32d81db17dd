"""LLVM's tools on blocks of machine code: their instructions as text, and the cycles that llvm-mca's model of a core gives them."""
from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from ...support.errors import TenfoldError
from ..devices.counted import Block
from .instructions import NOTHING, Instructions

ITERATIONS = 200  # of a block, as llvm-mca repeats it
LEAST_VERSION, NEWEST_VERSION = 19, 25  # of LLVM: older ones take one model of a core for most
INSTALL = f"install LLVM {LEAST_VERSION} (Debian: apt install llvm-{LEAST_VERSION})"
PREFIX = re.compile(r"^\s*(lock|rep\w*|data16|xacquire|xrelease)\s*\n\s*", re.MULTILINE)  # that stands on a line of its own
UNKNOWN_CPU = "is not a recognized processor"
CULPRIT = re.compile(rf"note: instruction:|{UNKNOWN_CPU}")  # in the line that names what is not known

Body = tuple[str, ...]  # the instructions of a block, as text


def as_text(blocks: Iterable[Block], isa: Instructions) -> list[tuple[Block, Body]]:
    """Blocks, joined where the emulator cut them (`joined`), with their instructions.

    Raises
    ------
    TenfoldError
        LLVM is missing, or fails.
    """
    blocks = list(blocks)
    codes = sorted({code for block in blocks for code in block.code})
    text = dict(zip(codes, disassembled(codes, isa), strict=True))
    whole = joined(blocks, lambda code: isa.is_branch(text[code]))
    return [(block, tuple(text[code] for code in block.code)) for block in whole]


def joined(blocks: Iterable[Block], is_branch: Callable[[str], bool]) -> list[Block]:
    """Blocks that always follow each other as one: the emulator cuts blocks where a page ends, and where they get too long.

    A B, B right behind A, as often, and no branch at the end of A  ->  AB

    Parameters
    ----------
    blocks : iterable of Block
    is_branch : callable
        Of the code of an instruction.
    """
    found: list[Block] = []
    for block in sorted(blocks, key=lambda block: (block.address, len(block.code))):
        last = found[-1] if found else None
        if last and last.end == block.address and last.runs == block.runs and not is_branch(last.code[-1]):
            found[-1] = Block(last.address, last.runs, last.code + block.code)
        else:
            found.append(block)
    return found


def disassembled(codes: Sequence[str], isa: Instructions) -> list[str]:
    """The assembly of instructions, each by itself; `NOTHING` for what LLVM can't read."""
    given = "\n".join(f"[{','.join(f'0x{code[i - 2 : i]}' for i in range(len(code), 0, -2))}]" for code in codes)
    said = _run([_tool("llvm-mc"), "--disassemble", f"-triple={isa.triple}", *isa.options], given, may_complain=True)
    lines = [isa.without_comment(line).strip() for line in PREFIX.sub(r"\1 ", said).splitlines()]
    found = [line for line in lines if line and not line.startswith(".")]
    if len(found) == len(codes):
        return found
    if len(codes) == 1:  # one that can't be read prints no line
        return [NOTHING]
    half = len(codes) // 2
    return disassembled(codes[:half], isa) + disassembled(codes[half:], isa)


_KNOWN: dict[tuple[str, Body], float] = {}  # cycles, by core and block


def block_cycles(bodies: Sequence[Body], cpu: str, isa: Instructions) -> list[float]:
    """llvm-mca's cycles of one run of each block.

    Parameters
    ----------
    bodies : sequence of tuple of str
    cpu : str
        LLVM's name of the core.
    isa : Instructions

    Raises
    ------
    TenfoldError
        llvm-mca is missing, or fails.
    """
    unknown = list(dict.fromkeys(body for body in bodies if (cpu, body) not in _KNOWN))
    if unknown:
        taken = (chain.from_iterable(map(isa.as_modelled, body)) for body in unknown)
        lines = [line for body in taken for line in ("# LLVM-MCA-BEGIN", *body, "# LLVM-MCA-END")]
        command = [_tool("llvm-mca"), f"-mtriple={isa.triple}", *isa.options, f"-mcpu={cpu}", f"-iterations={ITERATIONS}", "-json"]
        found = parse_cycles(_run(command, "\n".join(lines) + "\n"))
        if len(found) != len(unknown):
            raise TenfoldError(f"llvm-mca told of {len(found)} blocks, not of {len(unknown)}")
        _KNOWN.update(zip(((cpu, body) for body in unknown), found, strict=True))
    return [_KNOWN[cpu, body] for body in bodies]


def parse_cycles(text: str) -> list[float]:
    """Cycles of one run of each block, of what llvm-mca printed as JSON. TenfoldError if it is none."""
    try:
        summaries = [region["SummaryView"] for region in json.loads(text)["CodeRegions"]]
        return [float(summary["TotalCycles"]) / float(summary["Iterations"]) for summary in summaries]
    except (ValueError, KeyError, TypeError) as error:
        raise TenfoldError(f"llvm-mca's answer can't be read: {error!r}") from None


@functools.cache
def llvm_version() -> str:
    """Of llvm-mca and llvm-mc; TenfoldError if there are none that are new enough."""
    return _version(_tool("llvm-mca"))


@functools.cache
def _tool(name: str) -> str:
    for command in (*(f"{name}-{version}" for version in range(LEAST_VERSION, NEWEST_VERSION + 1)), name):
        if shutil.which(command) and int(_version(command).partition(".")[0]) >= LEAST_VERSION:
            return command
    raise TenfoldError(f"there is no {name} of LLVM {LEAST_VERSION} or newer, which models cores: {INSTALL}")


@functools.cache
def _version(command: str) -> str:
    found = re.search(r"LLVM version (\d[\d.]*)", _run([command, "--version"]))
    return found[1] if found else "0"


def _run(command: list[str], text: str = "", may_complain: bool = False) -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise TenfoldError(f"{command[0]} can't be run: {error.strerror}") from None
    ignored = UNKNOWN_CPU in done.stderr  # it goes on, with no core's model
    if ignored or done.returncode and not (may_complain and done.stdout):
        lines = [" ".join(line.split()) for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        said = next((line for line in lines if CULPRIT.search(line)), lines[0])
        raise TenfoldError(f"{command[0]} failed: {said[:300]}")
    return done.stdout
