"""What a CPU can do in a cycle, as far as the choice of kernels depends on it: one value for each quantity.

All times are in cycles of a core and all rates in bytes per cycle. `CpuTarget` has the number of cores and the sizes of vectors and caches.
What a kernel makes of these figures, such as its share of a cache, stands beside the code that decides by it.
"""
from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any


def _figure(default: float | bool, least: float = 0, most: float = 1) -> Any:
    """A field with the smallest and the largest value that a file may give it."""
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True)
class CpuModel:
    """The figures of a core, and of what cores share.

    The defaults are those that the schedules were tuned with, by measurement on Zen 3, Zen 4, Zen 5 and Sapphire Rapids.

    Attributes
    ----------
    fma_per_cycle, loads_per_cycle : float
        Vector multiply-adds, and vector loads or broadcasts, that a core issues in a cycle.
    fma_latency : float
        Cycles from a multiply-add, or an addition, to one that takes its result.
    memory_operand : bool
        A multiply-add broadcasts a number from memory by itself, as AVX-512's does: no register holds the broadcast.
    lane_operand : bool
        A multiply-add takes a lane of a register as its factor, as NEON's does: no register holds the broadcast.
    in_order : bool
        It starts instructions in the order of the code, so loads are to stand ahead of what takes them, in registers of their own.
    pointer_registers : int
        General registers that an inner loop has left for pointers.
    store_buffer : int
        Stores that a core has under way.
    line_bytes : int
        Of a line of the caches.
    way_bytes : int
        From an address to the next one that shares its set of the L1 cache: the size of one way.
    page_bytes, tlb_pages : int
        Size of a page, and how many pages the first TLB knows.
    l2_bytes_per_cycle, l3_bytes_per_cycle : float
        That one core reads in a stream, as of weights.
    memory_bytes_per_cycle : float
        That all cores together read from memory in a stream, as of weights.
    l2_round_trip_bytes_per_cycle, l3_round_trip_bytes_per_cycle, memory_round_trip_bytes_per_cycle : float
        That one core writes there and then reads, each byte counted twice. Lines that are written are fetched before, and written back.
    remote_bytes_per_cycle : float
        That one core reads of what another one has just written.
    launch_cycles : float
        To hand a loop to the other threads, and to wait for the last of them.
    task_cycles : float
        To begin one of the tasks of a loop: to take it, and to touch its data first.
    barrier_cycles : float
        Until the last thread has seen that all have come, within a launch.
    clock_ghz : float
        Cycles in a nanosecond for which the figures hold. Memory and the ways between cores keep their own time (`at_clock`).
    """

    fma_per_cycle: float = _figure(2.0, 0.25, 16)
    loads_per_cycle: float = _figure(2.0, 0.25, 16)
    fma_latency: float = _figure(4.0, 1, 64)
    memory_operand: bool = _figure(False)
    lane_operand: bool = _figure(False)
    in_order: bool = _figure(False)
    pointer_registers: int = _figure(8, 1, 64)
    store_buffer: int = _figure(64, 1, 4096)
    line_bytes: int = _figure(64, 16, 1024)
    way_bytes: int = _figure(4096, 256, 1 << 20)
    page_bytes: int = _figure(4096, 1024, 1 << 30)
    tlb_pages: int = _figure(96, 1, 1 << 16)
    l2_bytes_per_cycle: float = _figure(20.0, 0.1, 1024)
    l2_round_trip_bytes_per_cycle: float = _figure(16.0, 0.1, 1024)
    l3_bytes_per_cycle: float = _figure(16.0, 0.1, 1024)
    l3_round_trip_bytes_per_cycle: float = _figure(8.0, 0.1, 1024)
    memory_bytes_per_cycle: float = _figure(7.0, 0.01, 1024)
    memory_round_trip_bytes_per_cycle: float = _figure(5.0, 0.01, 1024)
    remote_bytes_per_cycle: float = _figure(1.5, 0.01, 1024)
    launch_cycles: float = _figure(2000.0, 1, 1e7)
    task_cycles: float = _figure(1500.0, 1, 1e7)
    barrier_cycles: float = _figure(500.0, 1, 1e7)
    clock_ghz: float = _figure(3.7, 0.05, 10)

    def at_clock(self, ghz: float) -> CpuModel:
        """The same memory and the same threads, seen from cores of another clock."""
        faster = ghz / self.clock_ghz
        rates = {name: getattr(self, name) / faster for name in BY_THE_CLOCK if name.endswith("_per_cycle")}
        times = {name: getattr(self, name) * faster for name in BY_THE_CLOCK if name.endswith("_cycles")}
        return replace(self, **rates, **times, clock_ghz=ghz)


# What is outside of the cores, and takes as many nanoseconds whatever their clock is.
BY_THE_CLOCK = ("memory_bytes_per_cycle", "memory_round_trip_bytes_per_cycle", "remote_bytes_per_cycle", "launch_cycles", "barrier_cycles")
FIGURES = {figure.name: figure for figure in fields(CpuModel)}


def for_registers(model: CpuModel, vector_registers: int) -> CpuModel:
    """The model of an x86-64 CPU for code with so many vector registers: 32 are AVX-512's, whose multiply-adds broadcast from memory."""
    return replace(model, memory_operand=vector_registers > 16)
