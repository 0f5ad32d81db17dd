"""weights.bin, packed: tensors of few values are kept as indices of these. Unpacked, it is the file that `weights` tells of, byte by byte.

Little-endian, 64-bit words:

    magic, bytes of the unpacked file, number of parts
    for each part: offset in the unpacked file, count of float32 numbers, bits of an index
    then, in the order of the unpacked file: its bytes up to the first part; of the part its 2^bits values (float32), and its indices, the
    first in the lowest bits, filled up to whole bytes; its bytes up to the next part; and so on to its end
"""
from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MAGIC = int.from_bytes(b"tenfoldp", "little")
WORD, HEADER, PART = 8, 3, 3
FEWEST = 1024  # numbers: smaller tensors stay as they are
MOST_BITS = 8
MOST_BYTES = 1 << 40  # of an unpacked file: more than any machine has memory for
CHUNK = 1 << 18  # indices at a time; a multiple of 8, so that chunks end with a byte


def pack_weights(path: Path, offsets: Sequence[int], weights: Sequence[np.ndarray]) -> int:
    """Pack a file of weights in place, where tensors in it have few values; returns how many numbers are kept as indices.

    Parameters
    ----------
    path : Path
        What `weights.write_weights` wrote.
    offsets : sequence of int
        Of the weights in it, rising.
    weights : sequence of ndarray
    """
    plain = np.fromfile(path, np.uint8)
    table: list[int] = []
    stream: list[bytes] = []
    done = count = 0
    for offset, weight in zip(offsets, weights, strict=True):
        flat = np.ravel(weight)
        if flat.dtype != np.float32 or flat.size < FEWEST:
            continue
        words = flat.view(np.uint32)  # so that -0 and 0 are two values, and what comes out is what went in
        values = np.unique(words)
        if len(values) > 1 << MOST_BITS:
            continue
        bits = max(1, int(len(values) - 1).bit_length())
        book = np.zeros(1 << bits, np.uint32)
        book[: len(values)] = values
        indices = np.searchsorted(values, words)
        packed = [np.packbits(_bits(indices[i : i + CHUNK], bits), bitorder="little").tobytes() for i in range(0, flat.size, CHUNK)]
        stream += [plain[done:offset].tobytes(), book.tobytes(), *packed]
        table += [offset, flat.size, bits]
        done, count = offset + flat.nbytes, count + flat.size
    stream.append(plain[done:].tobytes())
    head = struct.pack(f"<{HEADER + len(table)}q", MAGIC, plain.nbytes, len(table) // PART, *table)
    path.write_bytes(b"".join([head, *stream]))
    return count


def is_packed(mapping: np.ndarray) -> bool:
    """Whether a file begins as a packed one."""
    return mapping.nbytes >= WORD and int.from_bytes(mapping[:WORD].tobytes(), "little") == MAGIC


def unpacked(mapping: np.ndarray) -> np.ndarray:
    """The bytes of the unpacked file; ValueError, saying what is wrong, where it can't be.

    Parameters
    ----------
    mapping : ndarray of uint8
        The packed file.
    """
    if mapping.nbytes < HEADER * WORD:
        raise ValueError("it is cut short")
    _, size, parts = struct.unpack_from(f"<{HEADER}q", mapping.data)
    begin = (HEADER + PART * parts) * WORD
    if not 0 <= size <= MOST_BYTES or not 0 <= parts <= mapping.nbytes // WORD or begin > mapping.nbytes:
        raise ValueError("its table is cut short")
    table = mapping[HEADER * WORD : begin].view("<i8").reshape(-1, PART).tolist()
    _check(table, size, mapping.nbytes - begin)
    raw = np.empty(size + 4096, np.uint8)
    start = -raw.ctypes.data % 4096  # as a mapped file lies
    whole = raw[start : start + size]
    done = 0
    for offset, count, bits in table:
        whole[done:offset] = mapping[begin : begin + offset - done]
        begin += offset - done
        book = np.frombuffer(mapping[begin : begin + (4 << bits)].tobytes(), np.uint32)
        begin += 4 << bits
        words = np.empty(count, np.uint32)
        for first in range(0, count, CHUNK):
            many = min(CHUNK, count - first)
            packed = mapping[begin + first * bits // 8 : begin + (first * bits + many * bits + 7) // 8]
            each = np.unpackbits(packed, count=many * bits, bitorder="little").reshape(many, bits)
            words[first : first + many] = book[each @ (1 << np.arange(bits))]
        begin += -(-count * bits // 8)
        whole[offset : offset + 4 * count] = words.view(np.uint8)
        done = offset + 4 * count
    whole[done:] = mapping[begin:]
    return whole


def _check(table: list[list[int]], size: int, left: int) -> None:
    """That the parts lie in the file one after the other, and that the stream is as long as they say."""
    done = needed = 0
    for offset, count, bits in table:
        if not 1 <= bits <= MOST_BITS or not 0 < count <= size or not done <= offset <= size - 4 * count:
            raise ValueError("a part lies outside it")
        needed += offset - done + (4 << bits) + -(-count * bits // 8)
        done = offset + 4 * count
    if needed + size - done != left:
        raise ValueError("it is cut short, or too long")


def _bits(indices: np.ndarray, bits: int) -> np.ndarray:
    return ((indices[:, None] >> np.arange(bits)) & 1).astype(np.uint8)
