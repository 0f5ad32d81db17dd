"""What the CPU of this process says of itself (CPUID): under emulation, of the one that is emulated. /proc/cpuinfo is the host's there."""
from __future__ import annotations

import ctypes
import mmap
import platform

# void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *registers), which stores EAX, EBX, ECX and EDX
CODE = bytes.fromhex(
    "53"  # push rbx
    "4989d0"  # mov r8, rdx
    "89f8"  # mov eax, edi
    "89f1"  # mov ecx, esi
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8 + 4], ebx
    "41894808"  # mov [r8 + 8], ecx
    "4189500c"  # mov [r8 + 12], edx
    "5b"  # pop rbx
    "c3"  # ret
)
EXTENDED = 0x80000000  # leaves from here on count for themselves
A, B, C, D = range(4)

# (leaf, subleaf, register) -> flag of /proc/cpuinfo and its bit: those of `architectures.X86_FLAGS` (AMD's and Intel's manuals)
BITS: dict[tuple[int, int, int], dict[str, int]] = {
    (1, 0, C): {
        "pni": 0, "ssse3": 9, "fma": 12, "sse4_1": 19, "sse4_2": 20, "movbe": 22, "popcnt": 23, "avx": 28, "f16c": 29,
    },
    (7, 0, B): {
        "bmi1": 3, "avx2": 5, "bmi2": 8, "avx512f": 16, "avx512dq": 17, "avx512ifma": 21, "avx512cd": 28, "avx512bw": 30, "avx512vl": 31,
    },
    (7, 0, C): {
        "avx512vbmi": 1, "avx512_vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10, "avx512_vnni": 11, "avx512_bitalg": 12,
        "avx512_vpopcntdq": 14,
    },
    (7, 0, D): {"avx512_fp16": 23},
    (7, 1, A): {"avx_vnni": 4, "avx512_bf16": 5},
    (EXTENDED + 1, 0, C): {"abm": 5, "xop": 11, "fma4": 16, "tbm": 21},
}  # fmt: skip


def cpuid_flags() -> frozenset[str]:
    """The flags of /proc/cpuinfo that CPUID tells of; none on a CPU that is no x86-64."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(CODE)
        start = ctypes.c_char.from_buffer(page)
        call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(ctypes.addressof(start))

        def registers(leaf: int, subleaf: int) -> list[int]:
            found = (ctypes.c_uint32 * 4)()
            call(leaf, subleaf, ctypes.addressof(found))
            return list(found)

        last = {first: registers(first, 0)[A] for first in (0, EXTENDED)}
        flags = frozenset(
            flag
            for (leaf, subleaf, register), bits in BITS.items()
            if leaf <= last[leaf & EXTENDED]
            for flag, bit in bits.items()
            if registers(leaf, subleaf)[register] >> bit & 1
        )
        del start  # the page can't be closed while something points into it
    return flags
