"""The files of presets: one TOML file a device, one folder for each kind."""
from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "presets"


@functools.cache
def read_presets(*kinds: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Names and contents of the presets in some folders."""
    paths = sorted((path for kind in kinds for path in (FOLDER / kind).glob("*.toml")), key=lambda path: path.stem)
    return tuple((path.stem, tomllib.loads(path.read_text(encoding="utf-8"))) for path in paths)
