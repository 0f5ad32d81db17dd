"""A TVM target that the user wrote, as a dict or as JSON -> CpuTarget."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..support.errors import TenfoldError
from ..support.files.json_text import parse_json
from .architectures import X86_64, Architecture, architecture_of
from .cpu_model import CpuModel, for_registers
from .cpu_registry import cpu_presets
from .cpu_target import CpuTarget
from .llvm import cpu_features
from .spec import checked, shown
from .trial import trial_features

# What is assumed of a CPU that no preset describes: the smallest caches of the AVX2 generations.
L1_BYTES, L2_BYTES, L3_BYTES = 32 << 10, 256 << 10, 0


def from_json(text: str) -> CpuTarget:
    """The target in a JSON text such as ``{"kind": "llvm", "mcpu": "znver4", "num-cores": 2}``.

    Raises
    ------
    TenfoldError
        Malformed JSON, or what `from_dict` refuses.
    """
    spec = parse_json(text, f"the target {shown(text)}, which looks like JSON")
    if not isinstance(spec, dict):
        raise TenfoldError(f"the target {shown(text)} is no JSON object: write {{\"kind\": \"llvm\", \"mcpu\": NAME}}")
    return from_dict(spec)


def from_dict(spec: Mapping[str, Any]) -> CpuTarget:
    """The target for a TVM target in dict form.

    The vector width comes from ``mcpu`` and ``mattr``, caches and model from the preset of that CPU, if any.

    Raises
    ------
    TenfoldError
        What `spec.checked` refuses, and what LLVM can't compile for.
    """
    tvm = checked(spec)
    features = flags_for(tvm)
    bits, registers = architecture_of(tvm).vectors(features)
    like = next((preset for preset in cpu_presets() if preset.tvm["mcpu"] == tvm["mcpu"]), None)
    l1, l2, l3 = (like.l1_bytes, like.l2_bytes, like.l3_bytes) if like else (L1_BYTES, L2_BYTES, L3_BYTES)
    return CpuTarget(
        name=tvm["mcpu"], tvm=tvm, cores=tvm["num-cores"], features=features, vector_bits=bits, vector_registers=registers,
        l1_bytes=l1, l2_bytes=l2, l3_bytes=l3, model=known_model(tvm, registers),
    )  # fmt: skip


def known_model(tvm: Mapping[str, Any], registers: int) -> CpuModel:
    """The model of the preset for the same ``mcpu``; the defaults of the instruction set where there is none.

    Parameters
    ----------
    tvm : mapping
        A checked TVM target.
    registers : int
        Vector registers that code can use.
    """
    known = next((preset.model for preset in cpu_presets() if preset.tvm["mcpu"] == tvm["mcpu"]), None)
    architecture = architecture_of(tvm)
    model = known or default_model(architecture)
    return for_registers(model, registers) if architecture is X86_64 else model


def default_model(architecture: Architecture) -> CpuModel:
    """What is assumed of a CPU that no preset describes."""
    return CpuModel() if architecture is X86_64 else CpuModel(lane_operand=True, pointer_registers=20)


def flags_for(tvm: dict[str, Any]) -> tuple[str, ...]:
    """What a CPU must be able to do to run code for a checked TVM target, as flags of /proc/cpuinfo.

    Raises
    ------
    TenfoldError
        LLVM can't compile for it.
    """
    plain = not tvm.get("mattr") and tvm.get("mtriple") == architecture_of(tvm).default_triple
    if plain and any(preset.tvm["mcpu"] == tvm["mcpu"] for preset in cpu_presets()):  # it is known to compile
        return architecture_of(tvm).flags_of(cpu_features(tvm))
    return architecture_of(tvm).flags_of(trial_features(tvm))
