"""What a user allows, and what is wanted within it."""
from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from ..support.errors import TenfoldError

OPTIONS = {"max_drop": "--max-drop", "speedup": "--speedup", "latency": "--latency", "size": "--size"}


@dataclass(frozen=True)
class Budget:
    """Bounds on a compressed network; at least one.

    With a bound on time (`speedup`, `latency`) the most accurate network within the bounds is wanted; otherwise, with `max_drop`, the
    fastest; with `size` alone, the most accurate.

    Parameters
    ----------
    max_drop : float, optional
        Points of accuracy (percent) that may be lost; with a metric (`Settings`) in its units, and of networks that are no plain
        classifiers the divergence that any output may have (`search.measures`).
    speedup : float, optional
        Times faster than the dense network on the target.
    latency : float, optional
        Milliseconds of one run on the target.
    size : float, optional
        Megabytes (10^6 bytes) of the ONNX file.

    Raises
    ------
    TenfoldError
        No bound at all, or one that is not above 0, or a speed-up of no more than 1.
    """

    max_drop: float | None = None
    speedup: float | None = None
    latency: float | None = None
    size: float | None = None

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if not given:
            raise TenfoldError(f"no budget: give at least one of {', '.join(OPTIONS.values())}")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TenfoldError(f"{OPTIONS[name]} {value!r} is no number: it must be above 0")
            if not isfinite(value) or value <= 0:
                raise TenfoldError(f"{OPTIONS[name]} {value:g} is out of range: it must be above 0")
        if self.speedup is not None and self.speedup <= 1:
            raise TenfoldError(f"--speedup {self.speedup:g} is out of range: it must be above 1, which is the dense network")
        if self.max_drop is not None and self.max_drop >= 100:
            raise TenfoldError(f"--max-drop {self.max_drop:g} is out of range: it is in points of accuracy, of which there are 100")

    def most_ms(self, dense_ms: float) -> float | None:
        """Milliseconds that a run may take; None if they are not bounded."""
        bounds = [self.latency, None if self.speedup is None else dense_ms / self.speedup]
        return min((bound for bound in bounds if bound is not None), default=None)

    @property
    def most_bytes(self) -> float | None:
        """Bytes that the file may have; None if they are not bounded."""
        return None if self.size is None else self.size * 1e6

    @property
    def minimise(self) -> str:
        """What is to be the least within the bounds: the sum of this field of `knapsack.Item`, ``ms`` or ``loss``."""
        timed = self.speedup is not None or self.latency is not None
        return "ms" if self.max_drop is not None and not timed else "loss"

    def __str__(self) -> str:
        return self.text("points")

    def text(self, units_lost: str) -> str:
        """In words; `units_lost`: of `max_drop`."""
        units = {"max_drop": f"{{:g}} {units_lost} lost", "speedup": "{:g} times faster", "latency": "{:g} ms", "size": "{:g} MB"}
        return ", ".join(units[f.name].format(value) for f in fields(self) if (value := getattr(self, f.name)) is not None)
