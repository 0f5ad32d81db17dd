"""Arrays in .npy and .npz files. They are read within bounds: what a file says of its size is looked at before memory is taken for it."""
from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from ..support.errors import TenfoldError
from ..support.files.regular import open_regular
from ..support.files.whole import whole_file

MOST_ARRAYS = 4096
KINDS = "biufc"  # NumPy's letters of numbers; the others need unpickling, or are texts and records
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Refused(Exception):
    """Why an array is not read."""


def read_arrays(path: str | os.PathLike[str]) -> np.ndarray | dict[str, np.ndarray]:
    """The array in an ``.npy`` file, or the arrays by name in an ``.npz``.

    Raises
    ------
    TenfoldError
        No such file, neither of the two, arrays of objects (to read them could run code), or more than half of the machine's memory.
    """
    path = Path(path)
    if not os.path.isfile(path):
        what = "no such file" if not os.path.lexists(path) else "this is a folder" if os.path.isdir(path) else "this is not a file"
        raise TenfoldError(f"{path}: {what}; an .npy or .npz file is needed")
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with open_regular(path) as file:
        try:
            if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
                return _archive(file, room)
            file.seek(0)
            return _array(file, os.fstat(file.fileno()).st_size, room)
        except _Refused as error:
            raise TenfoldError(f"{path}: {error}") from None
        except MemoryError:
            raise TenfoldError(f"{path}: there is not enough memory for its arrays") from None
        except Exception as error:  # of zipfile, its decompressors and NumPy's parser of headers, which raise a dozen kinds
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TenfoldError(f"{path}: not an .npy or .npz file of arrays: {line}") from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compressed: bool = False) -> None:
    """Write an ``.npz``, whole or not at all.

    Parameters
    ----------
    path : Path
        The ``.npz``.
    arrays : mapping of str to ndarray
        Any names (`numpy.savez` takes some for its own keywords).
    compressed : bool
        Deflate the arrays.

    Raises
    ------
    TenfoldError
        It can't be written.
    """
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", kind) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, np.asanyarray(array), allow_pickle=False)


def _archive(file: IO[bytes], room: int) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MOST_ARRAYS:
            raise _Refused(f"it holds {len(members)} files, more than the {MOST_ARRAYS} arrays that are read")
        for member in members:
            if not member.filename.endswith(".npy"):
                raise _Refused(f"{member.filename!r} in it is no array (.npy)")
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise _Refused(f"it holds array {name!r} twice")
            with archive.open(member) as content:
                arrays[name] = _array(content, member.file_size, room)
            room -= arrays[name].nbytes
    return arrays


def _array(file: Any, size: int, room: int) -> np.ndarray:
    """The array in a file of `size` bytes that may take `room`."""
    version = npy.read_magic(file)
    if version not in READERS:
        raise _Refused(f"it is of version {version} of .npy, which is none for arrays of numbers")
    shape, fortran_order, dtype = READERS[version](file)
    if dtype.hasobject or dtype.kind not in KINDS or dtype.itemsize == 0:
        raise _Refused(f"it holds {'objects' if dtype.hasobject else str(dtype)[:60]}, not numbers")
    needed = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size:
        raise _Refused(f"its header says {dtype}{list(shape)[:8]}, which is more than the file holds: cut short?")
    if needed > room:
        raise _Refused(f"its arrays need more than half of this machine's memory ({needed / 1e9:.1f} GB for one): give fewer images")
    array = np.empty(prod(shape), dtype)
    memory = array.data.cast("B") if needed else memoryview(b"")
    done = 0
    while done < needed:
        count = file.readinto(memory[done:])
        if not count:
            raise _Refused("it is cut short")
        done += count
    return array.reshape(shape, order="F" if fortran_order else "C")
