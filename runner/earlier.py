"""What makes the files in a folder an artifact that an earlier run wrote: only such are replaced."""
from __future__ import annotations

from pathlib import Path

from ..runtime.manifest import CUDA_LIBRARY, LIBRARY, MANIFEST, REFERENCE, WEIGHTS, sha256_of
from ..support.errors import TenfoldError
from ..support.files.folder import Kind
from ..support.files.json_text import read_json

FIELDS = {
    "format": int, "name": str, "model_sha256": str, "target": dict, "versions": dict, "library_sha256": str,
    "verification": dict | None,  # None: it was never verified
}  # fmt: skip
HASHES = {LIBRARY: "library_sha256", CUDA_LIBRARY: "library_sha256", WEIGHTS: "weights_sha256"}


def fault(folder: Path) -> str | None:
    """Why a folder is no artifact, of this or an earlier format: what its manifest lacks, or a file that is not the one of the manifest."""
    if not (folder / MANIFEST).exists():
        return f"there is no {MANIFEST}"
    try:
        manifest = read_json(folder / MANIFEST)
    except TenfoldError:
        return f"{MANIFEST} is not one of Tenfold's"
    if not isinstance(manifest, dict):
        return f"{MANIFEST} is not one of Tenfold's"
    for field, kind in FIELDS.items():
        if field not in manifest or not isinstance(manifest[field], kind):
            return f"{MANIFEST} is not one of Tenfold's: it has no {field!r}"
    for name, field in HASHES.items():
        if (folder / name).exists() and sha256_of(folder / name) != manifest.get(field):
            return f"{name} is not the one of {MANIFEST}"
    return None


ARTIFACT = Kind(MANIFEST, (LIBRARY, CUDA_LIBRARY, WEIGHTS, REFERENCE, MANIFEST), fault)
