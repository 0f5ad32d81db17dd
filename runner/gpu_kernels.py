"""What is known of an artifact's kernels for GPUs without running them: launches, registers, spills, shared memory, instructions."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..codegen.cuda.sass import KernelCode, find_nvdisasm, kernel_code
from ..runtime.artifact import Artifact
from ..runtime.cuda.code_file import CudaCode
from ..runtime.manifest import CUDA_LIBRARY, WEIGHTS
from ..runtime.weights import map_weights
from ..support.listing import Listing
from .report import size


@dataclass(frozen=True)
class GpuKernel:
    """A kernel of an artifact.

    Attributes
    ----------
    name : str
        The entry of the source.
    launches : int
        In one run of the network.
    threads : int
        Of a block.
    registers, spill_bytes : mapping of str to int
        Of a thread, by architecture.
    shared_bytes : int
        Of a block, static and dynamic.
    code : mapping of str to KernelCode
        Its instructions by architecture; empty where there is no disassembler.
    """

    name: str
    launches: int
    threads: int
    registers: Mapping[str, int]
    spill_bytes: Mapping[str, int]
    shared_bytes: int
    code: Mapping[str, KernelCode]


def gpu_kernels(artifact: Artifact) -> tuple[GpuKernel, ...]:
    """The kernels of an artifact for GPUs, in the order in which they are first launched.

    Raises
    ------
    TenfoldError
        It is for no GPU, or damaged.
    """
    code = CudaCode.read(artifact.folder / CUDA_LIBRARY)
    steps = map_weights(artifact.folder / WEIGHTS).steps
    launches = [launch for step in steps for launch in code.routines[step.kernel].launches]
    counts, instructions = Counter(launch.kernel for launch in launches), _instructions(code)
    found: dict[str, GpuKernel] = {}
    for launch in launches:
        facts = {str(fact["architecture"]): fact for fact in code.facts if fact["kernel"] == launch.kernel}
        static = max((int(fact["shared_bytes"]) for fact in facts.values()), default=0)
        x, y, z = launch.block
        found.setdefault(launch.kernel, GpuKernel(
            launch.kernel, counts[launch.kernel], x * y * z, {arch: int(fact["registers"]) for arch, fact in facts.items()},
            {arch: int(fact["spill_store_bytes"]) + int(fact["spill_load_bytes"]) for arch, fact in facts.items()},
            static + launch.shared_bytes, instructions.get(launch.kernel, {})))  # fmt: skip
    return tuple(found.values())


def _instructions(code: CudaCode) -> dict[str, dict[str, KernelCode]]:
    """The instructions of each kernel by architecture; none where there is no disassembler."""
    found: dict[str, dict[str, KernelCode]] = {}
    if find_nvdisasm() is not None:
        for arch in (feature for feature in code.features if feature.startswith("sm_")):
            for kernel in kernel_code(code.fatbin, arch):
                found.setdefault(kernel.kernel, {})[arch] = kernel
    return found


def gpu_table(artifact: Artifact) -> Listing:
    """One row for each kernel of an artifact for GPUs. Nothing of it is a time."""
    kernels, manifest = gpu_kernels(artifact), artifact.manifest
    archs = sorted({arch for kernel in kernels for arch in kernel.registers})
    mixed = any(kernel.code for kernel in kernels)
    headings = ["kernel", "launches", "threads", *(f"registers\n{arch}" for arch in archs), "spilled\nbytes", "shared\nKiB"]
    headings += [f"arithmetic in\nits loop, {arch}" for arch in archs] if mixed else []
    check, features = manifest.verification, ", ".join(manifest.target["features"])
    error = "not verified" if check is None else f"error {check['max_rel_error']:.1e} of the largest output, {check['device']}"
    title = f"{artifact.folder}: {error}; {size(manifest.bytes)}; code for {features}"
    table = Listing(headings, range(1, len(headings)), title=title, caption=_caption(mixed))
    for kernel in kernels:
        table.add_row(kernel.name, str(kernel.launches), str(kernel.threads), *(str(kernel.registers.get(arch, "-")) for arch in archs),
                      str(max(kernel.spill_bytes.values(), default=0)), f"{kernel.shared_bytes / 1024:.1f}",
                      *(_share(kernel, archs) if mixed else []))
    table.add_section()
    table.add_row("all", str(sum(kernel.launches for kernel in kernels)), *[""] * (len(headings) - 2))
    return table


def _caption(mixed: bool) -> str:
    known = "Registers and spills of a thread are ptxas's. Nothing was timed."
    return known if mixed else f"{known} Instructions are counted where nvdisasm is (pip install nvidia-cuda-nvdisasm)."


def _share(kernel: GpuKernel, archs: Sequence[str]) -> list[str]:
    return [f"{kernel.code[arch].arithmetic_share:.0%}" if arch in kernel.code and kernel.code[arch].main_loop else "-" for arch in archs]
