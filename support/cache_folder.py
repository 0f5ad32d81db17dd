"""Where what was measured is kept for the next time."""
from __future__ import annotations

import os
from pathlib import Path

CACHE = "TENFOLD_CACHE"  # environment variable: the folder that everything below is kept in


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """`given`, or what the environment says: TENFOLD_CACHE, else ``tenfold`` in XDG_CACHE_HOME, else ~/.cache/tenfold."""
    chosen = given or os.environ.get(CACHE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenfold"
