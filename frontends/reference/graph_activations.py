"""What flows inside an ONNX graph: any of its values, batch by batch, from ONNX Runtime."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from ...support.errors import TenfoldError
from ...support.input_set import Images, by_name, filled_up
from .session import EXACT_SUMS_OPTION

BATCH = 32  # images: beyond it convolutions of the usual sizes do not get faster
MOST_BYTES_HELD = 2**28  # bytes of values that are held at a time, where one image has no more


class GraphActivations:
    """Runs the part of a graph that some of its values need.

    Parameters
    ----------
    model : onnx.ModelProto
        It is only read.
    values : sequence of str
        Names of values of the graph; an input itself may be among them.

    Raises
    ------
    TenfoldError
        There is no such value, or ONNX Runtime can't run the graph.
    """

    def __init__(self, model: onnx.ModelProto, values: Sequence[str]):
        import onnxruntime

        sources = [source.name for source in model.graph.input]
        self._names, self._direct = sources, [name for name in sources if name in values]
        self._computed = [value for value in dict.fromkeys(values) if value not in sources]
        self._size = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value  # 0: free
        self._outputs = {output.name for output in model.graph.output}
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

    def batches(self, images: Images, size: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """The values by name, for ``size`` images at a time, to the last image.

        Where the network's batch is fixed, for one of it; by default for 32, or as many as `MOST_BYTES_HELD` bytes have room for. An
        output of one image without an axis for images gets one.
        """
        size = self._size or size or self.batch_size(images)
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            yield self._run(filled_up(batch, size) if self._size else batch, len(batch))  # filled up with the last image

    def batch_size(self, images: Images) -> int:
        """Images that are run at a time, unless another number is asked for."""
        if self._size or not len(images):
            return self._size or 1
        each = sum(value.nbytes for value in self._run(images[:1], 1).values())
        return min(BATCH, max(1, MOST_BYTES_HELD // max(each, 1)))

    def _run(self, batch: Images, count: int) -> dict[str, np.ndarray]:
        feeds = by_name(batch, self._names)
        values = {name: feeds[name][:count] for name in self._direct}
        if self._session is not None:
            try:
                results = self._session.run(self._computed, {name: np.ascontiguousarray(array) for name, array in feeds.items()})
            except Exception as error:
                raise TenfoldError(f"ONNX Runtime can't run the network: {str(error).strip().splitlines()[0]}") from error
            for name, result in zip(self._computed, results, strict=True):
                alone = self._size == 1 and name in self._outputs and result.shape[:1] != (1,)
                values[name] = result[None] if alone else result[:count]
        return values


def _part(model: onnx.ModelProto, values: Sequence[str]) -> onnx.ModelProto:
    """The nodes and weights that ``values`` need, with ``values`` for outputs."""
    needed, nodes = set(values), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(name for name in reads(node) if name)
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


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, those that its subgraphs take from outside among them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)
