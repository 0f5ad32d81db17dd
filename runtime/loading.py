"""An artifact folder -> what runs it: every file held against its manifest, weights mapped once, code loaded."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..support.errors import TenfoldError
from ..support.files.regular import reason
from . import loaded_network
from .artifact import Artifact, Runnable
from .machines import open_machine
from .manifest import WEIGHTS, Manifest, sha256_of
from .manifest_fields import MOST_THREADS
from .requirements import check_target
from .sized_artifact import SizedArtifact
from .sizes import DIFFERS, Sizes, numbered, read_manifests
from .weights import map_file, map_weights

LARGEST = 1 << 40  # bytes of a file: more than any machine has memory for


def load(folder: str | os.PathLike[str], threads: int | None = None, device: int | None = None) -> Artifact:
    """Load what `compile` wrote.

    Parameters
    ----------
    folder : path
    threads : int, optional
        Threads of the CPU to run on. Default: those of the manifest, at most the physical cores that this process may use.
    device : int, optional
        The GPU to run on, by the driver's count. Default: the first that can run the artifact.

    Returns
    -------
    Artifact
        Of several sizes, if it was compiled for them: it takes inputs of each (`Artifact.sizes`), and batches that it puts together.

    Raises
    ------
    TenfoldError
        The folder is not an artifact, its library is not the one of the manifest, or it is made for another CPU or GPU than is here.
    """
    path = Path(folder)
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise TenfoldError(f"threads must be between 1 and {MOST_THREADS}, not {threads}")
    if not os.path.isdir(path):
        raise TenfoldError(f"{path}: {'this is a file, not an artifact folder' if os.path.exists(path) else 'no such folder'}")
    manifests = read_manifests(path)
    for name in (name for pair in _names(manifests) for name in pair):
        if not os.path.isfile(path / name):
            raise TenfoldError(f"{path}: not an artifact: there is no {name} in it")
        if os.path.getsize(path / name) > LARGEST:
            raise TenfoldError(f"{path / name}: can't be loaded: it has {os.path.getsize(path / name) >> 40} TB")
    _check_options(path, manifests[0], threads, device)
    check_target(str(path), manifests[0].target, device)
    try:
        store = map_file(path / WEIGHTS)
        _check_files(path, manifests, store)
        sizes = [
            Artifact(path, manifest, _machine(path, names, manifest, store, threads, device))
            for manifest, names in zip(manifests, _names(manifests), strict=True)
        ]
    except (OSError, MemoryError) as error:
        raise TenfoldError(f"{path}: can't be loaded: {reason(error)}") from None
    together = Sizes.read(path)
    return sizes[0] if together is None else SizedArtifact(path, sizes, together.independent)


def _names(manifests: Sequence[Manifest]) -> list[tuple[str, str]]:
    """The library and the file of weights of each size."""
    return [(numbered(manifest.library, number), numbered(WEIGHTS, number)) for number, manifest in enumerate(manifests, 1)]


def _machine(
    path: Path, names: tuple[str, str], manifest: Manifest, store: np.ndarray, threads: int | None, device: int | None
) -> Runnable:
    library, weights = names
    whole = weights == WEIGHTS  # the others are tables alone
    contents = map_weights(path / weights, store if whole else None, None if whole else store)
    if contents.pieces != manifest.pieces:
        raise TenfoldError(f"{path}: its manifest and its weights name different pieces of the batch: compile the network again")
    inputs, outputs = ([(port.shape, port.dtype) for port in ports] for ports in (manifest.inputs, manifest.outputs))
    threads = threads or loaded_network.default_threads(manifest.threads)
    return open_machine(path, contents, inputs, threads, outputs, device, library)


def _check_files(folder: Path, manifests: Sequence[Manifest], store: np.ndarray) -> None:
    """Raise TenfoldError if a file is not the one of its manifest."""
    with ThreadPoolExecutor(1) as pool:
        # Takes as long as loading TVM's runtime, so both at once: in one call, which needs no lock of Python's.
        digest = pool.submit(lambda: hashlib.sha256(store.data).hexdigest())
        loaded_network.ffi()
        digests = []
        for manifest, (library, weights) in zip(manifests, _names(manifests), strict=True):
            digests.append((library, sha256_of(folder / library), manifest.library_sha256))
            found = digest.result() if weights == WEIGHTS else sha256_of(folder / weights)
            digests.append((weights, found, manifest.weights_sha256))
    for name, found, stated in digests:
        if found != stated:
            raise TenfoldError(f"{folder / name}: {DIFFERS}")


def _check_options(folder: Path, manifest: Manifest, threads: int | None, device: int | None) -> None:
    if manifest.on_gpu and threads is not None:
        raise TenfoldError(f"{folder}: threads are for CPUs, and it runs on a GPU: leave them out")
    if not manifest.on_gpu and device is not None:
        raise TenfoldError(f"{folder}: it is for a CPU ({manifest.target['name']}), not for GPU {device}: leave device out")
