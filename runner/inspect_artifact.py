"""What is in an artifact folder: what it was compiled for, whether it was verified, its files, its kernels."""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..runtime.cuda.code_file import CudaCode
from ..runtime.cuda.resources import KernelResources, resources_of
from ..runtime.manifest import REFERENCE, WEIGHTS, Manifest
from ..runtime.sizes import numbered, read_manifests
from ..support.listing import Listing
from .devices.artifacts import read_manifest
from .report import count


@dataclass(frozen=True)
class KernelReport:
    """A kernel, in the order in which they run.

    Attributes
    ----------
    function : str
    layers : tuple of str
    output : tuple of int
    macs : int
    launches : tuple of KernelResources
        Of a network for GPUs: what it launches there.
    precision : str
        Of the operands of its products, where the network was compiled for another one than float32.
    """

    function: str
    layers: tuple[str, ...]
    output: tuple[int, ...]
    macs: int
    launches: tuple[KernelResources, ...] = ()
    precision: str = ""


@dataclass(frozen=True)
class ArtifactInspection:
    """An artifact.

    Attributes
    ----------
    folder : Path
    manifest : Manifest
    files : dict of str to int
        Bytes of each file.
    kernels : tuple of KernelReport
    arch : str
        Of a network for GPUs: the architecture that registers and spills are of.
    """

    folder: Path
    manifest: Manifest
    files: dict[str, int]
    kernels: tuple[KernelReport, ...]
    arch: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        kernels = [asdict(kernel) for kernel in self.kernels]
        return {"artifact": str(self.folder), "files": self.files, "kernels": kernels, "manifest": json.loads(self.manifest.to_json())}


def inspect_sizes(folder: Path) -> list[ArtifactInspection]:
    """As of `inspect_artifact`, for each size of an artifact."""
    read_manifest(folder)
    return [_inspect(folder, number, manifest) for number, manifest in enumerate(read_manifests(folder), 1)]


def inspect_artifact(folder: Path) -> ArtifactInspection:
    """Say what an artifact is; of several sizes, the first. Nothing of it is loaded or run.

    Raises
    ------
    TenfoldError
        It is none.
    """
    return _inspect(folder, 1, read_manifest(folder))


def _inspect(folder: Path, number: int, manifest: Manifest) -> ArtifactInspection:
    names = [numbered(name, number) for name in (manifest.library, WEIGHTS, REFERENCE)]
    files = {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}
    code = CudaCode.read(folder / manifest.library) if manifest.on_gpu else None
    arch = next((each for each in code.features if each.startswith("sm_")), "") if code else ""
    kernels = tuple(
        KernelReport(
            fact["function"], fact["layers"], fact["output"], fact["macs"], resources_of(code, fact["function"], arch) if code else (),
            fact.get("precision", ""),
        )
        for fact in manifest.kernels
    )
    return ArtifactInspection(folder, manifest, files, kernels, arch)


def kernels_table(found: ArtifactInspection) -> Listing:
    """One row for each kernel; of a network for GPUs with what each launch takes of one."""
    on_gpu = ["grid", "block", "registers", "spills\nbytes", "shared\nbytes"] if found.manifest.on_gpu else []
    rounded = ["operands"] if any(kernel.precision for kernel in found.kernels) else []
    table = Listing(["layer", "kernel", "output", "MACs", *rounded, *on_gpu], range(3, 4 + len(rounded) + len(on_gpu)))
    if on_gpu:
        table.caption = f"Registers and spills: of a thread, as the assembler says for {found.arch}. Shared: of a block."
    for kernel in found.kernels:
        name, output = kernel.function.removeprefix("fused_"), "x".join(map(str, kernel.output))
        cells: tuple[str | tuple[str, ...], ...] = (kernel.layers or "-", name, output, count(kernel.macs) if kernel.macs else "-")
        cells += (kernel.precision if kernel.macs else "-",) * len(rounded)
        first, *rest = [_launch(each) for each in kernel.launches] or [()]
        table.add_row(*cells, *first)
        for more in rest:
            table.add_row(*[""] * len(cells), *more)
    return table


def _launch(launch: KernelResources) -> tuple[str, ...]:
    numbers = ("-" if number is None else str(number) for number in (launch.registers, launch.spill_bytes))
    return ("x".join(map(str, launch.grid)), "x".join(map(str, launch.block)), *numbers, str(launch.shared_bytes))
