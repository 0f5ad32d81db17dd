"""Reading a fatbin: the file in which nvcc puts machine code for several GPUs, and PTX.

A header, then images. Each begins with its kind, the length of its header and of what follows, and the GPU that it is for.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...support.errors import TenfoldError

MAGIC = 0xBA55ED50
FILE = struct.Struct("<IHHQ")  # magic, version, length of this header, length of the rest
IMAGE = struct.Struct("<HHIQ12xI")  # kind, version, length of this header, length of the image; the GPU
KINDS = {1: "ptx", 2: "cubin"}
ELF = b"\x7fELF"
CUDA_MACHINE = 190
ELF_HEADER = struct.Struct("<18xH20xQ10xHHH")  # machine; offset of the sections; size, number, and the section of names
SECTION = struct.Struct("<I20xQQ")  # name; offset and length
TEXT = b".text."


@dataclass(frozen=True)
class Image:
    """Code for one GPU.

    Attributes
    ----------
    kind : str
        ``"cubin"``: machine code; ``"ptx"``: what a driver can still compile.
    architecture : str
        Such as ``sm_80``.
    kernels : tuple of str
        Those of a cubin.
    code : bytes
        The cubin, or PTX, which is compressed.
    """

    kind: str
    architecture: str
    kernels: tuple[str, ...] = ()
    code: bytes = field(default=b"", repr=False, compare=False)


def images(fatbin: bytes) -> tuple[Image, ...]:
    """The images of a fatbin.

    Raises
    ------
    TenfoldError
        It is none, or damaged.
    """
    try:
        magic, _, header, length = FILE.unpack_from(fatbin)
        if magic != MAGIC or header + length > len(fatbin):
            raise ValueError
        return tuple(_images(fatbin, header, header + length))
    except (struct.error, ValueError, IndexError, UnicodeDecodeError):
        raise TenfoldError("the CUDA code (fatbin) is damaged: compile the network again") from None


def holds_device_code(fatbin: bytes, architectures: Iterable[str], kernels: Iterable[str] = ()) -> bool:
    """Whether a fatbin has machine code for each of some GPUs.

    Parameters
    ----------
    fatbin : bytes
    architectures : iterable of str
    kernels : iterable of str
        Those that must be in it.
    """
    try:
        held = {image.architecture: set(image.kernels) for image in images(fatbin) if image.kind == "cubin" and image.kernels}
    except TenfoldError:
        return False
    wanted = [*architectures]
    return bool(wanted) and all(one in held and held[one] >= set(kernels) for one in wanted)


def _images(data: bytes, at: int, end: int) -> Iterable[Image]:
    while at < end:
        kind, _, header, length, architecture = IMAGE.unpack_from(data, at)
        body = data[at + header:at + header + length]
        if header < IMAGE.size or len(body) != length or kind not in KINDS:
            raise ValueError
        yield Image(KINDS[kind], f"sm_{architecture}", _kernels(body) if kind == 2 else (), body)
        at += header + length


def _kernels(cubin: bytes) -> tuple[str, ...]:
    """The kernels of a cubin: its sections ``.text.NAME``."""
    machine, offset, size, number, names = ELF_HEADER.unpack_from(cubin)
    if cubin[:4] != ELF or machine != CUDA_MACHINE:
        raise ValueError
    sections = [SECTION.unpack_from(cubin, offset + i * size) for i in range(number)]
    table = cubin[sections[names][1]:sections[names][1] + sections[names][2]]
    titles = [table[name:table.index(b"\0", name)] for name, _, length in sections if length]
    return tuple(title[len(TEXT):].decode() for title in titles if title.startswith(TEXT))
