"""What a pickle of torch would call: read off its opcodes, nothing is unpickled."""
from __future__ import annotations

import io
import pickletools
import re
import zipfile

LARGEST_PICKLE = 64 << 20  # bytes of opcodes; the tensors' own bytes are elsewhere
# What a pickle of plain tensors and containers of them consists of.
PLAIN = re.compile(
    r"collections\.OrderedDict|builtins\.(tuple|list|dict|set|int|float|bool|complex|bytearray)"
    r"|torch\.(\w+Storage|Size|device|dtype|Tensor|float\w*|bfloat16|u?int\d+|bool|half|double|long|complex\d+|nn\.parameter\.Parameter)"
    r"|torch\.storage\.(UntypedStorage|TypedStorage)|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter)"
    r"|torch\.serialization\._get_layout",
    re.ASCII,
)
BUILDS = frozenset(("INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"))


def strange_globals(data: bytes) -> list[str]:
    """Names of functions and classes in a pickle that are not those of plain tensors, or ``["what can't be read"]``.

    Parameters
    ----------
    data : bytes
        What ``torch.save`` wrote (a zip), or a bare pickle; nothing at all is fine.
    """
    if not data:
        return []
    try:
        return sorted({name for name in _globals(_opcodes(data)) if not PLAIN.fullmatch(name)})
    except (ValueError, KeyError, IndexError, EOFError, OSError, zipfile.BadZipFile, RuntimeError):
        return ["what can't be read"]


def _opcodes(data: bytes) -> bytes:
    if not data.startswith(b"PK"):
        return data[:LARGEST_PICKLE]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [info for info in archive.infolist() if info.filename.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].filename.endswith("/data.pkl") or pickles[0].file_size > LARGEST_PICKLE:
            raise ValueError("not one pickle")
        return archive.read(pickles[0])


def _globals(pickle: bytes) -> list[str]:
    found: list[str] = []
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "GLOBAL":
            found.append(str(argument).replace(" ", ".", 1))
        elif opcode.name == "STACK_GLOBAL":
            found.append(".".join(texts[-2:]))
        elif opcode.name in BUILDS:
            found.append(f"an object ({opcode.name})")
        elif isinstance(argument, str):
            texts.append(argument)
    return found
