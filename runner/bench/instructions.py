"""What the model of cycles has to know of the instructions of an instruction set, as LLVM writes them."""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

NOTHING = "nop"
# AArch64.
POST_INDEX = re.compile(r"(ldr\s+[bhsdq]\d+,)\s*\[(\w+)\], #(-?)(\d+)$")
BRANCH = re.compile(r"(b|bl|br|blr|ret|cbn?z|tbn?z|svc|hvc|smc|brk|hlt|eret|udf)(\.|\s|$)")
# What models of cores may lack: system instructions, and the atomic ones of ARMv8.1.
UNMODELLED = re.compile(r"(svc|mrs|msr|hlt|brk|udf|dc|ic|tlbi|sys|(cas|swp|ld(add|clr|eor|set|[su]m(ax|in))|ldapr)(a|l|al)?[bhp]?)\b")
# x86-64, as AT&T writes it.
X86_BRANCH = re.compile(r"((bnd|notrack|rep\w*|data16)\s+)*(j[a-z]+|call[lqw]?|ret[lqw]?|loop\w*|syscall|sysenter|int3?|ud\d\w?|hlt)(\s|$)")
X86_CALL = re.compile(r"((bnd|notrack|data16)\s+)*(call|ret)")
X86_UNMODELLED = re.compile(
    r"(syscall|sysenter|int|ud\d|hlt|cpuid|xgetbv|rdtscp?|rd[fg]sbase\w*|wr[fg]sbase\w*|xsave\w*|xrstor\w*|rep\w*|endbr64)\b"
)
X86_LANES = {"ymm": 8, "xmm": 4}


@dataclass(frozen=True)
class Instructions:
    """An instruction set.

    Attributes
    ----------
    triple : str
        LLVM's.
    options : tuple of str
        With which LLVM's assembler reads whatever any core has.
    comment : str
        What a comment of the assembly begins with.
    is_branch : callable
        Whether the next instruction to run may be another one than the next in memory.
    as_modelled : callable
        The instructions that llvm-mca is told in place of one.
    flops : callable
        Multiplications and additions of float32, of multiply-adds alone.
    is_stack_vector : callable
        Whether whole vectors are loaded from the stack or stored there.
    """

    triple: str
    options: tuple[str, ...]
    comment: str
    is_branch: Callable[[str], bool]
    as_modelled: Callable[[str], tuple[str, ...]]
    flops: Callable[[str], int]
    is_stack_vector: Callable[[str], bool]

    def without_comment(self, line: str) -> str:
        """A line of assembly without its comment."""
        return line.partition(self.comment)[0]


def _modelled_aarch64(text: str) -> tuple[str, ...]:
    """An instruction as llvm-mca takes it.

    ldr q0, [x0], #16  ->  ldr q0, [x0]; add x0, x0, #16

    In LLVM's model of a Cortex-A57 and A72 the address of such a load is as late as what it loads, and the next one waits. The core makes
    the same two operations of it. What models lack is taken as nothing.
    """
    if found := POST_INDEX.match(text):
        load, base, sign, offset = found.groups()
        return f"{load} [{base}]", f"{'sub' if sign else 'add'} {base}, {base}, #{offset}"
    return (NOTHING,) if UNMODELLED.match(text) else (text,)


def _flops_aarch64(text: str) -> int:
    if re.match(r"fml[as]\s", text):
        lanes = re.match(r"fml[as]\s+v\d+\.(\d)s", text)
        return 2 * int(lanes[1]) if lanes else 2
    return 2 if re.match(r"fn?m(add|sub)\s", text) else 0


def _modelled_x86(text: str) -> tuple[str, ...]:
    """An instruction as llvm-mca takes it.

    call X, ret  ->  jmp: llvm-mca lets a call take a hundred cycles, for what it does not see. Here that is counted.
    """
    if X86_CALL.match(text):
        return ("jmp 0",)
    return (NOTHING,) if X86_UNMODELLED.match(text) else (text,)


def _flops_x86(text: str) -> int:
    found = re.match(r"vfn?m(?:add|sub)\d+([ps])s\s.*%(ymm|xmm)\d+$", text)
    return 0 if not found else 2 * (X86_LANES[found[2]] if found[1] == "p" else 1)


AARCH64 = Instructions(
    "aarch64", ("-mattr=+all",), "//", lambda text: BRANCH.match(text) is not None, _modelled_aarch64, _flops_aarch64,
    lambda text: re.match(r"(ld|st)u?[rp]\s+q.*\[sp", text) is not None,
)  # fmt: skip
X86_64 = Instructions(
    "x86_64", (), "#", lambda text: X86_BRANCH.match(text) is not None, _modelled_x86, _flops_x86,
    lambda text: re.match(r"vmov[au]ps\s.*\(%rsp", text) is not None,
)  # fmt: skip
BY_ARCHITECTURE = {"aarch64": AARCH64, "x86_64": X86_64}
