"""Instruction sets that Tenfold compiles for: what LLVM and Linux call their parts, and what vectors they have."""
from __future__ import annotations

import platform
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# LLVM's name of a part -> its flag in /proc/cpuinfo. Only what code generation for float32 networks may emit.
X86_FLAGS = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "lzcnt": "abm",
    "movbe": "movbe",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512dq": "avx512dq",
    "avx512cd": "avx512cd",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512ifma": "avx512ifma",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "gfni": "gfni",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
    # Of few CPUs, before and after those of the presets.
    "fma4": "fma4",
    "xop": "xop",
    "tbm": "tbm",
    "avx10.2": "avx10_2",
    **dict.fromkeys(("egpr", "ndd", "ccmp", "nf", "cf", "zu", "ppx", "push2pop2"), "apx"),
}
AARCH64_FLAGS = {
    "fp-armv8": "fp",
    "neon": "asimd",
    "rdm": "asimdrdm",
    "fullfp16": "asimdhp",
    "dotprod": "asimddp",
    "fp16fml": "asimdfhm",
    "lse": "atomics",
    "rcpc": "lrcpc",
    "rcpc-immo": "ilrcpc",
    "lse2": "uscat",
    "flagm": "flagm",
    "altnzcv": "flagm2",
    "jsconv": "jscvt",
    "complxnum": "fcma",
    "fptoint": "frint",
    "bf16": "bf16",
    "i8mm": "i8mm",
    "sve": "sve",
    "sve2": "sve2",
}


@dataclass(frozen=True)
class Architecture:
    """An instruction set.

    Attributes
    ----------
    name : str
        As manifests, compilers and `platform.machine` have it.
    title : str
        As people say it.
    triple : re.Pattern
        The forms of ``mtriple`` that are accepted.
    default_triple : str or None
        The ``mtriple`` of targets; None where TVM's default is meant.
    default_cpu : str
        The ``mcpu`` that every CPU can run.
    flags : mapping of str to str
        LLVM's name of a part -> its flag in /proc/cpuinfo.
    base : frozenset of str
        Parts, by LLVM's names, that code can't do without.
    vectors : callable
        From flags to (bits, registers) of the vectors that code can use.
    """

    name: str
    title: str
    triple: re.Pattern[str]
    default_triple: str | None
    default_cpu: str
    flags: Mapping[str, str]
    base: frozenset[str]
    vectors: Callable[[Collection[str]], tuple[int, int]]

    @property
    def llvm(self) -> dict[str, Any]:
        """A TVM target of this instruction set, without a CPU."""
        return {"kind": "llvm", **({"mtriple": self.default_triple} if self.default_triple else {})}

    def flags_of(self, features: Iterable[str]) -> tuple[str, ...]:
        """Those of LLVM's `features` that matter for a compiled network, as flags of /proc/cpuinfo, in a fixed order."""
        features = set(features)
        return tuple(dict.fromkeys(flag for feature, flag in self.flags.items() if feature in features))


def _x86_vectors(flags: Collection[str]) -> tuple[int, int]:
    """AVX-512 counts only with the parts that every CPU since Skylake has (F, BW, VL, DQ): without them LLVM splits vectors."""
    flags = set(flags)
    if flags >= {"avx512f", "avx512bw", "avx512vl", "avx512dq"}:
        return 512, 32
    if flags >= {"avx2", "fma"}:
        return 256, 16
    return 128, 16


X86_64 = Architecture(
    "x86_64", "x86-64", re.compile(r"x86_64(-[A-Za-z0-9_]+)?(-linux(-(gnu|musl)[a-z0-9.]*)?)?"), None, "x86-64", X86_FLAGS,
    frozenset({"64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2", "x87"}), _x86_vectors,
)  # fmt: skip
AARCH64 = Architecture(
    "aarch64", "AArch64", re.compile(r"(aarch64|arm64)(-[A-Za-z0-9_]+)?-linux-(gnu|musl)[a-z0-9.]*"), "aarch64-linux-gnu", "generic",
    AARCH64_FLAGS, frozenset({"neon", "fp-armv8"}), lambda flags: (128, 32),
)  # fmt: skip
ARCHITECTURES = (X86_64, AARCH64)


def architecture_of(tvm: Mapping[str, Any]) -> Architecture:
    """The instruction set of a TVM target in dict form: x86-64, if it names no other."""
    triple = str(tvm.get("mtriple", ""))
    return next((each for each in ARCHITECTURES if triple and each.triple.fullmatch(triple)), X86_64)


def this_architecture() -> str:
    """The instruction set of this machine, by name."""
    return platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
