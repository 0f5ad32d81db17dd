"""The fields of a manifest, each checked on reading: a manifest may have been edited, and its numbers address memory."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
MOST_DIMENSIONS = 32
MOST_BYTES = 1 << 46  # of a tensor: far more than a machine has, and products of a few such numbers still fit in 64 bits
MOST_THREADS = 1 << 16  # that a manifest may state; a network runs on no more than there are cores
COUNT = 1 << 62
LARGEST = 1e300  # of numbers that may be fractions: as a percentage, too, such a number is finite


@dataclass(frozen=True)
class Port:
    """An input or output: name, static shape, NumPy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def text(value: Any) -> str:
    """A string; TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is no string")
    return value


def whole(value: Any, least: int = 0, most: int = COUNT) -> int:
    """Check that a value is a whole number within bounds; TypeError or ValueError for anything else.

    Parameters
    ----------
    value
        What the manifest says.
    least, most : int
        The bounds, both allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{_short(value)} is no whole number")
    if not least <= value <= most:
        raise ValueError(f"{_short(value)} is not between {least} and {most}")
    return value


def signed(value: Any) -> int:
    """A whole number of either sign."""
    return whole(value, -COUNT)


def mapping(value: Any) -> dict[str, Any]:
    """An object of JSON; TypeError for anything else."""
    if not isinstance(value, dict):
        raise TypeError(f"{_short(value)} is no object")
    return value


def sequence(value: Any, item: Callable[[Any], Any]) -> tuple[Any, ...]:
    """A list, each item read by `item`; TypeError for anything else."""
    if not isinstance(value, list):
        raise TypeError(f"{_short(value)} is no list")
    return tuple(item(each) for each in value)


def shape(value: Any) -> tuple[int, ...]:
    """Sizes that a tensor can have."""
    sizes = sequence(value, whole)
    if len(sizes) > MOST_DIMENSIONS or prod(size or 1 for size in sizes) > MOST_BYTES:
        raise ValueError(f"{_short(value)} is no shape of a tensor")
    return sizes


def port(value: Any) -> Port:
    """An input or output."""
    found = Port(text(mapping(value)["name"]), shape(value["shape"]), text(value["dtype"]))
    if found.dtype not in DTYPES:
        raise ValueError(f"{_short(found.dtype)} is no dtype of a tensor")
    if prod(found.shape) * np.dtype(found.dtype).itemsize > MOST_BYTES:
        raise ValueError(f"{list(found.shape)} is no shape of a tensor")
    return found


def ports(value: Any) -> tuple[Port, ...]:
    """Read all inputs or all outputs. Their names must differ."""
    found = sequence(value, port)
    if len({each.name for each in found}) != len(found):
        raise ValueError("two of them have the same name")
    return found


def target(value: Any) -> dict[str, Any]:
    """What the code needs to run."""
    found = dict(mapping(value))
    found.update(name=text(found["name"]), architecture=text(found["architecture"]), tvm=mapping(found["tvm"]))
    found["features"] = list(sequence(found["features"], text))
    if "precision" in found:
        found["precision"] = text(found["precision"])
    return found


def kernel(value: Any) -> dict[str, Any]:
    """One kernel, as the manifest lists it."""
    entry = mapping(value)
    sequences = {"layers": sequence(entry["layers"], text), "output": shape(entry["output"])}
    precision = {"precision": text(entry["precision"])} if "precision" in entry else {}
    return {"function": text(entry["function"]), **sequences, "macs": whole(entry["macs"]), **precision}


def knob(value: Any) -> bool | int | str | list[int]:
    """The value of a knob of a kernel."""
    if isinstance(value, list | tuple):
        return [whole(each) for each in value]
    if not isinstance(value, bool | int | str):
        raise TypeError(f"{_short(value)} is no value of a knob")
    return value


def choices(value: Any) -> dict[str, dict[str, Any]]:
    """What kernels are built from: knobs and their values, by workload."""
    return {text(workload): {text(name): knob(each) for name, each in mapping(point).items()} for workload, point in mapping(value).items()}


def number(value: Any) -> float:
    """A number of JSON; TypeError or ValueError for anything else, and for one that is too large to reckon with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{_short(value)} is no number")
    if not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{_short(value)} is too large")
    return value


def amount(value: Any) -> float:
    """A number that is 0 or more."""
    if number(value) < 0:
        raise ValueError(f"{_short(value)} is less than 0")
    return value


def optional(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A reader that takes null too."""
    return lambda value: None if value is None else reader(value)


def record(**readers: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """A reader of an object of JSON with these fields. Others are kept as they are."""
    return lambda value: {**mapping(value), **{name: reader(value[name]) for name, reader in readers.items()}}


def origin(value: Any) -> dict[str, Any]:
    """Where the choice of a kernel comes from; of a record also how it was timed."""
    known = mapping(value)
    return record(**dict.fromkeys(("by", "log", "how") if known.get("by") == "record" else ("by",), text))(known)


def tolerance(value: Any) -> float:
    """What errors are held against; ValueError for one that accepts everything or nothing."""
    if not 0 < number(value) < 1:
        raise ValueError(f"tolerance {_short(value)} is not above 0 and below 1")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings."""
    return sequence(value, text)


SOURCE = record(
    path=optional(text),
    input_shapes=optional(lambda value: {name: shape(sizes) for name, sizes in mapping(value).items()}),
    batch=optional(lambda value: whole(value, 1)),
    outputs=optional(texts),
    tolerance=optional(tolerance),
)
VERIFICATION = record(
    device=text, reference=text, inputs=whole, max_abs_error=number, max_rel_error=number, tolerance=tolerance, tolerance_reason=text,
    notes=texts,
)  # fmt: skip
REFERENCE = record(
    sha256=text, engine=text, inputs=lambda value: whole(value, 1), tolerance=tolerance, tolerance_reason=text, rms=optional(tolerance)
)
TUNING = record(
    kernels=lambda value: {text(workload): origin(each) for workload, each in mapping(value).items()},
    stale=lambda value: {text(workload): text(why) for workload, why in mapping(value).items()},
    of_other_processors=whole,
)
TOTALS = record(nodes=whole, macs=whole, params=whole)
SIMPLIFIED = record(
    before=TOTALS, after=TOTALS,
    merges=lambda value: list(sequence(value, record(rewrite=text, into=text, nodes=signed, macs=signed, params=signed))),
)  # fmt: skip
QUANTIZATION = record(
    precision=text, calibration=text, layers=whole, of=whole, calibration_images=whole, judged_images=whole, accuracy=optional(number),
    accuracy_before=optional(number),
)  # fmt: skip
CLUSTERING = record(
    bits=whole, method=text, layers=whole, numbers=whole, packed=whole, weight_error=number, accuracy=optional(number),
    accuracy_before=optional(number),
)  # fmt: skip
QUANTIZED = record(int8=texts, float32=lambda value: {text(layer): text(why) for layer, why in mapping(value).items()})
# Fields that older manifests don't have.
OPTIONAL = {"tuning": None, "simplified": None, "quantization": None, "clustering": None, "quantized": None, "command": None}

READERS: Mapping[str, Callable[[Any], Any]] = {
    "name": text,
    "model_sha256": text,
    "inputs": ports,
    "outputs": lambda value: ports(value) if value else whole(value, 1),  # one at least
    "target": target,
    "threads": lambda value: whole(value, 1, MOST_THREADS),
    "versions": mapping,
    "plan": optional(mapping),
    "library_sha256": text,
    "weights_sha256": text,
    "bytes": whole,
    "memory": lambda value: {name: whole(size) for name, size in mapping(value).items()},
    "kernels": lambda value: sequence(value, kernel),
    "choices": choices,
    "pieces": lambda value: whole(value, 1),
    "macs": whole,
    "params": whole,
    "source": SOURCE,
    "reference": optional(REFERENCE),
    "verification": optional(VERIFICATION),
    "unscheduled": lambda value: sequence(value, text),
    "tuning": optional(TUNING),
    "simplified": optional(SIMPLIFIED),
    "quantization": optional(QUANTIZATION),
    "clustering": optional(CLUSTERING),
    "quantized": optional(QUANTIZED),
    "command": optional(text),
}


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
