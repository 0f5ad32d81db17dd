"""What modelled CPUs need: an emulator that takes plugins, a cross compiler, and llvm-mca."""
from __future__ import annotations

import shutil

from tenfold.runner.bench import mca
from tenfold.runner.devices.emulated import emulator_for
from tenfold.support.errors import TenfoldError
from tenfold.targets.architectures import this_architecture


def lacks_llvm() -> str:
    try:
        mca.llvm_version()
    except TenfoldError as error:
        return str(error)
    return ""


def lacks_all(architecture: str, compiler: str) -> str:
    """Why nothing can be counted here; empty where it can."""
    emulator = emulator_for(architecture)
    if emulator is None or emulator.endswith("-static"):
        return f"there is no qemu-{architecture} that takes plugins"
    if shutil.which(compiler) is None:
        return f"there is no {compiler}"
    return lacks_llvm()


LACKS = {"cortex-a72": lacks_all("aarch64", "aarch64-linux-gnu-g++"), "zen3": lacks_all("x86_64", "g++")}
if this_architecture() != "x86_64":
    LACKS["zen3"] = "there is no compiler for x86-64"
