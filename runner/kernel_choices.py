"""What kernels are built from, as a user gives it: a mapping, a JSON file, or an artifact whose kernels are wanted once more."""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime.manifest_fields import choices
from ..runtime.sizes import read_manifests
from ..support.errors import TenfoldError
from ..support.files.json_text import read_json


def read_choices(given: Mapping[str, Mapping[str, Any]] | str | os.PathLike[str] | None) -> dict[str, dict[str, Any]]:
    """Return points by workload.

    Parameters
    ----------
    given : mapping, path or None
        A mapping from workloads to points (knobs and their values); a JSON file that holds one; the folder of an artifact, whose manifest
        says what its kernels were built from. None stands for no choices at all.

    Raises
    ------
    TenfoldError
        The file can't be read, or does not hold such a mapping.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return checked_choices(dict(given))
    path = Path(given)
    if path.is_dir():
        return {workload: point for manifest in read_manifests(path) for workload, point in manifest.choices.items()}
    return checked_choices(read_json(path), str(path))


def checked_choices(content: Any, source: str = "choices") -> dict[str, dict[str, Any]]:
    """Return choices as JSON has them; TenfoldError, naming `source`, for what are none."""
    try:
        return choices(content)
    except (TypeError, ValueError) as error:
        needed = "an object of workloads, each with an object of knobs"
        raise TenfoldError(f"{source}: not choices of kernels: {error}; it has to be {needed}") from None
