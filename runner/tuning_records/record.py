"""One record of the tuner: a point of a kernel's space, and how fast it was; to and from a line of JSON."""
from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ...runtime.manifest_fields import MOST_THREADS, knob, mapping, text, texts, whole
from ...support.errors import TenfoldError
from ...support.files.json_text import decode_text, parse_json
from .processor import Processor

MEASURED, MODELLED = HOW = ("measured", "modelled")
LONGEST_LINE = 1 << 16  # bytes
LONGEST_TEXT, LONGEST_NAME = 1 << 15, 1 << 9  # characters of a workload, of other fields
MOST_KNOBS = 1 << 10
MOST_MS = 1e9
SAFE = re.compile(r"[\w-]+", re.ASCII)  # it names a folder
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class NoRecord(ValueError):
    """A line is no record; the message says why, in a few words."""


@dataclass(frozen=True)
class Record:
    """A point of a kernel's space, timed.

    Attributes
    ----------
    operator : str
        What is computed, for people: ``conv2d``, ``dense``, ``chain run``.
    workload : str
        The key: the `workload` of the kernel, or of the run of convolutions whose cut this is.
    epilogue : str
        The steps around it while it was timed, for people.
    dtype : str
        Of the operands of products: the target's `precision`.
    processor : Processor
    cores : int
        Threads.
    space : int
        `SPACE_VERSION` of the code that timed it.
    choice : mapping of str to value
        The point, as JSON has it: tuples are lists.
    ms, base_ms : float
        Milliseconds of this point, and of the model's choice in the same session.
    model_ms : float or None
        Milliseconds that the model of the machine expects of this point.
    trials : int
        Points of this kernel that were timed up to then.
    how : str
        ``measured``, or ``modelled``: no processor took this time.
    code : str
        The version of the code that timed it.
    date : str
        UTC, as ``2025-01-31T12:00:00Z``.
    """

    operator: str
    workload: str
    epilogue: str
    dtype: str
    processor: Processor
    cores: int
    space: int
    choice: Mapping[str, Any]
    ms: float
    base_ms: float
    model_ms: float | None
    trials: int
    how: str
    code: str
    date: str

    def __post_init__(self) -> None:
        """Bring the choice to the form that JSON has."""
        object.__setattr__(self, "choice", {name: knob(value) for name, value in self.choice.items()})

    @property
    def ratio(self) -> float:
        """What part of the time of the model's choice it takes."""
        return self.ms / self.base_ms

    @property
    def identity(self) -> str:
        """What was timed, and by what: two records with the same identity are two measurements of the same thing."""
        fields = self.to_json()
        return _dumped([fields[name] for name in IDENTITY])

    def to_json(self) -> dict[str, Any]:
        """Return its fields in the order of a line."""
        values = {name: getattr(self, "processor" if name == "target" else name) for name in FIELDS}
        return {**values, "target": self.processor.to_json(), "choice": dict(self.choice)}

    def to_line(self) -> str:
        """Return it as a line of JSON, without its end.

        Raises
        ------
        TenfoldError
            A field has a value that no reader would take.
        """
        line = _dumped(self.to_json())
        try:
            Record.of_line(line.encode())
        except (NoRecord, ValueError) as error:
            raise TenfoldError(f"this can't be a record of the tuner: {error}") from None
        return line

    @classmethod
    def of_line(cls, line: bytes) -> Record:
        """Read a line.

        Raises
        ------
        NoRecord
            It is nothing that `to_line` wrote: not JSON, a field too few or too many, a value that can't be.
        """
        if len(line) > LONGEST_LINE:
            raise NoRecord(f"it has more than {LONGEST_LINE >> 10} KiB")
        try:
            fields = parse_json(decode_text(line, "it"), "it")
            if not isinstance(fields, dict):
                raise NoRecord("it is no object")
            strange = sorted(FIELDS.keys() ^ fields.keys())
            if strange:
                raise NoRecord(f"{strange[0][:40]!r} {'is missing' if strange[0] in FIELDS else 'is no field of a record'}")
            values = {name: _read(name, reader, fields[name]) for name, reader in FIELDS.items()}
        except TenfoldError as error:
            raise NoRecord(str(error)) from None
        return cls(processor=values.pop("target"), **values)


def now() -> str:
    """Return the date of a record that is made now."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read(name: str, reader: Callable[[Any], Any], value: Any) -> Any:
    try:
        return reader(value)
    except KeyError as error:
        raise NoRecord(f"{name}: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise NoRecord(f"{name}: {error}") from None


def _name(value: Any, most: int = LONGEST_NAME, least: int = 1) -> str:
    if not least <= len(text(value)) <= most:
        raise ValueError(f"it has {len(value)} characters, not {least} to {most}")
    return value


def _ms(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("this is no number")
    if not 0 < value < MOST_MS or not math.isfinite(value):
        raise ValueError(f"{value:.3g} can't be milliseconds")
    return float(value)


def _processor(value: Any) -> Processor:
    names = {"name", "instruction_set", "features", "cpu_model"}
    if mapping(value).keys() != names:
        raise ValueError(f"its fields are not {', '.join(sorted(names))}")
    return _checked_processor(value["name"], value["instruction_set"], texts(value["features"]), value["cpu_model"])


@functools.lru_cache(maxsize=256)  # a log is of few processors
def _checked_processor(name: str, instruction_set: str, features: tuple[str, ...], model: str) -> Processor:
    if list(features) != sorted({_name(each) for each in features}):
        raise ValueError("its features are not sorted")
    if not SAFE.fullmatch(_name(name)):
        raise ValueError("its name has other characters than letters, digits, _ and -")
    return Processor(name, _name(instruction_set), features, _name(model))


def _choice(value: Any) -> dict[str, Any]:
    if not 0 < len(mapping(value)) <= MOST_KNOBS:
        raise ValueError(f"it has {len(value)} knobs")
    return {_name(name): knob(each) for name, each in value.items()}


def _one_of(*values: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in values:
            raise ValueError(f"it is not one of {', '.join(values)}")
        return value

    return read


def _date(value: Any) -> str:
    if not DATE.fullmatch(text(value)):
        raise ValueError("it is not of the form 2025-01-31T12:00:00Z")
    datetime(*(int(part) for part in re.findall(r"\d+", value)))  # type: ignore[arg-type]  # ValueError for the 31st of February
    return value


# In the order in which they stand in a line.
FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "operator": _name,
    "workload": lambda value: _name(value, LONGEST_TEXT),
    "epilogue": lambda value: _name(value, LONGEST_TEXT, 0),
    "dtype": _name,
    "target": _processor,
    "cores": lambda value: whole(value, 1, MOST_THREADS),
    "space": whole,
    "choice": _choice,
    "ms": _ms,
    "base_ms": _ms,
    "model_ms": lambda value: None if value is None else _ms(value),
    "trials": whole,
    "how": _one_of(*HOW),
    "code": _name,
    "date": _date,
}
IDENTITY = ("operator", "workload", "epilogue", "dtype", "target", "cores", "space", "choice", "how", "code")
