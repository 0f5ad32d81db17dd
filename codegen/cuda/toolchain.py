"""Compiling CUDA C with nvcc."""
from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from .facts import KernelFacts, kernel_facts
from .fatbin import holds_device_code
from .nvcc import Nvcc, architectures, find_nvcc

# No --use_fast_math: results are compared with those of other engines. Warnings tell of nothing that a user can change.
OPTIONS = ("-fatbin", "-O3", "-std=c++17", "--expt-relaxed-constexpr", "-w", "-Xptxas", "-v")
INJECTED = ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")  # of the environment: they would change what is compiled
MISTAKE = re.compile(r"\berror\b|\bfatal\b", re.IGNORECASE)


def compile_fatbin(source: str, archs: Sequence[str], ptx: bool, output: Path) -> tuple[KernelFacts, ...]:
    """Compile a CUDA source for some GPUs.

    Parameters
    ----------
    source : str
    archs : sequence of str
        Such as ``sm_80``.
    ptx : bool
        Whether PTX of the lowest of them is added, which drivers compile for newer GPUs.
    output : Path
        The fatbin. It is replaced as a whole, or not at all.

    Returns
    -------
    tuple of KernelFacts
        For each kernel and GPU.

    Raises
    ------
    TenfoldError
        There is no CUDA compiler, it does not know a GPU, or it refuses the source.
    """
    nvcc = find_nvcc()
    chosen = _checked(nvcc, archs)
    with TemporaryFolder() as folder:
        (folder / "kernels.cu").write_text(source)
        said = _run(nvcc, [*_generated(chosen, ptx), "--threads", str(os.cpu_count() or 1), "-o", "kernels.fatbin", "kernels.cu"], folder)
        made = (folder / "kernels.fatbin").read_bytes()
    facts = kernel_facts(said)
    if not holds_device_code(made, chosen, {fact.kernel for fact in facts}):
        raise TenfoldError(f"nvcc made no code for {', '.join(chosen)}: has the CUDA source a kernel?")
    new = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        new.write_bytes(made)
        new.replace(output)
    finally:
        new.unlink(missing_ok=True)
    return facts


def _checked(nvcc: Nvcc, archs: Sequence[str]) -> list[str]:
    known = architectures(nvcc)
    for arch in archs:
        if arch not in known:
            raise TenfoldError(f"nvcc {nvcc.version[0]}.{nvcc.version[1]} makes no code for {arch!r}: name some of {', '.join(known)}")
    if not archs:
        raise TenfoldError("CUDA kernels are compiled for no GPU: name at least one, such as sm_80")
    return sorted(set(archs), key=_number)


def _number(arch: str) -> int:
    return int(re.sub(r"\D", "", arch))


def _generated(archs: list[str], ptx: bool) -> list[str]:
    """The options for code of each GPU, and PTX of the lowest."""
    virtual = {arch: arch.replace("sm_", "compute_") for arch in archs}
    options = [f"-gencode=arch={virtual[arch]},code={arch}" for arch in archs]
    lowest = virtual[archs[0]]
    return [*options, f"-gencode=arch={lowest},code={lowest}"] if ptx else options


def _run(nvcc: Nvcc, options: list[str], folder: Path) -> str:
    """Run nvcc, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in INJECTED}
    try:
        done = subprocess.run([str(nvcc.path), *OPTIONS, *options], cwd=folder, env=environment, capture_output=True, text=True,
                              errors="replace", stdin=subprocess.DEVNULL)
    except OSError as error:
        raise TenfoldError(f"the CUDA compiler {nvcc.path} can't be run: {error.strerror}") from None
    said = done.stderr + done.stdout
    if done.returncode:
        raise TenfoldError(f"nvcc can't compile the CUDA kernels: {_first_mistake(said) or f'exit code {done.returncode}'}")
    return said


def _first_mistake(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if MISTAKE.search(line)), lines[0] if lines else "")[:300]
