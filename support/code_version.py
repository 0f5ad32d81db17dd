"""Hash of the code that made a result. What other code measured or fitted says nothing about this code."""
from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent


@functools.cache
def code_version(*parts: str, package: str | None = None) -> str:
    """A short hash of some of Tenfold's files and folders, and of the version of a package that they build on."""
    digest = hashlib.sha256(metadata.version(package).encode() if package else b"")
    for path in sorted(path for part in parts for path in _files(ROOT / part)):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _files(part: Path) -> list[Path]:
    return [part] if part.suffix else [path for path in part.rglob("*") if path.suffix in (".py", ".cc")]
