"""Tenfold: factor a trained convolutional network, compile it with Apache TVM, and prove on the device what was gained."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .factorization.choice import Choice
    from .factorization.plan import Plan
    from .runner.bench.compare import Comparison, compare
    from .runner.compile import compile
    from .runner.inspect import inspect
    from .runner.verification import verify
    from .runtime.artifact import Artifact, load
    from .search.compress import compress
    from .support.errors import TenfoldError, VerificationError
    from .targets import Target

# Imported when they are first asked for: `import tenfold` must not wait for TVM.
_HOMES = {
    "Artifact": "runtime.artifact",
    "Choice": "factorization.choice",
    "Comparison": "runner.bench.compare",
    "Plan": "factorization.plan",
    "Target": "targets",
    "TenfoldError": "support.errors",
    "VerificationError": "support.errors",
    "compare": "runner.bench.compare",
    "compile": "runner.compile",
    "compress": "search.compress",
    "inspect": "runner.inspect",
    "load": "runtime.artifact",
    "verify": "runner.verification",
}

__all__ = [
    "Artifact",
    "Choice",
    "Comparison",
    "Plan",
    "Target",
    "TenfoldError",
    "VerificationError",
    "compare",
    "compile",
    "compress",
    "inspect",
    "load",
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
