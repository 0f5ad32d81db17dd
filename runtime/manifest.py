"""manifest.json: what an artifact folder says about the library and the weights beside it."""
from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..support.errors import TenfoldError
from ..support.files.json_text import read_json
from .manifest_fields import OPTIONAL, READERS, Port

__all__ = [
    "CUDA_LIBRARY", "FORMAT", "KERNELS_EMULATED", "LIBRARY", "MANIFEST", "REFERENCE", "WEIGHTS", "Manifest", "Port", "library_name",
    "sha256_of",
]

FORMAT = 5
LIBRARY, CUDA_LIBRARY, WEIGHTS, MANIFEST = "model.so", "model.cuda", "weights.bin", "manifest.json"
REFERENCE = "reference.npz"
KERNELS_EMULATED = "kernels emulated on the CPU"  # what ran an artifact for GPUs where there was none, as a verification says


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
        ``name``; ``tvm``: the TVM target; ``architecture``; ``features``: flags of /proc/cpuinfo that the code needs;
        ``precision`` of the operands of products, where it is not float32.
    threads : int
        What the network was compiled for, and runs on by default.
    versions : dict
        Of tenfold, tvm, python, numpy.
    plan : dict or None
        The plan that was applied.
    library_sha256, weights_sha256 : str
        Of model.so (of a GPU: model.cuda) and weights.bin.
    bytes : int
        Size of both together.
    memory : dict
        Bytes that the network takes while it runs: ``weights``, ``activations`` (intermediate tensors, as planned), ``workspaces`` (what
        kernels use for themselves), ``outputs``; ``planned`` is their sum. Inputs are read where the caller has them.
    kernels : tuple of dict
        The kernels in the order in which they are called: ``function``, the ``layers`` that it computes, shape of its ``output``, ``macs``;
        for a GPU with another precision than float32 the ``precision`` of its operands.
    choices : dict
        What each kernel was built from, knobs and their values, by its workload: `compile` takes them as ``choices``.
    tuning : dict or None
        Where these choices come from. ``kernels``: by workload, ``by`` (``model``: the model of the machine, ``wanted``: the user,
        ``record``: a record of a tuner) and of a record its ``log``, ``how`` it was timed (``measured`` or ``modelled``), its ``ms``,
        ``base_ms`` (those of the model's choice) and ``date``. ``stale``: records that are in the space no more, by workload, and why.
        ``of_other_processors``: how many records of these workloads are of other processors, and were not used.
    pieces : int
        Equal parts of the batch that the kernels are called for, one after the other (`codegen.batch_split`).
    macs, params : int
        Multiply-accumulates of the convolutions and dense layers in one run; floating-point constants of the network.
    source : dict
        How the model can be read again: ``path`` (absolute; None for a model that was no file), ``input_shapes``, ``batch`` and
        ``outputs`` as they were asked for, and the ``tolerance`` that was.
    reference : dict or None
        What reference.npz beside it holds, where it is: ``sha256``, ``engine`` (that computed the outputs), ``inputs`` (how many sets),
        ``tolerance``, ``tolerance_reason``, ``rms``.
    verification : dict or None
        None: the artifact was never verified. Else ``device`` (where it ran), ``reference`` (what it was compared with), ``inputs`` (how
        many sets were run), ``max_abs_error``, ``max_rel_error``, ``tolerance``, ``tolerance_reason``, ``notes`` (what was accepted
        beyond the tolerance, and why): see `judgement`.
    unscheduled : tuple of str
        Functions that no schedule rule took: they run in one thread, element by element.
    simplified : dict or None
        What exact rewrites merged before anything else (`passes.simplify`): ``before`` and ``after`` (``nodes``, ``macs``, ``params``), and
        ``merges``: the ``rewrite``, what it merged ``into``, and what that saved. None: the network was compiled as it came.
    quantization : dict or None
        Of a network that was quantized to be compiled: its ``precision``, the settings (``calibration`` and so on), the quantized
        ``layers`` ``of`` all, on how many images, and the accuracy before and after. The ``model_sha256`` in it is that of the model as it
        was given, that of the manifest is of the quantized network.
    clustering : dict or None
        Of a network whose weights are kept as indices of few values: ``bits`` of an index, ``method``, the ``layers`` and ``numbers``
        that this is of, how many numbers are ``packed`` in weights.bin (of weights as kernels read them, with padding), the
        ``weight_error`` (root mean square, over that of the weights), and the accuracy before and after.
    quantized : dict or None
        Of a network with quantized activations: the layers that are computed in ``int8``, and why others are in ``float32``, by layer.
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
    choices: dict[str, dict[str, Any]]
    pieces: int
    macs: int
    params: int
    source: dict[str, Any]
    reference: dict[str, Any] | None
    verification: dict[str, Any] | None
    unscheduled: tuple[str, ...] = field(default=())
    tuning: dict[str, Any] | None = None
    simplified: dict[str, Any] | None = None
    quantization: dict[str, Any] | None = None
    clustering: dict[str, Any] | None = None
    quantized: dict[str, Any] | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps({"format": self.format, **asdict(self)}, indent=2) + "\n"

    @property
    def library(self) -> str:
        """The name of the file that holds its code."""
        return library_name(self.target["architecture"])

    @property
    def on_gpu(self) -> bool:
        """Whether its code is for GPUs."""
        return self.library == CUDA_LIBRARY

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a file.

        Every field is of its type, and every number within its bounds (`manifest_fields`): shapes are those of tensors, names of ports
        differ. What is said of the files beside it is checked where these are loaded.

        Raises
        ------
        TenfoldError
            If it is not there, not JSON, of another format version, or lacks something.
        """
        if not os.path.lexists(path):
            raise TenfoldError(f"{path.parent}: not an artifact: there is no {path.name} in it")
        content = read_json(path)
        if not isinstance(content, dict) or "format" not in content:
            raise TenfoldError(f"{path}: not a manifest: it has no field 'format'")
        if content["format"] != FORMAT or isinstance(content["format"], bool):
            found = repr(content["format"])[:40]
            raise TenfoldError(f"{path}: format {found}, this Tenfold reads {FORMAT}: compile the network again")
        content = {**OPTIONAL, **content}
        if missing := sorted(set(READERS) - set(content)):
            raise TenfoldError(f"{path}: not a manifest: it has no field {missing[0]!r}")
        values = {}
        for name, reader in READERS.items():
            try:
                values[name] = reader(content[name])
            except KeyError as error:
                raise TenfoldError(f"{path}: not a manifest: field {name!r}: {error} is missing") from None
            except (TypeError, ValueError) as error:
                raise TenfoldError(f"{path}: not a manifest: field {name!r}: {error}") from None
        return cls(**values)


def library_name(architecture: str) -> str:
    """The file that holds the code of an artifact, by the ``architecture`` of its target."""
    return CUDA_LIBRARY if architecture == "cuda" else LIBRARY


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest, block = hashlib.sha256(), memoryview(bytearray(1 << 18))  # stays in the L2 cache, and out of the peak memory
    with open(path, "rb", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (count := file.readinto(block)):  # a file of /proc has no end, and says that it is empty
            digest.update(block[:count])
            left -= count
    return digest.hexdigest()
