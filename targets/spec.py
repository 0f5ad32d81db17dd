"""The check of a TVM target that somebody wrote, before TVM or LLVM sees it: they abort, or worse, on what they do not understand."""
from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..support.errors import TenfoldError
from . import detection
from .architectures import ARCHITECTURES, X86_64, Architecture, architecture_of
from .cpu_registry import cpu_presets
from .llvm import known_cpus, known_features

KINDS = ("llvm",)
# An option of TVM's that is not here has no place in a target of Tenfold: fast-math, for one, would make NaN undetectable.
FIELDS = ("kind", "mcpu", "mattr", "mtriple", "num-cores", "opt-level", "keys", "tag")
MOST_CORES = 1024
LONGEST = 80  # characters of a value that are shown


def checked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The TVM target `spec` in dict form, with ``mcpu`` and ``num-cores``.

    Raises
    ------
    TenfoldError
        A field is unknown or of a wrong type; an unknown kind, CPU or feature; contradictory features; an architecture or system that
        Tenfold does not compile for.
    """
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        titles = " and ".join(each.title for each in ARCHITECTURES)
        raise TenfoldError(f"unknown target kind {shown(kind)}: Tenfold compiles for {', '.join(KINDS)} ({titles})")
    refuse_unknown(spec, FIELDS, "the target")
    if "mtriple" in spec:
        _check_triple(spec["mtriple"])
    architecture = architecture_of(spec)
    _check_number("num-cores", cores := spec.get("num-cores", detection.physical_cores()), 1, MOST_CORES)
    _check_number("opt-level", spec.get("opt-level", 3), 0, 3)
    if spec.get("keys", ["cpu"]) != ["cpu"]:
        raise TenfoldError(f'the target\'s keys are {shown(spec["keys"])}: they can only be ["cpu"]')
    if not isinstance(spec.get("tag", ""), str):
        raise TenfoldError(f"the target's tag is {shown(spec['tag'])}: it must be a string")
    mcpu = spec.get("mcpu", architecture.default_cpu)
    _check_cpu(mcpu, architecture)
    _check_features(spec.get("mattr", []), architecture)
    return {**spec, "num-cores": cores, "mcpu": mcpu}


def refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """TenfoldError for a key that is not known."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise TenfoldError(f"unknown field {shown(name)} in {where}{hint}: it can have {', '.join(known)}")


def shown(value: Any) -> str:
    """A value in a message: of what may be nested without end, only what it is."""
    if value is not None and not isinstance(value, str | int | float):
        return f"a {type(value).__name__}"
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**LONGEST else "a number of many digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _check_triple(triple: Any) -> None:
    if not isinstance(triple, str) or not any(each.triple.fullmatch(triple) for each in ARCHITECTURES):
        titles = " or ".join(each.title for each in ARCHITECTURES)
        raise TenfoldError(
            f"the target's mtriple {shown(triple)} is not {titles} under Linux, for which alone Tenfold compiles: write x86_64-linux-gnu"
            " or aarch64-linux-gnu"
        )


def _check_number(name: str, number: Any, least: int, most: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise TenfoldError(f"the target's {name} is {shown(number)}: it must be a whole number from {least} to {most}")


def _check_cpu(mcpu: Any, architecture: Architecture) -> None:
    """LLVM only warns about a CPU that it does not know, and then compiles for a generic one."""
    cpus = [*known_cpus(architecture.llvm), *(preset.tvm["mcpu"] for preset in cpu_presets() if preset.architecture is architecture)]
    if not isinstance(mcpu, str) or mcpu not in cpus:  # LLVM's list lacks some that are other names for one
        near = difflib.get_close_matches(str(mcpu), cpus, n=4) if isinstance(mcpu, str) else []
        near = near or list(dict.fromkeys(preset.tvm["mcpu"] for preset in cpu_presets() if preset.architecture is architecture))
        raise TenfoldError(f"unknown mcpu {shown(mcpu)} in the target; LLVM knows, among others, {', '.join(near)}")


def _check_features(mattr: Any, architecture: Architecture) -> None:
    if not isinstance(mattr, list | tuple):
        raise TenfoldError(f'the target\'s mattr is {shown(mattr)}: it must be a list, such as ["+avx2", "+fma"]')
    known = known_features() if architecture is X86_64 else frozenset(architecture.flags)
    signs: dict[str, str] = {}
    for entry in mattr:
        if not isinstance(entry, str) or entry[:1] not in ("+", "-") or entry[1:] not in known:
            near = difflib.get_close_matches(entry.lstrip("+-"), known, n=4) if isinstance(entry, str) else []
            example = f", such as +{near[0]}" if near else ""
            raise TenfoldError(f"unknown mattr {shown(entry)} in the target: write +feature or -feature{example}")
        if entry[0] == "-" and entry[1:] in architecture.base:
            raise TenfoldError(f"the target's mattr {entry} can't be: every {architecture.title} CPU has {entry[1:]}")
        if signs.setdefault(entry[1:], entry[0]) != entry[0]:
            raise TenfoldError(f"the target's mattr both adds and removes {entry[1:]}: leave one of +{entry[1:]} and -{entry[1:]}")
