"""What a shell completes an option with. It waits for every key, so nothing heavy is imported."""
from __future__ import annotations

from pathlib import Path

PRESETS = Path(__file__).parent.parent / "targets" / "presets"
ENGINES = ("onnxruntime", "openvino", "torch", "torch-compile", "tensorrt")
METHODS = (
    "svd", "spatial_svd", "channel_svd", "tucker2", "monochromatic", "biclustering_svd", "biclustering_outer", "separable_basis", "cp",
    "flattened", "flattened_vhl", "decoupled", "decoupled_pointwise_first", "prune",
)  # as in factorization, which imports NumPy
REWRITES = (
    "common", "affine", "padding", "branches", "pooling", "global_average", "upsampling", "space_to_depth", "chains", "dead_channels",
)  # as in passes/simplify
PRECISIONS = ("float32", "bfloat16", "float16", "tf32", "int8")  # as in targets, and by quantizing
MIXED = ("float32", "int8", "auto")  # as in search/settings
CALIBRATIONS = ("mse", "minmax", "percentile", "kl")  # as in quantization
ACTIVATIONS = ("uint8", "int8")  # likewise
FIGURES = ("latency", "bytes", "memory", "accuracy", "macs")  # as in runner/changes
PICTURES = ("filters", "learned", "parameters", "spectra")


def target_names(incomplete: str) -> list[str]:
    """The presets and host."""
    return [name for name in ("host", *sorted(path.stem for path in PRESETS.glob("*/*.toml"))) if name.startswith(incomplete)]


def precision_names(incomplete: str) -> list[str]:
    """Of the operands of products."""
    return [name for name in PRECISIONS if name.startswith(incomplete)]


def mixed_names(incomplete: str) -> list[str]:
    """What layers of one network may be computed in."""
    return [name for name in MIXED if name.startswith(incomplete)]


def calibration_names(incomplete: str) -> list[str]:
    """How ranges of activations are found."""
    return [name for name in CALIBRATIONS if name.startswith(incomplete)]


def activation_names(incomplete: str) -> list[str]:
    """The types of activations."""
    return [name for name in ACTIVATIONS if name.startswith(incomplete)]


def device_names(incomplete: str) -> list[str]:
    """The devices that have names."""
    return [name for name in ("here", "emulated", "tracker:") if name.startswith(incomplete)]


def engine_names(incomplete: str) -> list[str]:
    """The rivals, one or several."""
    return _several(ENGINES, incomplete)


def method_names(incomplete: str) -> list[str]:
    """The methods, one or several."""
    return _several(METHODS, incomplete.replace("-", "_"))


def rewrite_names(incomplete: str) -> list[str]:
    """The rewrites of `simplify`, one or several."""
    return _several(REWRITES, incomplete)


def figure_names(incomplete: str) -> list[str]:
    """What results are compared by, one or several."""
    return _several(FIGURES, incomplete)


def picture_names(incomplete: str) -> list[str]:
    """The kinds of pictures."""
    return [name for name in PICTURES if name.startswith(incomplete)]


def _several(names: tuple[str, ...], incomplete: str) -> list[str]:
    """Names behind those that are there and a comma."""
    head, comma, last = incomplete.rpartition(",")
    return [f"{head}{comma}{name}" for name in names if name.startswith(last) and name not in head.split(",")]
