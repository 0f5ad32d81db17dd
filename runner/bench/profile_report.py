"""The table of a profile."""
from __future__ import annotations

from ...support.listing import Listing
from ..report import milliseconds
from .profile import KernelTime, Profile


def profile_table(profile: Profile, title: str) -> Listing:
    """One row for each kernel in the order in which they run; below, what they sum up to, and what the whole call takes besides."""
    on_gpu = any(kernel.launches for kernel in profile.kernels)
    last = ["registers", "spills\nbytes"] if on_gpu else ["of\npeak"]
    headings = ["layer", "kernel", "output", "median\nms", "share", "GFLOP/s", *last]
    result = Listing(headings, range(3, len(headings)), title=title)
    if profile.peak_gflops is not None:
        result.caption = f"Peak: {profile.peak_gflops:.0f} GFLOP/s, multiply-adds on registers alone, on as many threads."
    slowest = max((kernel.ms for kernel in profile.kernels), default=0.0)
    for kernel in profile.kernels:
        result.add_row(*_cells(kernel), *(_resources(kernel) if on_gpu else _peak(kernel)), style="bold" if kernel.ms == slowest else "")
    result.add_section()
    kernels, rest = profile.kernels_ms, profile.total_ms - profile.kernels_ms
    result.add_row("all kernels", f"{len(profile.kernels)} calls", "", milliseconds(kernels), _share(kernels, profile))
    result.add_row("whole call", "", "", milliseconds(profile.total_ms), "100.0%")
    what = "copies; launches one by one" if on_gpu else "inputs, outputs, virtual machine"
    result.add_row("difference", what, "", milliseconds(rest), _share(rest, profile))
    return result


def _cells(kernel: KernelTime) -> tuple[str | tuple[str, ...], ...]:
    return (
        tuple(kernel.layers) or "-",
        kernel.function.removeprefix("fused_"),
        "x".join(map(str, kernel.output)),
        milliseconds(kernel.ms),
        f"{kernel.share:.1%}",
        "-" if kernel.gflops is None else f"{kernel.gflops:.1f}",
    )


def _peak(kernel: KernelTime) -> tuple[str, ...]:
    return ("-" if kernel.peak_share is None else f"{kernel.peak_share:.0%}",)


def _resources(kernel: KernelTime) -> tuple[str, str]:
    """Registers and spills of what a kernel launches: the most of each."""
    columns = [each.registers for each in kernel.launches], [each.spill_bytes for each in kernel.launches]
    registers, spills = (max((number for number in column if number is not None), default=None) for column in columns)
    return ("-" if registers is None else str(registers)), ("-" if spills is None else str(spills))


def _share(ms: float, profile: Profile) -> str:
    return f"{ms / profile.total_ms:.1%}"
