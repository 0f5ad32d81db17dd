"""weights.bin: the weights as the kernels read them, where each intermediate tensor lies, and which kernels are called with them.

Little-endian, 64-bit words, so that a program without Python reads it in a few lines:

    magic, bytes of this table, number of tensors, number of steps, pieces
    for each tensor: kind (0 weight, 1 arena, 2 output), DLPack type code, bits, offset in bytes, number of dimensions, dimensions
    for each step: bytes of the kernel's name, its name filled up with zeros to whole words, number of its operands;
        for each operand: position, number of dimensions, dimensions
    the weights, from the next multiple of 4096 on

Offsets of weights count from the start of the file, those of the arena from the start of the arena; an output has its position among the
outputs instead. Tensors come in the order in which ``main`` takes them, after its own inputs; an operand's position counts from those.
A network without steps is not a straight line of kernels, see `codegen.call_list`. The batch is run in so many equal pieces, one after
the other: tensors and steps are those of one piece. The file is mapped, not read: weights are in
memory once, and processes share them. A packed file (`packed_weights`) is unpacked into memory instead.
"""
from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ..support.errors import TenfoldError
from .manifest_fields import MOST_BYTES, MOST_DIMENSIONS
from .memory_plan import ALIGNMENT, Destination, Operand, Place, Step, aligned
from .packed_weights import is_packed, pack_weights, unpacked

MAGIC = int.from_bytes(b"tenfold3", "little")
PAGE = 4096
WORD, HEADER = 8, 5
WEIGHT, ARENA, OUTPUT = 0, 1, 2
KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}  # NumPy's letter -> DLPack's type code
LETTERS = {code: letter for letter, code in KINDS.items()}
DTYPES = {"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "b1"}
KERNEL = re.compile(r"(?!(main|tenfold_run)$)[A-Za-z0-9][A-Za-z0-9_.]*")  # the others are no kernels, or no functions


@dataclass(frozen=True)
class Contents:
    """A file of weights, mapped.

    Attributes
    ----------
    mapping : ndarray of uint8
        The file; of a packed one what it unpacks to.
    weights : tuple of ndarray
        Views of it.
    places : tuple of Place
        Of the arena.
    destinations : tuple of Destination
        The outputs that ``main`` writes where it is told.
    steps : tuple of Step
        The kernels that ``main`` calls; none if it does anything else.
    pieces : int
        Of the batch.
    """

    mapping: np.ndarray
    weights: tuple[np.ndarray, ...]
    places: tuple[Place, ...]
    destinations: tuple[Destination, ...]
    steps: tuple[Step, ...]
    pieces: int = 1


def write_weights(
    path: Path,
    weights: Sequence[np.ndarray],
    places: Sequence[Place],
    destinations: Sequence[Destination] = (),
    steps: Sequence[Step] = (),
    pieces: int = 1,
) -> int:
    """Write the weights and the memory plan; return the bytes of the weights, padding included.

    Parameters
    ----------
    path : Path
        The file.
    weights : sequence of ndarray
        The constants, in the order of the parameters.
    places : sequence of Place
        Intermediate tensors in the arena.
    destinations : sequence of Destination
        Outputs that are written in place.
    steps : sequence of Step
        The calls of kernels, if their order is fixed.
    pieces : int
        Parts that the batch runs in.
    """
    outputs = [_Entry(OUTPUT, np.dtype(each.dtype), each.shape, each.position) for each in destinations]
    kept = [_Entry(WEIGHT, array.dtype, array.shape, 0) for array in weights]
    arena = [_Entry(ARENA, np.dtype(place.dtype), place.shape, place.offset) for place in places]
    calls = b"".join(_packed(step) for step in steps)
    table = WORD * (HEADER + sum(entry.words for entry in (*outputs, *kept, *arena))) + len(calls)
    start = offset = -(-table // PAGE) * PAGE
    for index, entry in enumerate(kept):
        kept[index] = _Entry(WEIGHT, entry.dtype, entry.shape, offset)
        offset = aligned(offset + weights[index].nbytes)
    with open(path, "wb") as file:
        file.write(struct.pack(f"<{HEADER}q", MAGIC, table, len(outputs) + len(kept) + len(arena), len(steps), pieces))
        for entry in (*outputs, *kept, *arena):
            file.write(entry.packed())
        file.write(calls)
        for entry, array in zip(kept, weights, strict=True):
            file.seek(entry.offset)
            file.write(np.ascontiguousarray(array).data)
        file.truncate(offset)
    return offset - start


def map_weights(path: Path, mapping: np.ndarray | None = None) -> Contents:
    """Find the tensors in a file.

    Parameters
    ----------
    path : Path
    mapping : ndarray of uint8, optional
        The file, where it is mapped already.

    Raises
    ------
    TenfoldError
        If it is no such file.
    """
    try:
        mapping = map_file(path) if mapping is None else mapping
        mapping = unpacked(mapping) if is_packed(mapping) else mapping
        table = _Table(mapping)
        entries, steps, pieces = table.entries, table.steps, table.pieces
        weights = tuple(view(mapping, Place(str(e.dtype), e.shape, e.offset)) for e in entries if e.kind == WEIGHT)
    except (OSError, ValueError) as error:
        raise TenfoldError(f"{path}: not the weights of a compiled network: {error}; compile the network again") from None
    places = tuple(Place(str(e.dtype), e.shape, e.offset) for e in entries if e.kind == ARENA)
    destinations = tuple(Destination(str(e.dtype), e.shape, e.offset) for e in entries if e.kind == OUTPUT)
    return Contents(mapping, weights, places, destinations, steps, pieces)


def pack_file(path: Path) -> int:
    """Pack a file that `write_weights` wrote, in place; returns how many numbers are kept as indices."""
    contents = map_weights(path)
    begin = contents.mapping.ctypes.data
    return pack_weights(path, [weight.ctypes.data - begin for weight in contents.weights], contents.weights)


def map_file(path: Path) -> np.ndarray:
    """The bytes of a file, mapped."""
    if not path.stat().st_size:
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, "c")  # copy on write: DLPack has no read-only arrays, and nobody writes


def view(memory: np.ndarray, place: Place) -> np.ndarray:
    """The tensor at a place in memory (uint8)."""
    return memory[place.offset : place.end].view(place.dtype).reshape(place.shape)


@dataclass(frozen=True)
class _Entry:
    """One tensor in the table."""

    kind: int
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def words(self) -> int:
        return 5 + len(self.shape)

    def packed(self) -> bytes:
        numbers = (self.kind, KINDS[self.dtype.kind], 8 * self.dtype.itemsize, self.offset, len(self.shape), *self.shape)
        return struct.pack(f"<{self.words}q", *numbers)


def _packed(step: Step) -> bytes:
    name = step.kernel.encode()
    numbers = [len(step.operands)]
    for operand in step.operands:
        numbers += [operand.position, len(operand.shape), *operand.shape]
    return struct.pack("<q", len(name)) + name + bytes(-len(name) % WORD) + struct.pack(f"<{len(numbers)}q", *numbers)


class _Table:
    """The words of the table, taken one after the other. ValueError, saying what is wrong, for any that can't be right."""

    def __init__(self, mapping: np.ndarray) -> None:
        if mapping.nbytes < HEADER * WORD or int.from_bytes(mapping[:WORD].tobytes(), "little") != MAGIC:
            raise ValueError("it does not begin as one")
        _, self.bytes, tensors, steps, self.pieces = struct.unpack_from(f"<{HEADER}q", mapping.data)
        if not HEADER * WORD <= self.bytes <= mapping.nbytes or self.bytes % WORD:
            raise ValueError("its table is cut short")
        self._words = mapping[HEADER * WORD : self.bytes].view("<i8").tolist()
        self._next, self._file = 0, mapping.nbytes
        if self.pieces < 1:
            raise ValueError(f"its batch is in {self.pieces} pieces")
        self.entries = [self._entry() for _ in range(self._count(tensors))]
        self.steps = tuple(self._step() for _ in range(self._count(steps)))
        if self._next != len(self._words):
            raise ValueError("its table is longer than what it lists")

    def _take(self, count: int) -> list[int]:
        if not 0 <= count <= len(self._words) - self._next:
            raise ValueError("its table is cut short")
        self._next += count
        return self._words[self._next - count : self._next]

    def _count(self, count: int) -> int:
        """A number of things that take a word each, at least."""
        if not 0 <= count <= len(self._words) - self._next:
            raise ValueError("its table is cut short")
        return count

    def _shape(self, dims: int) -> tuple[int, ...]:
        shape = tuple(self._take(dims)) if 0 <= dims <= MOST_DIMENSIONS else None
        if shape is None or min(shape, default=0) < 0 or prod(size or 1 for size in shape) > MOST_BYTES:
            raise ValueError("a tensor has no possible shape")
        return shape

    def _entry(self) -> _Entry:
        kind, code, bits, offset, dims = self._take(5)
        name = f"{LETTERS.get(code, '?')}{bits // 8}"
        if kind not in (WEIGHT, ARENA, OUTPUT) or name not in DTYPES or bits % 8:
            raise ValueError(f"a tensor is of no known kind or type ({kind}, {code}, {bits})")
        entry = _Entry(kind, np.dtype(name), self._shape(dims), offset)
        size = prod(entry.shape) * entry.dtype.itemsize
        if offset < 0 or size > MOST_BYTES or offset > MOST_BYTES:
            raise ValueError("a tensor lies nowhere")
        if kind != OUTPUT and offset % ALIGNMENT:
            raise ValueError(f"a tensor does not lie at a multiple of {ALIGNMENT} bytes")
        if kind == WEIGHT and (offset < self.bytes or offset + size > self._file):
            raise ValueError("a weight lies outside it: it is cut short")
        return entry

    def _step(self) -> Step:
        (size,) = self._take(1)
        words = self._take(-(-size // WORD))
        name = struct.pack(f"<{len(words)}q", *words)[:size].decode()
        if not KERNEL.fullmatch(name):
            raise ValueError(f"{name[:60]!r} is no name of a kernel")
        (count,) = self._take(1)
        return Step(name, tuple(self._operand() for _ in range(self._count(count))))

    def _operand(self) -> Operand:
        position, dims = self._take(2)
        if position < 0:
            raise ValueError(f"there is no tensor {position}")
        return Operand(position, self._shape(dims))
