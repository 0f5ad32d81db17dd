"""The programs in C++ that run networks on a device (`runtime/cpp`), compiled for an instruction set and kept for the next time."""
from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from ...codegen.toolchain import cpp_compiler, run_compiler
from ...support.cache_folder import cache_folder
from ...support.errors import TenfoldError
from ...support.files.regular import reason
from ...support.files.whole import whole_file
from ...targets.architectures import ARCHITECTURES, this_architecture

SOURCES = Path(__file__).parents[2] / "runtime" / "cpp"
DEVICE, SERVER = "device", "server"  # what an emulator runs; what listens on a port
# It loads libraries, so it can't be static. Of C++'s own libraries, a small device or a folder of cross libraries may have none.
OPTIONS = ("-std=c++17", "-O2", "-pthread", "-rdynamic", "-static-libstdc++", "-static-libgcc")
# Of what no network needs, nothing comes into the server: it is copied to boards. Networks call two functions of the program.
SMALL = ("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-Wl,--export-dynamic-symbol=TVMFFIErrorSetRaised*", "-s")
PROGRAM = "tenfold-device"
LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}


def device_program(architecture: str, cache: Path | None = None, kind: str = DEVICE) -> Path:
    """The program for an architecture, as a manifest names it; compiled if there is none of these sources by this compiler.

    Parameters
    ----------
    architecture : str
    cache : Path, optional
        The folder to keep it in. Default: that of the user.
    kind : str, optional
        Which program.

    Raises
    ------
    TenfoldError
        There is no compiler for the architecture, it fails, or the folder can't be written.
    """
    compiler = compiler_for(architecture)
    path = (cache or cache_folder()) / kind / f"{architecture}-{_digest(compiler, kind)}"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=path.parent)  # beside it: whoever looks finds a whole program or none
        os.close(handle)
    except OSError as error:
        raise TenfoldError(f"{path.parent}: can't be written: {reason(error)}") from None
    try:
        run_compiler([compiler, *_options(kind), str(SOURCES / f"{kind}.cc"), "-o", made, "-ldl"])
        os.chmod(made, 0o755)
        os.replace(made, path)
    finally:
        Path(made).unlink(missing_ok=True)
    return path


def build_server(architecture: str, folder: Path) -> Path:
    """Put the program that serves sessions into a folder, which is made if it is not there.

    Parameters
    ----------
    architecture : str
        Of the machine that it is for.
    folder : Path

    Returns
    -------
    Path
        The program.

    Raises
    ------
    TenfoldError
        It can't be compiled, or the folder can't be written.
    """
    program, wanted = device_program(architecture, kind=SERVER), folder / PROGRAM
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(wanted) as temporary:
            shutil.copyfile(program, temporary)
        os.chmod(wanted, 0o755)
    except OSError as error:
        raise TenfoldError(f"{folder}: can't be written: {reason(error)}") from None
    return wanted


def needed_glibc(program: Path) -> str:
    """The oldest version of the C library that a program runs with, such as ``2.34``; empty where it does not say."""
    found = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", program.read_bytes())]
    return f"2.{max(found)}" if found else ""


def compiler_for(architecture: str) -> str:
    """The C++ compiler for an architecture; TenfoldError if there is none."""
    if architecture == this_architecture():
        named = os.environ.get("CXX") or "g++"
        return named if shutil.which(named) else cpp_compiler()  # which imports TVM
    for known in ARCHITECTURES:
        if known.name == architecture:
            return cpp_compiler(known)
    raise TenfoldError(f"no program that runs networks is made for {architecture}")


@functools.lru_cache(maxsize=8)
def library_root(architecture: str) -> Path | None:
    """The folder whose ``lib`` has the system's libraries of another architecture: what its compiler links with."""
    if architecture == this_architecture() or architecture not in LOADERS:
        return None
    found = Path(_said(compiler_for(architecture), f"-print-file-name={LOADERS[architecture]}"))
    return found.resolve().parent.parent if found.is_absolute() else None


def _options(kind: str) -> tuple[str, ...]:
    if kind == DEVICE:
        return OPTIONS
    return (*(each for each in OPTIONS if each != "-rdynamic"), *SMALL, f'-DTENFOLD_VERSION="{metadata.version("tenfold")}"')


@functools.lru_cache(maxsize=8)
def _digest(compiler: str, kind: str) -> str:
    """Of all that a program is made from."""
    digest = hashlib.sha256(repr((_options(kind), shutil.which(compiler), _said(compiler, "--version"))).encode())
    for path in sorted(path for path in SOURCES.rglob("*") if path.suffix in (".h", ".cc")):
        digest.update(repr((path.relative_to(SOURCES).as_posix(), path.read_bytes())).encode())
    return digest.hexdigest()[:24]


def _said(compiler: str, option: str) -> str:
    try:
        return subprocess.run([compiler, option], capture_output=True, text=True, timeout=60, errors="replace").stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise TenfoldError(f"the C++ compiler {compiler} can't be run: {error}") from None
