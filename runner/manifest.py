"""manifest.json: what an artifact folder says about the library and the weights beside it."""
from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TenfoldError

FORMAT = 4
LIBRARY, WEIGHTS, MANIFEST = "model.so", "weights.bin", "manifest.json"


@dataclass(frozen=True)
class Port:
    """An input or output: name, static shape, NumPy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Manifest:
    """What is in manifest.json.

    Attributes
    ----------
    name : str
        The model, as it was given.
    model_sha256 : str
        Of the network that was compiled.
    inputs, outputs : tuple of Port
    target : dict
        ``name``; ``tvm``: the TVM target; ``architecture``; ``features``: flags of /proc/cpuinfo that the code needs.
    threads : int
        What the network was compiled for, and runs on by default.
    versions : dict
        Of tenfold, tvm, python, numpy.
    plan : dict or None
        The plan that was applied.
    library_sha256, weights_sha256 : str
        Of model.so and weights.bin.
    bytes : int
        Size of both together.
    memory : dict
        Bytes that the network takes while it runs: ``weights``, ``activations`` (intermediate tensors, as planned), ``workspaces`` (what
        kernels use for themselves), ``outputs``; ``planned`` is their sum. Inputs are read where the caller has them.
    kernels : tuple of dict
        The kernels in the order in which they are called: ``function``, the ``layers`` that it computes, shape of its ``output``, ``macs``.
    pieces : int
        Equal parts of the batch that the kernels are called for, one after the other (`passes.pieces`).
    macs, params : int
        Multiply-accumulates of the convolutions and dense layers in one run; floating-point constants of the network.
    verification : dict
        ``reference``, ``inputs`` (how many sets were run), ``max_abs_error``, ``max_rel_error``, ``tolerance``: see `verify`.
    unscheduled : tuple of str
        Functions that no schedule rule took: they run in one thread, element by element.
    """

    name: str
    model_sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    target: dict[str, Any]
    threads: int
    versions: dict[str, str]
    plan: dict[str, Any] | None
    library_sha256: str
    weights_sha256: str
    bytes: int
    memory: dict[str, int]
    kernels: tuple[dict[str, Any], ...]
    pieces: int
    macs: int
    params: int
    verification: dict[str, Any]
    unscheduled: tuple[str, ...] = field(default=())
    format: int = FORMAT

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps({"format": self.format, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a file.

        Raises
        ------
        TenfoldError
            If it is not there, not JSON, of another format version, or lacks something.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TenfoldError(f"{path.parent}: not an artifact: there is no {path.name} in it") from None
        except (OSError, ValueError) as error:
            raise TenfoldError(f"{path}: not a manifest: {str(error).splitlines()[0]}") from None
        if not isinstance(content, dict) or "format" not in content:
            raise TenfoldError(f"{path}: not a manifest: it has no field 'format'")
        if content["format"] != FORMAT:
            raise TenfoldError(f"{path}: format {content['format']!r}, this Tenfold reads {FORMAT}: compile the network again")
        names = {f.name for f in fields(cls)}
        if missing := sorted(names - set(content)):
            raise TenfoldError(f"{path}: not a manifest: it has no field {missing[0]!r}")
        content = {key: value for key, value in content.items() if key in names}
        try:
            ports = {key: tuple(_port(p) for p in content[key]) for key in ("inputs", "outputs")}
            target = dict(content["target"])
            target["features"] = [str(flag) for flag in target["features"]]
            target["architecture"] = str(target["architecture"])
            simple = {"target": target, "threads": int(content["threads"]), "unscheduled": tuple(content["unscheduled"])}
            simple["pieces"] = int(content["pieces"])
            simple["kernels"] = tuple(_kernel(entry) for entry in content["kernels"])
        except (KeyError, TypeError, ValueError) as error:
            raise TenfoldError(f"{path}: not a manifest: an entry is malformed or missing ({type(error).__name__}: {error})") from None
        return cls(**{**content, **ports, **simple})


def _port(entry: dict[str, Any]) -> Port:
    return Port(str(entry["name"]), tuple(int(size) for size in entry["shape"]), str(np.dtype(entry["dtype"])))


def _kernel(entry: dict[str, Any]) -> dict[str, Any]:
    sequences = {"layers": tuple(map(str, entry["layers"])), "output": tuple(map(int, entry["output"]))}
    return {"function": str(entry["function"]), **sequences, "macs": int(entry["macs"])}


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest, block = hashlib.sha256(), memoryview(bytearray(1 << 18))  # stays in the L2 cache, and out of the peak memory
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()
