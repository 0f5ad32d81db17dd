"""What the assembler says of a kernel: registers, spills, memory."""
from __future__ import annotations

import re
from dataclasses import dataclass

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
CUMULATIVE = re.compile(r"(\d+) bytes cumulative stack size")
SHARED = re.compile(r"(\d+) bytes smem")
CONSTANT = re.compile(r"(\d+) bytes cmem")


@dataclass(frozen=True)
class KernelFacts:
    """A kernel, assembled for one GPU.

    Attributes
    ----------
    kernel, architecture : str
    registers : int
        Of a thread.
    spill_store_bytes, spill_load_bytes : int
        What each thread stores and loads because registers ran out.
    stack_bytes : int
        Local memory of a thread, with that of the functions that it calls.
    shared_bytes : int
        Static shared memory of a block.
    constant_bytes : int
        Constant memory, with the kernel's parameters; 0 where the assembler does not say (sm_90).
    """

    kernel: str
    architecture: str
    registers: int
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    shared_bytes: int
    constant_bytes: int


def kernel_facts(log: str) -> tuple[KernelFacts, ...]:
    """Read what ``ptxas -v`` prints: one entry for each kernel and GPU, in its order."""
    _, *parts = ENTRY.split(log)
    return tuple(_facts(*part) for part in zip(parts[::3], parts[1::3], parts[2::3], strict=True))


def _facts(kernel: str, architecture: str, said: str) -> KernelFacts:
    # Functions that are not inlined report their stack too. The kernel's own line names it.
    own = said.partition(f"Function properties for {kernel}\n")[2] or said
    stack = STACK.search(own)
    frame, stores, loads = (int(number) for number in stack.groups()) if stack else (0, 0, 0)
    constant = sum(map(int, CONSTANT.findall(said)))
    frame = max(frame, _number(CUMULATIVE, said))
    return KernelFacts(kernel, architecture, _number(USED, said), stores, loads, frame, _number(SHARED, said), constant)


def _number(pattern: re.Pattern[str], said: str) -> int:
    found = pattern.search(said)
    return int(found[1]) if found else 0
