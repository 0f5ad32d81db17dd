"""A network as every frontend hands it over: a normalised ONNX graph, its Relax module, and an independent reference."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    import tvm

    from .reference import Reference


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a network: its name, static shape and NumPy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass
class Network:
    """A trained network, ready to be listed, factored and compiled.

    Attributes
    ----------
    name : str
        The file as it was given, or the name of the graph or module.
    onnx : onnx.ModelProto
        The normalised graph: static shapes, constants as initializers, batch norm folded, and a unique name on every
        convolution and dense layer.
    inputs, outputs : list of TensorSpec
    sha256 : str
        Hex digest of the file (external data included), or of the serialized network when it came as an object.
    run_reference : Reference
        What `reference` runs.
    reading : Verified or None
        What `runner.check_reading` found, where that was asked.
    simplified : Simplified or None
        What `passes.simplify` merged; None where it was not asked to.
    quantized : dict or None
        What a manifest says of how `runner.quantize` made it; None where that did not.
    clustered : dict or None
        What a manifest says of how `runner.quantize.clustering` made its weights few; None where that did not.
    """

    name: str
    onnx: onnx.ModelProto
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    sha256: str
    run_reference: Reference = field(repr=False)
    reading: Any = field(default=None, init=False, repr=False)
    simplified: Any = field(default=None, init=False, repr=False)
    quantized: Any = field(default=None, init=False, repr=False)
    clustered: Any = field(default=None, init=False, repr=False)

    @property
    def from_file(self) -> bool:
        """Whether it is the network that was given: its weights are those of a file, maybe, which can be read again."""
        return self.quantized is None and self.clustered is None

    @property
    def key(self) -> str:
        """What caches know its layers by: the SHA-256 of the model, and where layers were merged, that of the names of these too."""
        if self.simplified is None or not self.simplified.merges:
            return self.sha256
        merges = "".join(f"\n{merge.rewrite} {merge.into}" for merge in self.simplified.merges)
        return hashlib.sha256(f"{self.sha256}{merges}".encode()).hexdigest()

    @property
    def reference_name(self) -> str:
        """What `reference` runs, such as ``"onnxruntime"`` or ``"torch"``; known for sure when it has run."""
        return self.run_reference.name

    def reference(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the network as it was given, not the normalised graph, in an engine that shares no code with the compiler.

        Parameters
        ----------
        inputs : dict of str to ndarray
            One array for each of `inputs`, by name.

        Returns
        -------
        list of ndarray
            In the order of `outputs`.
        """
        return self.run_reference(inputs)

    @cached_property
    def mod(self) -> tvm.IRModule:
        """Relax module: one function ``main``, weights as constants.

        Every convolution and dense layer is bound to a variable of the layer's name.

        Raises
        ------
        TenfoldError
            An operator that has no Relax counterpart, by name and node.
        """
        from .relax.importer import import_relax

        return import_relax(self.onnx, self.name)


def tensor_specs(values: list[onnx.ValueInfoProto]) -> list[TensorSpec]:
    """The specs of graph inputs or outputs whose shapes are static."""
    specs = []
    for value in values:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        specs.append(TensorSpec(value.name, tuple(dim.dim_value for dim in tensor.shape.dim), str(np.dtype(dtype))))
    return specs
