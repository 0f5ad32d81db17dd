"""What flows inside an ONNX graph: any of its values, batch by batch, from ONNX Runtime."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from ...support.errors import TenfoldError
from .session import EXACT_SUMS_OPTION

BATCH = 32  # images: beyond it convolutions of the usual sizes do not get faster
MOST_BYTES_HELD = 2**28  # bytes of values that are held at a time, where one image has no more


class GraphActivations:
    """Runs the part of a graph that some of its values need.

    Parameters
    ----------
    model : onnx.ModelProto
        Of one input. It is only read.
    values : sequence of str
        Names of values of the graph; the input itself may be among them.

    Raises
    ------
    TenfoldError
        There is no such value, or ONNX Runtime can't run the graph.
    """

    def __init__(self, model: onnx.ModelProto, values: Sequence[str]):
        import onnxruntime

        source = model.graph.input[0]
        self._name, self._direct = source.name, source.name in values
        self._computed = [value for value in dict.fromkeys(values) if value != source.name]
        self._size = source.type.tensor_type.shape.dim[0].dim_value  # 0: free
        self._session = None
        if not self._computed:
            return
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it has to say comes as an exception
        options.add_session_config_entry(EXACT_SUMS_OPTION, "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")  # NumPy works on the cores between two runs
        try:
            part = _part(model, self._computed).SerializeToString()
            self._session = onnxruntime.InferenceSession(part, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has a dozen classes of them
            raise TenfoldError(f"ONNX Runtime can't run the network: {str(error).strip().splitlines()[0]}") from error

    def batches(self, images: np.ndarray, size: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """The values by name, for ``size`` images at a time, to the last image.

        Where the network's batch is fixed, for one of it; by default for 32, or as many as `MOST_BYTES_HELD` bytes have room for.
        """
        size = self._size or size or self._affordable(images)
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            count = len(batch)
            if self._size and count < size:  # filled up with the last image
                batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
            yield self._run(batch, count)

    def _affordable(self, images: np.ndarray) -> int:
        if not len(images):
            return 1
        each = sum(value.nbytes for value in self._run(images[:1], 1).values())
        return min(BATCH, max(1, MOST_BYTES_HELD // max(each, 1)))

    def _run(self, batch: np.ndarray, count: int) -> dict[str, np.ndarray]:
        values = {self._name: batch[:count]} if self._direct else {}
        if self._session is not None:
            try:
                results = self._session.run(self._computed, {self._name: np.ascontiguousarray(batch)})
            except Exception as error:
                raise TenfoldError(f"ONNX Runtime can't run the network: {str(error).strip().splitlines()[0]}") from error
            values.update((name, result[:count]) for name, result in zip(self._computed, results, strict=True))
        return values


def _part(model: onnx.ModelProto, values: Sequence[str]) -> onnx.ModelProto:
    """The nodes and weights that ``values`` need, with ``values`` for outputs."""
    needed, nodes = set(values), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(name for name in _reads(node) if name)
            nodes.append(node)
    made = {name for node in nodes for name in node.output}
    for value in values:
        if value not in made:
            raise TenfoldError(f"nothing in the network computes {value!r}")
    part = onnx.ModelProto()
    part.CopyFrom(onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions))
    part.graph.name = model.graph.name
    part.graph.node.extend(reversed(nodes))
    part.graph.input.extend(model.graph.input)
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    part.graph.output.extend(onnx.ValueInfoProto(name=value) for value in values)
    return part


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, those that its subgraphs take from outside among them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
