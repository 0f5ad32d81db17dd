"""The checks: each asks what compiling, running or emulating asks itself, and takes its answer or its refusal.

Everything is imported where it is asked for: a package that is broken is a finding too.
"""
from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata

from ...support.errors import TenfoldError
from .health import COMPILE, EMULATE, PACKAGES, REACH, RUN, Finding

PACKAGE = re.compile(r'pip install "[^"]+"|apt install [\w.+-]+|pip install [\w.-]+')  # in what a refusal says
DEVELOPERS = ("docs", "test")  # extras of those who work on Tenfold itself
Able = tuple[str, str, str]  # with what it can be done, the program that does it, its version


def check(area: str, what: str, ask: Callable[[], Able]) -> Finding:
    """What comes of a check.

    Parameters
    ----------
    area, what : str
        As of `Finding`.
    ask : callable
        Raises TenfoldError where something is missing. Whatever else it raises is a finding too: a broken machine has all kinds of faults.
    """
    try:
        detail, tool, version = ask()
    except TenfoldError as error:
        found = PACKAGE.search(str(error))
        return Finding(area, what, False, str(error), found[0] if found else "")
    except Exception as error:
        return Finding(area, what, False, f"unforeseen: {type(error).__name__}: {error}")
    return Finding(area, what, True, detail, "", tool, version)


def compiling() -> Iterator[Finding]:
    """For each kind of target."""
    from ...targets.architectures import ARCHITECTURES

    for architecture in ARCHITECTURES:

        def cpu(architecture: object = architecture) -> Able:
            from ...codegen.toolchain import cpp_compiler

            compiler = cpp_compiler(architecture)  # type: ignore[arg-type]
            version = _version(compiler)
            return f"{compiler} {version}", compiler.rpartition("/")[2], version

        yield check(COMPILE, f"for {architecture.title}", cpu)

    def gpu() -> Able:
        from ...codegen.cuda.nvcc import find_nvcc

        nvcc = find_nvcc()
        version = ".".join(map(str, nvcc.version))
        return f"{nvcc.path} {version}", "nvcc", version

    yield check(COMPILE, "for CUDA", gpu)


def running() -> Iterator[Finding]:
    """On this machine's CPU and GPUs."""

    def cpu() -> Able:
        from ...targets import detect_host

        host = detect_host()
        return f"{host.description}, {host.cores} cores, {host.vector_bits}-bit vectors, as {host.tvm['mcpu']}", "", ""

    def presets() -> Able:
        from ...targets import cpu_presets
        from ..abilities import ability

        names = [preset.name for preset in cpu_presets() if ability(preset).run]
        if not names:
            raise TenfoldError("no preset is for this CPU: --target host is")
        return ", ".join(names), "", ""

    def gpu() -> Able:
        from ...runtime.cuda.capability import gpu_for
        from ...targets import resolve
        from ...targets.cuda_driver import driver

        gpu_for(resolve("cuda").features)
        names = ", ".join(f"cuda:{gpu.index} {gpu.name} ({gpu.arch})" for gpu in driver().gpus())
        return names, "CUDA driver", str(driver().version)

    yield check(RUN, "on this CPU", cpu)
    yield check(RUN, "code of presets", presets)
    yield check(RUN, "on a GPU", gpu)


def emulating() -> Iterator[Finding]:
    """CPUs by QEMU, their cycles by its plugin and llvm-mca, GPUs by the CPU."""
    from ...targets.architectures import ARCHITECTURES

    for architecture in ARCHITECTURES:

        def emulator(name: str = architecture.name) -> Able:
            from ..devices.emulated import CPU, Emulated, version_of

            device = Emulated(CPU, name)
            return device.emulator, device.emulator.rpartition("/")[2], version_of(device.emulator)

        yield check(EMULATE, architecture.title, emulator)

    def counting() -> Able:
        from ..devices.counted import INSTALL, counting_plugin
        from ..devices.emulated import emulator_for

        plugin, emulators = counting_plugin(), [emulator_for(each.name) for each in ARCHITECTURES]
        if not any(path and not path.endswith("-static") for path in emulators):
            raise TenfoldError(f"there is no emulator that takes the plugin: {INSTALL}")
        return str(plugin), "", ""

    def cycles() -> Able:
        from ..bench.mca import llvm_version

        return "llvm-mca", "llvm-mca", llvm_version()

    def gpu() -> Able:
        from ...codegen.toolchain import cpp_compiler
        from ..devices.emulated_cuda import EmulatedCuda

        return f"{EmulatedCuda().describe()}, by {cpp_compiler()}", "", ""

    yield check(EMULATE, "counted instructions", counting)
    yield check(EMULATE, "modelled cycles", cycles)
    yield check(EMULATE, "CUDA", gpu)


def reaching(device: str) -> Finding:
    """A device elsewhere, or what a tracker knows of a key."""

    def ask() -> Able:
        from ..devices.address import TRACKER, Place
        from ..devices.choose import device_of

        if device.partition(":")[0] == TRACKER:
            return _fleet(Place.of_device(device)), "", ""
        with device_of(device) as there:
            return there.describe(), "", ""

    return check(REACH, device, ask)


def _fleet(place: object) -> str:
    """Who is registered under a key. Nothing is waited for."""
    from ..devices.address import Place
    from ..devices.session import SILENCE
    from ..devices.tracker import Tracker, keys, members
    from ..devices.wire import Lost

    assert isinstance(place, Place)
    try:
        with Tracker(place, SILENCE) as tracker:
            summary = tracker.summary()
        found = [f"{each.address} ({'free' if each.user is None else f'works for {each.user}'})" for each in members(summary, place.key)]
        others = ", ".join(keys(summary)) or "none"
    except Lost as error:
        raise TenfoldError(f"the tracker: {error}") from None
    if not found:
        raise TenfoldError(f"the tracker answers, and has no device of the key {place.key!r} (keys there: {others})")
    return f"the tracker has {', '.join(found)}"


def packages() -> Iterator[Finding]:
    """The extras of Tenfold, as its metadata list them."""
    for extra, names in extras().items():

        def installed(extra: str = extra, names: tuple[str, ...] = names) -> Able:
            absent = [name for name in names if version_of_package(name) is None]
            if absent:
                install = f'pip install "tenfold[{extra}]"' if extra else "pip install tenfold"
                raise TenfoldError(f"not installed: {', '.join(absent)}: {install}")
            return ", ".join(names), "", ""

        yield check(PACKAGES, f"tenfold[{extra}]" if extra else "tenfold", installed)


def extras() -> dict[str, tuple[str, ...]]:
    """The packages of each extra by its name; those that Tenfold always needs by the empty one."""
    found: dict[str, list[str]] = {}
    try:
        needed = metadata.requires("tenfold") or []
    except metadata.PackageNotFoundError:
        needed = []
    for text in needed:
        package, _, marker = text.partition(";")
        extra = re.search(r"""extra\s*==\s*["']([\w-]+)["']""", marker)
        name = re.match(r"[\w.-]+", package.strip())
        if name and (extra or not marker):  # another marker: of an older Python
            found.setdefault(extra[1] if extra else "", []).append(name[0])
    return {extra: tuple(names) for extra, names in found.items() if extra not in DEVELOPERS}


def version_of_package(name: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _version(compiler: str) -> str:
    """The version of a C++ compiler, such as 12.2.0; ``?`` where it does not say."""
    try:
        command = [compiler, "--version"]
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return "?"
    numbers = re.findall(r"\d+\.\d+(?:\.\d+)*", said.stdout.partition("\n")[0])
    return numbers[-1] if numbers else "?"
