"""What a GPU can do in a cycle, as far as the choice of kernels depends on it: one value for each quantity."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuModel:
    """The figures of a GPU. An SM is a streaming multiprocessor; a cycle is one of its clock.

    Attributes
    ----------
    sms : int
        Streaming multiprocessors.
    async_copies : bool
        Whether global memory is copied to shared memory past the registers (``cp.async``).
    fma_per_cycle : int
        float32 multiply-adds that an SM does in a cycle.
    tensor_fma_per_cycle : int
        TF32 multiply-adds of its tensor cores; 0 where they have no TF32.
    half_fma_per_cycle : int
        float16 multiply-adds of its tensor cores, with float32 sums.
    byte_fma_per_cycle : int
        Multiply-adds of bytes of its tensor cores, with sums of 32 bits.
    registers : int
        32-bit registers of an SM.
    threads, blocks : int
        That an SM holds at a time.
    shared_bytes : int
        Shared memory of an SM, all its blocks together.
    shared_block_bytes : int
        The most that one block can have. The driver takes `RESERVED` more of the SM for each block.
    l2_bytes : int
        Second cache, of all SMs.
    l2_bytes_per_cycle, memory_bytes_per_cycle : float
        That all SMs together read.
    launch_cycles : float
        From the end of a kernel to the work of the next one, within a graph.
    clock_ghz : float
        Cycles in a nanosecond.
    """

    sms: int
    async_copies: bool
    fma_per_cycle: int
    tensor_fma_per_cycle: int
    half_fma_per_cycle: int
    byte_fma_per_cycle: int
    registers: int
    threads: int
    blocks: int
    shared_bytes: int
    shared_block_bytes: int
    l2_bytes: int
    l2_bytes_per_cycle: float
    memory_bytes_per_cycle: float
    launch_cycles: float
    clock_ghz: float


RESERVED = 1024  # bytes of shared memory that the system takes for each block, from compute capability 8.0 on
