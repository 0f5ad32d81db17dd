"""Inline PTX assembly -> calls of the emulated machine.

``asm("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(a), "l"(b));`` -> ``{ emulator_ptx_copy(...); }``
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .errors import EmulationError
from .scan import closing, split

ASM = re.compile(r"\b(?:asm|__asm__)\b\s*(?:volatile\b|__volatile__\b)?\s*\(")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
PREDICATE = re.compile(r"@(!?)([\w%]+)\s+")
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
TYPES = {"pred": "bool", "b16": "uint16_t", "b32": "uint32_t", "u32": "uint32_t", "s32": "int32_t", "b64": "uint64_t", "u64": "uint64_t",
         "s64": "int64_t", "f32": "float"}
WORD = r"\.[usbf]32"
Operands = list[str]


def _call(name: str, line: bool = False) -> Callable[[re.Match[str], Operands], str]:
    return lambda match, operands: f"{name}({', '.join((['__LINE__'] if line else []) + operands)})"


def _load(match: re.Match[str], operands: Operands) -> str:
    return f"emulator_ptx_load({', '.join([operands[-1], *operands[:-1]])})"


def _compare(match: re.Match[str], operands: Operands) -> str:
    return f"{operands[0]} = {operands[1]} {COMPARISONS[match[1]]} {operands[2]}"


def _dot(match: re.Match[str], operands: Operands) -> str:
    kinds = ("int8_t" if kind == "s32" else "uint8_t" for kind in match.groups())
    return f"{operands[0]} = emulator_dot<{', '.join(kinds)}>({', '.join(operands[1:])})"


def _mma_of_bytes(match: re.Match[str], operands: Operands) -> str:
    kinds = ("int8_t" if kind == "s8" else "uint8_t" for kind in match.groups())
    return f"emulator_ptx_mma_bytes<{', '.join(kinds)}>({', '.join(['__LINE__', *operands])})"


def _ldmatrix(match: re.Match[str], operands: Operands) -> str:
    transposed = "true" if match[2] else "false"
    return f"emulator_ptx_ldmatrix<{transposed}>({', '.join(['__LINE__', operands[-1], *operands[:-1]])})"


# Opcode -> the call. In operands an address of shared memory or of global memory has become a pointer.
OPCODES: dict[str, Callable[[re.Match[str], Operands], str]] = {
    r"mma\.sync\.aligned\.m16n8k[48]\.row\.col\.f32\.tf32\.tf32\.f32": _call("emulator_ptx_mma_tf32", line=True),
    r"mma\.sync\.aligned\.m16n8k(?:8|16)\.row\.col\.f32\.f16\.f16\.f32": _call("emulator_ptx_mma_f16", line=True),
    r"mma\.sync\.aligned\.m16n8k(?:8|16)\.row\.col\.f16\.f16\.f16\.f16": _call("emulator_ptx_mma_f16_sums", line=True),
    r"mma\.sync\.aligned\.(?:m8n8k16|m16n8k(?:16|32))\.row\.col\.s32\.([su]8)\.([su]8)\.s32": _mma_of_bytes,
    r"ldmatrix\.sync\.aligned\.m8n8\.x([124])(\.trans)?\.shared(?:::cta)?\.b16": _ldmatrix,
    r"cp\.async\.c[ag]\.shared(?:::cta)?\.global(?:\.L2::(?:64|128|256)B)?": _call("emulator_ptx_copy"),
    r"cp\.async\.commit_group": _call("emulator_commit"),
    r"cp\.async\.wait_group": _call("emulator_wait"),
    r"cp\.async\.wait_all": lambda match, operands: "emulator_wait(-1)",
    rf"st\.(?:shared(?:::cta)?|global)(?:\.v[24])?{WORD}": _call("emulator_ptx_store"),
    rf"ld\.(?:shared(?:::cta)?|global)(?:\.nc)?(?:\.v[24])?{WORD}": _load,
    r"cvt\.rna\.tf32\.f32": lambda match, operands: f"{operands[0]} = emulator_tf32({operands[1]})",
    r"setp\.(eq|ne|lt|le|gt|ge)\.[usb](?:32|64)": _compare,
    r"dp4a\.(s32|u32)\.(s32|u32)": _dot,
    rf"selp{WORD}": lambda match, operands: f"{operands[0]} = {operands[3]} ? {operands[1]} : {operands[2]}",
    rf"mov{WORD}": lambda match, operands: f"{operands[0]} = {operands[1]}",
    r"cvta\.to\.shared\.u64": lambda match, operands: f"{operands[0]} = emulator_shared_address((const void*){operands[1]})",
    r"cvt\.u32\.u64": lambda match, operands: f"{operands[0]} = (uint32_t){operands[1]}",
    r"bar\.warp\.sync": lambda match, operands: f"__syncwarp({operands[0]})",
}
KNOWN = [(re.compile(pattern), make) for pattern, make in OPCODES.items()]


def translate(source: str) -> str:
    """Replace each inline assembly statement of a source. Lines keep their numbers."""
    parts, at = [], 0
    for match in ASM.finditer(source):
        if match.start() < at:
            continue
        end = closing(source, match.end() - 1)
        statement = source[match.end():end]
        parts += [source[at:match.start()], _statement(statement), "\n" * source[match.start():end + 1].count("\n")]
        at = end + 1
    return "".join([*parts, source[at:]])


def _statement(text: str) -> str:
    sections = split(text, ":")
    template = "".join(literal.encode().decode("unicode_escape") for literal in STRING.findall(sections[0]))
    expressions = [_expression(operand) for section in sections[1:3] for operand in split(section, ",") if operand.strip()]
    lines = [_instruction(line.strip(), expressions) for line in _instructions(template)]
    return "{ " + " ".join(lines) + " }"


def _expression(operand: str) -> str:
    """``"+f"(*c)`` -> ``(*c)``."""
    constraint = STRING.search(operand)
    return operand[constraint.end() if constraint else 0:].strip()


def _instructions(template: str) -> list[str]:
    body = re.sub(r"//[^\n]*", "", template).replace("%%", "").strip()
    if body.startswith("{"):
        body = body[1:body.rindex("}")]
    return [line for line in body.split(";") if line.strip()]


def _instruction(line: str, expressions: list[str]) -> str:
    declared = re.fullmatch(r"\.reg\s+\.(\w+)\s+([\w, ]+)", line)
    if declared:
        return f"{TYPES[declared[1]]} {', '.join(f'{name.strip()}{{}}' for name in declared[2].split(','))};"
    guard = PREDICATE.match(line)
    if guard:
        condition = f"{guard[1]}({_operand(guard[2], expressions)})"
        return f"if ({condition}) {_instruction(line[guard.end():], expressions)}"
    opcode, _, rest = line.partition(" ")
    for pattern, make in KNOWN:
        match = pattern.fullmatch(opcode.strip())
        if match:
            shared_first = ".shared" in opcode
            addresses = iter([shared_first, False])
            return make(match, [flat for text in split(rest, ",") for flat in _flat(text, expressions, addresses)]) + ";"
    raise EmulationError(f"the emulator does not know the PTX instruction {opcode!r}")


def _flat(text: str, expressions: list[str], addresses: Iterator[bool]) -> list[str]:
    text = text.strip()
    if text.startswith("{"):
        return [_operand(part, expressions) for part in text[1:-1].split(",")]
    if text.startswith("["):
        base, plus, offset = text[1:-1].partition("+")
        space = "shared" if next(addresses) else "global"
        return [f"(emulator_ptx_{space}({_operand(base, expressions)}){plus}{offset})"]
    return [_operand(text, expressions)] if text else []


def _operand(text: str, expressions: list[str]) -> str:
    text = text.strip()
    if text.startswith("%") and not text[1:].isdigit():
        raise EmulationError(f"the emulator does not know the PTX register {text!r}")
    return expressions[int(text[1:])] if text.startswith("%") else text
