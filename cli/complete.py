"""What a shell completes an option with. It waits for every key, so nothing heavy is imported."""
from __future__ import annotations

from pathlib import Path

PRESETS = Path(__file__).parent.parent / "targets" / "presets"
ENGINES = ("onnxruntime", "openvino", "torch", "torch-compile")
PICTURES = ("filters", "parameters", "spectra")


def target_names(incomplete: str) -> list[str]:
    """The presets and host."""
    return [name for name in ("host", *sorted(path.stem for path in PRESETS.glob("*.toml"))) if name.startswith(incomplete)]


def engine_names(incomplete: str) -> list[str]:
    """The rivals, behind those that are there and a comma."""
    head, comma, last = incomplete.rpartition(",")
    return [f"{head}{comma}{name}" for name in ENGINES if name.startswith(last) and name not in head.split(",")]


def picture_names(incomplete: str) -> list[str]:
    """The kinds of pictures."""
    return [name for name in PICTURES if name.startswith(incomplete)]
