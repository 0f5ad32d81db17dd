"""CUDA C -> C++ for the emulated machine.

``__shared__ float tile[64];`` -> ``EMULATOR_SHARED(float, tile, [64]);``, and so for arrays of registers; inline assembly -> calls. Lines
keep their numbers.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import EmulationError
from .ptx import translate
from .scan import closing, split

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
FUNCTION = re.compile(r"\b__(?:global|device)__\b")
DEVICE = "EMULATOR_INLINE"
HIDDEN = '__attribute__((visibility("hidden")))'
KERNEL = re.compile(r"__global__\s+void\s*(?:__launch_bounds__\s*\(\s*(\d+)[^)]*\)\s*)?(\w+)\s*\(")
SIZES = {"char": 1, "uchar": 1, "bool": 1, "int8_t": 1, "uint8_t": 1, "short": 2, "ushort": 2, "int16_t": 2, "uint16_t": 2, "half": 2,
         "__half": 2, "half2": 2, "__half2": 2, "half4": 2, "long": 8, "int64_t": 8, "uint64_t": 8, "double": 8}
OTHERS = ("int", "float", "uint", r"u?int32_t", r"(?:u?(?:char|short|int|long|longlong)|float|double)[1234]")
TYPE = rf"(?:(?:const|unsigned|signed|volatile|long)\s+)*\b(?:{'|'.join([*SIZES, *OTHERS])})"
ALIGNED = r"(?:(?:alignas|__align__)\s*\(\s*\d+\s*\)\s*)?"
SHARED = re.compile(rf"\b__shared__\s+{ALIGNED}({TYPE})\s+(\w+)\s*((?:\[[^\]]+\])*)\s*;")
DYNAMIC = re.compile(rf"\bextern\s+__shared__\s+{ALIGNED}({TYPE})\s+(\w+)\s*\[\s*\]\s*;")
REGISTERS = re.compile(rf"(?<=[;{{}}])(\s*){ALIGNED}({TYPE})\s+(\w+)\s*((?:\[[^\]]+\])+)\s*;")
SHUFFLE = re.compile(r"\b__shfl\w*_sync\s*\(")
ELEMENT = re.compile(r"\b(\w+)\s*\[")
POINTER = re.compile(rf"({TYPE})\s*\*")
DECLARED = re.compile(rf"({TYPE})\s+\w+\s*\[")


@dataclass(frozen=True)
class Kernel:
    """An entry of a CUDA source.

    Attributes
    ----------
    name : str
    parameters : tuple of (str, str)
        Type and name of each pointer.
    most_threads : int
        Of a block, as ``__launch_bounds__`` says.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]
    most_threads: int


@dataclass(frozen=True)
class Prepared:
    """A source for the emulated machine.

    Attributes
    ----------
    pieces : tuple of (str, str)
        The C++, cut into the bodies of kernels, each with its kernel's name, and what lies between them, named "".
    kernels : dict of str to Kernel
    granule : int
        Bytes of the smallest element that kernels access.
    """

    pieces: tuple[tuple[str, str], ...]
    kernels: dict[str, Kernel]
    granule: int

    def units(self, count: int) -> list[str]:
        """The C++ as files to compile side by side: each has the bodies of some kernels, the first one also the table of all."""
        sizes = {name: len(text) for name, text in self.pieces if name}
        groups: list[list[str]] = [[] for _ in range(max(1, min(count, len(sizes))))]
        for name in sorted(sizes, key=lambda name: -sizes[name]):
            min(groups, key=lambda group: sum(sizes[one] for one in group)).append(name)
        return [self._unit(group, table=not number) for number, group in enumerate(groups)]

    def _unit(self, kernels: list[str], table: bool) -> str:
        text = "".join(text if not name or name in kernels else ";" + "\n" * text.count("\n") for name, text in self.pieces)
        return f'#include "cuda_on_cpu.h"\n#line 1 "kernel.cu"\n{text}\n' + (_table(self.kernels) if table else "")


def prepare(source: str) -> Prepared:
    """Rewrite a CUDA source.

    Raises
    ------
    EmulationError
        It has no kernel, or what the emulator does not know.
    """
    plain = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    kernels = {kernel.name: kernel for kernel in map(lambda match: _kernel(plain, match), KERNEL.finditer(plain))}
    if not kernels:
        raise EmulationError("the CUDA source has no kernel (__global__ void)")
    return Prepared(tuple((name, translate(text)) for name, text in _pieces(plain)), kernels, _granule(plain, kernels))


def _table(kernels: dict[str, Kernel]) -> str:
    """What launches look kernels up in."""
    entries = ", ".join(f'{{"{name}", emulator_call_{name}}}' for name in kernels)
    return "\n".join([
        '#line 1 "table"', *map(_caller, kernels.values()), "struct EmulatorKernel { const char* name; void (*call)(void**); };",
        f'extern "C" {HIDDEN} const EmulatorKernel emulator_kernels[] = {{{entries}, {{nullptr, nullptr}}}};\n'])


def _kernel(text: str, match: re.Match[str]) -> Kernel:
    end = closing(text, match.end() - 1)
    parameters = []
    for parameter in split(text[match.end():end], ","):
        name = re.search(r"(\w+)\s*$", parameter)
        if not parameter.strip():
            continue
        if "*" not in parameter or not name:
            raise EmulationError(f"kernel {match[2]} takes {' '.join(parameter.split())}; the emulator passes pointers only")
        parameters.append((" ".join(parameter[:parameter.rindex("*") + 1].split()), name[1]))
    return Kernel(match[2], tuple(parameters), int(match[1] or 1024))


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Rewrite the functions of a source, and cut it at the bodies of kernels."""
    at = 0
    for match in FUNCTION.finditer(text):
        if match.start() < at:
            continue
        start = _body(text, match.end())
        if start is None:
            continue
        end = closing(text, start) + 1
        entry = KERNEL.match(text, match.start())
        yield "", text[at:match.start()] + (match[0] if entry else DEVICE) + text[match.end():start]
        yield entry[2] if entry else "", _declarations(text[start:end])
        at = end
    yield "", text[at:]


def _body(text: str, at: int) -> int | None:
    """Where the body of the function begins that is declared here."""
    while text[at] not in "{;":
        at = closing(text, at) + 1 if text[at] == "(" else at + 1
    return at if text[at] == "{" else None


def _declarations(body: str) -> str:
    body = DYNAMIC.sub(r'\1* \2 = reinterpret_cast<\1*>(emulator_dynamic_shared("\2", sizeof(\1)));', body)
    body = SHARED.sub(r"EMULATOR_SHARED(\1, \2, \3);", body)
    if "__shared__" in body:
        start = body.index("__shared__")
        raise EmulationError(f"the emulator does not know this declaration: {' '.join(body[start:body.index(';', start) + 1].split())}")
    shuffled = {name for match in SHUFFLE.finditer(body) for name in ELEMENT.findall(body[match.end():closing(body, match.end() - 1)])}
    return REGISTERS.sub(lambda match: _registers(match, shuffled), body)


def _registers(match: re.Match[str], shuffled: set[str]) -> str:
    """In a reduction lanes beyond the last value pass to a shuffle what they never wrote. It is lost there, or shows as NaN."""
    space, kind, name, dimensions = match.groups()
    return f"{space}EMULATOR_REGISTERS({kind}, {name}, {dimensions}, {str(name in shuffled).lower()});"


def _caller(kernel: Kernel) -> str:
    arguments = ", ".join(f"({kind})a[{position}]" for position, (kind, _) in enumerate(kernel.parameters))
    return f'__attribute__((no_sanitize("thread"))) static void emulator_call_{kernel.name}(void** a) {{ {kernel.name}({arguments}); }}'


def element_bytes(kind: str) -> int:
    """Bytes of the elements that a type of C, or a pointer to it, is made of."""
    name = kind.replace("*", " ").split()[-1]
    return SIZES.get(name, SIZES.get(name.rstrip("1234"), 4))


def _granule(text: str, kernels: dict[str, Kernel]) -> int:
    """The smallest element, but bytes that only addresses are made of."""
    bodies = text[FUNCTION.search(text).start():] if FUNCTION.search(text) else text  # type: ignore[union-attr]
    named = [match[1] for match in [*POINTER.finditer(bodies), *DECLARED.finditer(bodies)]]
    named = [kind for kind in named if kind.split()[-1] not in ("uchar", "uint8_t", "bool") and "unsigned char" not in kind]
    named += [kind for kernel in kernels.values() for kind, _ in kernel.parameters]  # of bytes, where an operand has them
    return min([4, *map(element_bytes, named)])
