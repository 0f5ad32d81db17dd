"""An artifact whose files are changed and whose hashes fit again: what loading it must see by itself."""
from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tenfold.runtime.manifest import sha256_of
from tenfold.runtime.weights import HEADER, WORD

HASHES = {"model.so": "library_sha256", "weights.bin": "weights_sha256"}


def read_words(folder: Path) -> list[int]:
    """The table of weights.bin."""
    content = (folder / "weights.bin").read_bytes()
    size = struct.unpack_from(f"<{HEADER}q", content)[1]
    return list(struct.unpack_from(f"<{size // WORD}q", content))


def write_words(folder: Path, words: list[int]) -> None:
    """Put another table into weights.bin, and its hash into the manifest."""
    content = bytearray((folder / "weights.bin").read_bytes())
    struct.pack_into(f"<{len(words)}q", content, 0, *words)
    (folder / "weights.bin").write_bytes(content)
    sign(folder)


def sign(folder: Path) -> None:
    """Let the manifest's hashes be those of the files."""
    edit(folder, **{field: sha256_of(folder / name) for name, field in HASHES.items()})


def edit(folder: Path, **fields: Any) -> None:
    """Change fields of the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **fields}))
