"""Where the time goes: kernels one after the other, as a waterfall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runner.report import milliseconds
from .sources import Source, benched_of


@dataclass(frozen=True)
class Step:
    """A kernel: where its bar begins and how long it is, and its share of the peak, in percent; what there is to say of it."""

    name: str
    function: str
    begin: float
    length: float
    ms: str
    share: str
    gflops: str
    peak: float | None


@dataclass(frozen=True)
class Waterfall:
    """The kernels of a network; `rest`: what a call takes besides. `longest` is the number of the kernel that takes most."""

    title: str
    steps: tuple[Step, ...]
    total: str
    rest: str
    peak: str
    longest: int


def waterfalls(sources: Sequence[Source]) -> list[Waterfall]:
    """One for each network that was profiled."""
    rows = [row for source in benched_of(sources) for row in source.content["rows"]]
    return [_waterfall(row["model"], row["profile"]) for row in rows if row["profile"] is not None and row["profile"]["kernels"]]


def _waterfall(title: str, profile: Mapping[str, Any]) -> Waterfall:
    kernels, total = profile["kernels"], profile["total_ms"]
    together = sum(kernel["ms"] for kernel in kernels)
    whole, begin, steps = max(total, together), 0.0, []
    for kernel in kernels:
        steps.append(_step(kernel, 100 * begin / whole, 100 * kernel["ms"] / whole))
        begin += kernel["ms"]
    peak = "" if profile["peak_gflops"] is None else f"{profile['peak_gflops']:.0f} GFLOP/s"
    longest = max(range(len(kernels)), key=lambda number: kernels[number]["ms"])
    rest = f"{milliseconds(total - together)} ms" if total > together else ""
    return Waterfall(title, tuple(steps), f"{milliseconds(total)} ms", rest, peak, longest)


def _step(kernel: Mapping[str, Any], begin: float, length: float) -> Step:
    function = kernel["function"].removeprefix("fused_")
    gflops = "" if kernel["gflops"] is None else f"{kernel['gflops']:.1f} GFLOP/s"
    peak = None if kernel["peak_share"] is None else 100 * kernel["peak_share"]
    return Step(
        ", ".join(kernel["layers"]) or function, function, begin, length, milliseconds(kernel["ms"]), f"{kernel['share']:.1%}", gflops, peak
    )
