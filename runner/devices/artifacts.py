"""Artifacts on devices: what looks like one that is loaded here, and runs there."""
from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ...runtime.artifact import Artifact
from ...runtime.loading import load
from ...runtime.manifest import MANIFEST, Manifest
from ...runtime.requirements import lacking
from ...runtime.sized_artifact import SizedArtifact
from ...runtime.sizes import Sizes, read_manifests
from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ..size_folders import extract
from .device import NETWORK, Device, Handle, Program
from .here import Here


class OnDevice:
    """The network of an artifact on a device, in place of a loaded library."""

    def __init__(self, device: Device, program: Program) -> None:
        self.device, self.threads, self._program = device, program.threads, program
        self.handle: Handle = device.load(program, NETWORK)
        weakref.finalize(self, device.drop, self.handle).atexit = False

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run it there."""
        names = [port.name for port in self._program.inputs]
        results = self.device.run(self.handle, dict(zip(names, arrays, strict=True)))
        return [results[port.name] for port in self._program.outputs]

    def record(self, arrays: list[np.ndarray]) -> NoReturn:
        """Raise TenfoldError: functions are those of a process."""
        raise TenfoldError(f"device {self.device.name}: what a network calls can be listed on this machine only")


@dataclass
class Nowhere:
    """The network of an artifact that this machine can't run, in place of a loaded library.

    Attributes
    ----------
    threads : int
    lack : str
        Why it can't.
    """

    threads: int
    lack: str

    def __call__(self, arrays: list[np.ndarray]) -> NoReturn:
        raise TenfoldError(f"it can't run here: {self.lack}")

    def record(self, arrays: list[np.ndarray]) -> NoReturn:
        raise TenfoldError(f"it can't run here: {self.lack}")


def load_on(device: Device, folder: str | os.PathLike[str], threads: int | None = None) -> Artifact:
    """Load an artifact on a device.

    Parameters
    ----------
    device : Device
    folder : path
    threads : int, optional
        Default: those of the manifest, at most the cores of the device.

    Returns
    -------
    Artifact
        It works as long as the device is open.

    Raises
    ------
    TenfoldError
        The folder is no artifact, its files are not those of its manifest, or the device can't run it.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    if isinstance(device, Here):
        return load(folder, None if manifest.on_gpu else threads, device.gpu)
    lack = device.check(manifest.target)
    if lack is not None:
        raise TenfoldError(f"{path}: device {device.name} can't run it: {lack}")
    threads = threads or min(manifest.threads, device.cores)
    sizes = Sizes.read(path)
    if sizes is None:
        return Artifact(path, manifest, OnDevice(device, Program.of_artifact(path, manifest, threads)))
    loaded = []
    for number, each in enumerate(read_manifests(path), 1):
        with TemporaryFolder() as alone:  # a device takes ordinary artifacts
            program = Program.of_artifact(extract(path, number, alone / "size"), Manifest.read(alone / "size" / MANIFEST), threads)
            loaded.append(Artifact(path, each, OnDevice(device, program)))
    return SizedArtifact(path, loaded, sizes.independent)


def load_if_here(folder: Path, manifest: Manifest, threads: int) -> Artifact:
    """Load an artifact on this machine, or, where that can't run it, give back one that says so when it is called."""
    lack, sizes = lacking(manifest.target), Sizes.read(folder)
    if lack is None:
        return load(folder, None if manifest.on_gpu else threads)
    if sizes is None:
        return Artifact(folder, manifest, Nowhere(threads, lack))
    return SizedArtifact(folder, [Artifact(folder, each, Nowhere(threads, lack)) for each in read_manifests(folder)], sizes.independent)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact folder; TenfoldError if it is none."""
    if not folder.is_dir():
        raise TenfoldError(f"{folder}: {'this is a file, not an artifact folder' if folder.exists() else 'no such folder'}")
    return Manifest.read(folder / MANIFEST)


def timed_on(artifact: Artifact) -> tuple[Device, Any] | None:
    """The device that an artifact runs on, and its handle there; None for one of this process."""
    machine = artifact.machine
    return (machine.device, machine.handle) if isinstance(machine, OnDevice) else None
