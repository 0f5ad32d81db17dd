"""What makes the files in a folder an artifact that an earlier run wrote: only such are replaced."""
from __future__ import annotations

from pathlib import Path

from ..runtime.manifest import CUDA_LIBRARY, LIBRARY, MANIFEST, WEIGHTS, sha256_of
from ..runtime.sizes import MOST_SIZES, all_names, numbered
from ..support.errors import TenfoldError
from ..support.files.folder import Kind
from ..support.files.json_text import read_json

FIELDS = {
    "format": int, "name": str, "model_sha256": str, "target": dict, "versions": dict, "library_sha256": str,
    "verification": dict | None,  # None: it was never verified
}  # fmt: skip
HASHES = {LIBRARY: "library_sha256", CUDA_LIBRARY: "library_sha256", WEIGHTS: "weights_sha256"}
NUMBERS = range(1, MOST_SIZES + 1)


def fault(folder: Path) -> str | None:
    """Why a folder is no artifact, of this or an earlier format: what a manifest lacks, or a file that is not the one of its manifest."""
    if not (folder / MANIFEST).exists():
        return f"there is no {MANIFEST}"
    return next(filter(None, (_fault(folder, number) for number in NUMBERS)), None)


def _fault(folder: Path, number: int) -> str | None:
    """The same of the files of one size."""
    name = numbered(MANIFEST, number)
    others = {numbered(other, number): field for other, field in HASHES.items()}
    present = [other for other in others if (folder / other).exists()]
    if not (folder / name).exists():
        return f"there is no {name}, as {present[0]} would need" if present else None
    try:
        manifest = read_json(folder / name)
    except TenfoldError:
        return f"{name} is not one of Tenfold's"
    if not isinstance(manifest, dict):
        return f"{name} is not one of Tenfold's"
    for field, kind in FIELDS.items():
        if field not in manifest or not isinstance(manifest[field], kind):
            return f"{name} is not one of Tenfold's: it has no {field!r}"
    for other in present:
        if sha256_of(folder / other) != manifest.get(others[other]):
            return f"{other} is not the one of {name}"
    return None


ARTIFACT = Kind(MANIFEST, all_names(), fault)
