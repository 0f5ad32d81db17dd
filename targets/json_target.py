"""A TVM target that the user wrote as JSON -> Target."""
from __future__ import annotations

import difflib
import json
from typing import Any

from ..errors import TenfoldError
from . import cpu
from .llvm import check_target, cpu_features, known_cpus, known_features
from .registry import presets
from .target import Target

KINDS = ("llvm",)
# What is assumed of a CPU that no preset describes: the smallest caches of the AVX2 generations.
L1_BYTES, L2_BYTES, L3_BYTES = 32 << 10, 256 << 10, 0


def from_json(text: str) -> Target:
    """The target in a JSON text such as ``{"kind": "llvm", "mcpu": "znver4", "num-cores": 2}``.

    Raises
    ------
    TenfoldError
        Malformed JSON, or what `from_dict` refuses.
    """
    try:
        spec = json.loads(text)
    except json.JSONDecodeError as error:
        raise TenfoldError(f"the target {text!r} looks like JSON but is not: {error}") from None
    return from_dict(spec)


def from_dict(spec: dict[str, Any]) -> Target:
    """The target for a TVM target in dict form: vector width from ``mcpu`` and ``mattr``, caches from the preset of that CPU, if any.

    Raises
    ------
    TenfoldError
        An unknown kind, CPU, attribute or feature, or an architecture that Tenfold has no schedules for.
    """
    spec = dict(spec)
    if spec.get("kind") not in KINDS:
        raise TenfoldError(f"unknown target kind {spec.get('kind')!r}: Tenfold compiles for {', '.join(KINDS)} (x86-64)")
    triple = str(spec.get("mtriple", "x86_64"))
    if not triple.startswith("x86_64"):
        raise TenfoldError(f"the target's mtriple {triple!r} is not x86-64, the only architecture that Tenfold has schedules for")
    cores = spec.setdefault("num-cores", cpu.physical_cores())
    if not isinstance(cores, int) or isinstance(cores, bool) or cores < 1:
        raise TenfoldError(f"the target's num-cores is {cores!r}: it must be a whole number, 1 or more")
    _check_attributes(spec)
    mcpu = spec.setdefault("mcpu", "x86-64")
    features = cpu.flags_of(cpu_features(spec))
    bits, registers = cpu.vector_unit(features)
    like = next((preset for preset in presets() if preset.tvm["mcpu"] == mcpu), None)
    l1, l2, l3 = (like.l1_bytes, like.l2_bytes, like.l3_bytes) if like else (L1_BYTES, L2_BYTES, L3_BYTES)
    return Target(mcpu, spec, bits, registers, cores, l1, l2, l3, features=features)


def _check_attributes(spec: dict[str, Any]) -> None:
    """TVM only warns about a CPU or feature that it does not know, and then compiles for a generic one."""
    try:
        check_target(spec)
    except (ValueError, TypeError) as error:
        line = str(error).strip().splitlines()[0].split(". Target creation")[0]
        raise TenfoldError(f"TVM does not accept the target {json.dumps(spec)}: {line}") from None
    mcpu = spec.get("mcpu")
    if mcpu is not None and mcpu not in (cpus := known_cpus({"kind": "llvm"})):
        near = difflib.get_close_matches(str(mcpu), cpus, n=4) or [preset.tvm["mcpu"] for preset in presets()]
        raise TenfoldError(f"unknown mcpu {mcpu!r} in the target; LLVM knows, among others, {', '.join(near)}")
    for entry in spec.get("mattr", ()):
        if entry[:1] not in "+-" or entry[1:] not in known_features():
            near = difflib.get_close_matches(entry.lstrip("+-"), known_features(), n=4)
            example = f", such as +{near[0]}" if near else ""
            raise TenfoldError(f"unknown mattr {entry!r} in the target: write +feature or -feature{example}")
