"""The C++ compiler that makes and links code for a target: that of this machine, or a cross compiler."""
from __future__ import annotations

import os
import shutil
import subprocess

from ..support.errors import TenfoldError
from ..targets import CpuTarget
from ..targets.architectures import AARCH64, X86_64, Architecture, this_architecture

INSTALL = "install g++ (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++), or name a compiler in CXX"
CROSS = {"aarch64": "g++-aarch64-linux-gnu", "x86_64": "g++-x86-64-linux-gnu"}  # Debian's packages
NATIVE = ("g++", "gcc", "clang++", "clang", "c++", "cc")
VARIABLE = "TENFOLD_CXX_{}"  # environment: the compiler for an architecture, such as TENFOLD_CXX_AARCH64


def cpp_compiler(architecture: Architecture | None = None) -> str:
    """The C++ compiler for an architecture.

    For this machine's that of CXX, or the first that is found. For another one that of the environment variable TENFOLD_CXX_<NAME>, or
    the cross compiler of the distribution, such as ``aarch64-linux-gnu-g++``.

    Parameters
    ----------
    architecture : Architecture, optional
        Default: that of this machine.

    Raises
    ------
    TenfoldError
        There is none; it says what to install.
    """
    if architecture is None or architecture.name == this_architecture():
        return _native()
    variable = VARIABLE.format(architecture.name.upper())
    named = os.environ.get(variable)
    compiler = named or f"{architecture.name.replace('_', '-')}-linux-gnu-g++"
    if shutil.which(compiler):
        return compiler
    if named:
        raise TenfoldError(f"the C++ compiler {named!r}, which {variable} names, is no program that can be run")
    raise TenfoldError(f"no C++ compiler for {architecture.title} was found to link the compiled network with: install {compiler} "
                       f"(Debian, Ubuntu: apt install {CROSS[architecture.name]}), or name one in {variable}")


def compiles_for(architecture: Architecture | None) -> bool:
    """Whether a C++ compiler for an architecture is there; None: for this machine's."""
    try:
        cpp_compiler(architecture)
    except TenfoldError:
        return False
    return True


def _native() -> str:
    """As TVM finds it, which takes seconds to import."""
    compiler = os.environ.get("CXX") or os.environ.get("CC") or next(filter(None, map(shutil.which, NATIVE)), None)
    if compiler is None:
        raise TenfoldError(f"no C++ compiler was found to link the compiled network with: {INSTALL}")
    if shutil.which(compiler) is None:
        raise TenfoldError(f"the C++ compiler {compiler!r}, which CXX or CC names, is no program that can be run: {INSTALL}")
    return compiler


def options_for(target: CpuTarget) -> tuple[str, ...]:
    """Options of the C++ compiler for the vectors of a target."""
    if target.architecture is X86_64:
        return tuple(f"-m{feature}" for feature in ("avx2", "avx512f") if feature in target.features)
    # What the library has besides its kernels gains nothing from newer parts, and compilers may not know the CPU.
    return ("-march=armv8-a",) if target.architecture is AARCH64 else ()


def run_compiler(command: list[str]) -> None:
    """Run the C++ compiler.

    Raises
    ------
    TenfoldError
        It can't be run, or fails; what it says goes into one line.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    except OSError as error:
        raise TenfoldError(f"the C++ compiler {command[0]} can't be run: {error.strerror}") from None
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        why = next((line for line in said if "rror" in line or "No space" in line), said[0] if said else f"exit code {done.returncode}")
        hint = f"; {INSTALL}" if "cc1plus" in why else ""  # gcc without its C++ part
        raise TenfoldError(f"the C++ compiler {command[0]} failed: {why[:300]}{hint}")
