"""Tenfold: factor a trained convolutional network, compile it with Apache TVM, and prove on the device what was gained."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .factorization.choice import Choice
    from .factorization.plan import Plan
    from .frontends.reading import Reading
    from .reports.write import report
    from .runner.bench.compare import Comparison, bench
    from .runner.changes.compare import Changes, compare
    from .runner.compile import compile
    from .runner.doctor.doctor import doctor
    from .runner.doctor.health import Health
    from .runner.inspect import inspect
    from .runner.quantize.quantization import Quantization
    from .runner.quantize.quantize import quantize
    from .runner.quantize.settings import QuantizationSettings
    from .runner.simplify import Simplification, simplify
    from .runner.verification import verify
    from .runtime.artifact import Artifact
    from .runtime.loading import load
    from .search.budget import Budget
    from .search.compress import compress
    from .search.compression import Compression
    from .search.recipe import Recipe
    from .search.settings import Settings
    from .support.errors import TenfoldError, VerificationError
    from .targets import Target
    from .tuning.tune import Tuning, TuningSettings, tune

# Imported when they are first asked for: `import tenfold` must not wait for TVM.
_HOMES = {
    "Artifact": "runtime.artifact",
    "Budget": "search.budget",
    "Changes": "runner.changes.compare",
    "Choice": "factorization.choice",
    "Comparison": "runner.bench.compare",
    "Compression": "search.compression",
    "Health": "runner.doctor.health",
    "Plan": "factorization.plan",
    "Reading": "frontends.reading",
    "Quantization": "runner.quantize.quantization",
    "QuantizationSettings": "runner.quantize.settings",
    "Recipe": "search.recipe",
    "Settings": "search.settings",
    "Simplification": "runner.simplify",
    "Target": "targets",
    "TenfoldError": "support.errors",
    "Tuning": "tuning.tune",
    "TuningSettings": "tuning.tune",
    "VerificationError": "support.errors",
    "bench": "runner.bench.compare",
    "compare": "runner.changes.compare",
    "compile": "runner.compile",
    "compress": "search.compress",
    "doctor": "runner.doctor.doctor",
    "inspect": "runner.inspect",
    "load": "runtime.loading",
    "quantize": "runner.quantize.quantize",
    "report": "reports.write",
    "simplify": "runner.simplify",
    "tune": "tuning.tune",
    "verify": "runner.verification",
}

__all__ = [
    "Artifact",
    "Budget",
    "Changes",
    "Choice",
    "Comparison",
    "Compression",
    "Health",
    "Plan",
    "Quantization",
    "QuantizationSettings",
    "Reading",
    "Recipe",
    "Settings",
    "Simplification",
    "Target",
    "TenfoldError",
    "Tuning",
    "TuningSettings",
    "VerificationError",
    "bench",
    "compare",
    "compile",
    "compress",
    "doctor",
    "inspect",
    "load",
    "quantize",
    "report",
    "simplify",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("tenfold")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
