"""What `doctor` found, as plain data."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

COMPILE, RUN, EMULATE, REACH, PACKAGES = "compile", "run", "emulate", "reach", "packages"


@dataclass(frozen=True)
class Finding:
    """One thing that this machine can or can't do.

    Attributes
    ----------
    area : str
        ``compile``, ``run``, ``emulate``, ``reach`` or ``packages``.
    what : str
        Such as ``for AArch64``.
    ok : bool
    detail : str
        With what it can; or why not, and what to do.
    install : str
        The command that brings what is missing; empty where nothing is, or no package does.
    tool, version : str
        What does it; empty where no program does.
    """

    area: str
    what: str
    ok: bool
    detail: str
    install: str = ""
    tool: str = ""
    version: str = ""


@dataclass(frozen=True)
class Cache:
    """The folder of what is kept for the next time.

    Attributes
    ----------
    folder : str
    files, bytes : int
    whole : bool
        Whether all of it was counted: a large one is not, to be quick.
    """

    folder: str
    files: int
    bytes: int
    whole: bool = True


@dataclass(frozen=True)
class Health:
    """What there is to know of this machine.

    Attributes
    ----------
    machine : dict
        ``cpu``, ``physical_cores``, ``vector_bits``, ``cache_bytes``, ``system`` and so on; empty where it can't be told.
    versions : dict of str to str
        Of packages and programs.
    findings : tuple of Finding
    peak_gflops : float or None
        Of all physical cores together, measured just now; None where it can't be.
    cache : Cache
    """

    machine: dict[str, Any]
    versions: dict[str, str]
    findings: tuple[Finding, ...]
    peak_gflops: float | None
    cache: Cache

    @property
    def missing(self) -> tuple[Finding, ...]:
        """What can't be done."""
        return tuple(finding for finding in self.findings if not finding.ok)

    @property
    def line(self) -> str:
        """One line for a bug report."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        known = self.machine
        peak = "peak unknown" if self.peak_gflops is None else f"{self.peak_gflops:.0f} GFLOP/s"
        facts = [
            f"{known.get('system', '?')} {known.get('architecture', '?')}", str(known.get("cpu", "unknown CPU")),
            f"{known.get('physical_cores', '?')} cores", f"{known.get('vector_bits', '?')}-bit vectors", peak,
        ]  # fmt: skip
        lacks = ", ".join(f"{finding.area} {finding.what}" for finding in self.missing) or "nothing"
        return f"{versions}; {', '.join(facts)}; missing: {lacks}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "machine": self.machine, "versions": self.versions, "findings": [asdict(each) for each in self.findings],
            "peak_gflops": self.peak_gflops, "cache": asdict(self.cache), "line": self.line,
        }  # fmt: skip
