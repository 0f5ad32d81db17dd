"""Bounds on what reading a model may cost, and on what the network will need, checked before either is spent."""
from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxscript import ir

from ...support.errors import TenfoldError
from ...support.files.regular import LARGEST_MESSAGE
from .nodes import where_is
from .tensors import bytes_of, count_of

MOST_FOLDED = 4 * LARGEST_MESSAGE  # bytes, of all constants that are computed while a model is read
# Multiply-adds, and elements of operators that onnx's reference implementation computes one by one, that are folded: a few seconds.
MOST_WORK, MOST_LOOPED = 10**10, 10**6
MOST_CHUNKS = 10_000  # that one SplitToSequence or Split makes
LOOPED_OPERATORS = re.compile(r"((De)?Conv\w*|\w*Pool|Resize|Upsample|GridSample|RoiAlign|Col2Im|NonMaxSuppression|Einsum|LSTM|GRU|RNN)$")


class FoldBudget:
    """Decides for each node of constants whether it is computed while the model is read: the ``should_fold`` of `fold_constants`.

    Raises
    ------
    TenfoldError
        When called: one constant would be larger than a network may be, or all together than memory allows. It is raised before
        the memory is taken.
    """

    def __init__(self, name: str):
        self.name, self.spent = name, 0
        self.most = min(MOST_FOLDED, free_memory() // 2)

    def __call__(self, node: ir.Node) -> bool:
        """Let a node be folded, and count what it makes; TenfoldError beyond the bounds."""
        size = sum(_output_bytes(node))
        where = f"{self.name}: operator {node.op_type} {_named(node)}"
        if size > LARGEST_MESSAGE:
            raise TenfoldError(f"{where} makes a constant of {size / 1e9:.1f} GB; more than 2 GiB can't be part of a network")
        self.spent += size
        if self.spent > self.most:
            raise TenfoldError(f"{where}: the constants that the network computes take more than {self.most / 1e9:.1f} GB by now")
        return _work(node, size) <= MOST_WORK


def check_chunks(model: ir.Model, name: str) -> None:
    """Raise TenfoldError for a node that splits a tensor into more pieces than any network does: each would become a node."""
    for node in model.graph.all_nodes():
        if node.op_type not in ("SplitToSequence", "Split") or not node.inputs or node.inputs[0] is None or node.inputs[0].shape is None:
            continue
        longest = max((size for size in node.inputs[0].shape if isinstance(size, int)), default=0)
        if node.op_type == "SplitToSequence" and longest > MOST_CHUNKS or len(node.outputs) > MOST_CHUNKS:
            raise TenfoldError(f"{name}: operator {node.op_type} {_named(node)} makes more than {MOST_CHUNKS:,} pieces")


def check_inputs(model: ir.Model, name: str) -> None:
    """Raise TenfoldError if the inputs alone, whose shapes are fixed, don't fit into memory."""
    needed, free = 0, free_memory()
    for value in model.graph.inputs:
        needed += _bytes(value.shape.numpy(), value.dtype)
        if needed > free:
            sizes = ",".join(map(str, value.shape.numpy()))
            raise TenfoldError(f"{name}: input {value.name!r} of {sizes}: needs {_giga(needed)} of memory, and {_giga(free)} are free")


def check_memory(proto: onnx.ModelProto, name: str) -> None:
    """Raise TenfoldError if the network needs more memory than this machine has free.

    Counted are the weights, the inputs and outputs, and the largest sum of all values that are needed at one time, in the order of
    the nodes; a value of unknown size counts nothing. The compiled network may do with less, where values are fused into their
    readers, but it is verified against an engine that needs as much again.
    """
    free = free_memory()
    for needed, at in _needed(proto.graph):
        if needed > free:
            raise TenfoldError(f"{name}: needs {_giga(needed)} of memory when it has come to {at}, and {_giga(free)} are free")


def free_memory() -> int:
    """Bytes that this process can still take: of the machine, of its control group and of its own limit."""
    import psutil

    return max(0, min([psutil.virtual_memory().available, *_group_memory(), *_process_memory()]))


def _group_memory() -> Iterator[int]:
    """What the control groups (version 2 or 1) around this process leave free."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup" if not controllers else "/sys/fs/cgroup/memory")
        limit, used = ("memory.max", "memory.current") if not controllers else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        inner = root / path.lstrip("/")
        for group in (inner, *inner.parents):
            try:
                yield int((group / limit).read_text()) - int((group / used).read_text())
            except (OSError, ValueError):  # not there, or "max"
                pass
            if group == root:
                break


def _process_memory() -> Iterator[int]:
    import resource

    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms


def _needed(graph: onnx.GraphProto) -> Iterator[tuple[int, str]]:
    """Bytes that are needed at one time, at the beginning and at each node."""
    sizes = {value.name: _value_bytes(value) for value in (*graph.input, *graph.output, *graph.value_info)}
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        last.update(dict.fromkeys(node.input, number))
    kept = {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    weights = sum(bytes_of(tensor.data_type, count_of(tensor.dims)) for tensor in graph.initializer if tensor.data_type != tensor.STRING)
    live = weights + sum(sizes[value.name] for value in graph.input)
    yield live, "its inputs"
    for number, node in enumerate(graph.node):
        live += sum(sizes.get(value, 0) for value in node.output)
        yield live, where_is(node)
        done = {value for value in (*node.input, *node.output) if last.get(value, number) == number and value not in kept}
        live -= sum(sizes.get(value, 0) for value in done)


def _value_bytes(value: onnx.ValueInfoProto) -> int:
    tensor = value.type.tensor_type
    if tensor.elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING) or any(dim.dim_value < 0 for dim in tensor.shape.dim):
        return 0
    return bytes_of(tensor.elem_type, math.prod(dim.dim_value for dim in tensor.shape.dim))


def _output_bytes(node: ir.Node) -> Iterator[int]:
    """Bytes of each output, from its inferred shape, or where onnx infers none, from the values of the inputs."""
    for output in node.outputs:
        if output.shape is not None and output.shape.is_static():
            yield _bytes(output.shape.numpy(), output.dtype)
        else:
            yield _counted(node) * 8


def _bytes(shape: Sequence[int], dtype: ir.DataType | None) -> int:
    return math.prod(shape) * 8 if dtype in (None, ir.DataType.STRING, ir.DataType.UNDEFINED) else bytes_of(int(dtype), math.prod(shape))


def _counted(node: ir.Node) -> int:
    """Elements of an output whose shape is not inferred; of an operator that makes no more than it reads, those of its inputs."""
    values = [None if value is None or value.const_value is None else value.const_value for value in node.inputs]
    read = max((tensor.size for tensor in values if tensor is not None), default=1)

    def numbers(i: int) -> list[float]:
        value = values[i] if i < len(values) else None
        return [] if value is None or value.size > 64 else [float(number) for number in np.ravel(value.numpy())]

    if node.op_type == "OneHot":
        return _whole([read, *numbers(1)])
    if node.op_type == "Range" and len(numbers(0)) == len(numbers(1)) == len(numbers(2)) == 1 and numbers(2)[0]:
        return _whole([(numbers(1)[0] - numbers(0)[0]) / numbers(2)[0]])
    if node.op_type in ("ConstantOfShape", "Expand"):
        return max(read, _whole(numbers(0 if node.op_type == "ConstantOfShape" else 1)))
    if node.op_type == "Tile":
        return _whole([read, *numbers(1)])
    return read * max(1, len(node.inputs[0].shape or ()) if node.inputs and node.inputs[0] is not None else 1)


def _whole(factors: Sequence[float]) -> int:
    product = math.prod(abs(factor) for factor in factors)
    return int(min(product, 2.0**62)) if product == product else 0


def _work(node: ir.Node, size: int) -> float:
    """Multiply-adds of computing a node; those of operators that are computed in Python loops weigh more."""
    elements = size / 4
    if LOOPED_OPERATORS.match(node.op_type):
        return elements * MOST_WORK / MOST_LOOPED
    if node.op_type in ("MatMul", "Gemm", "MatMulInteger") and node.inputs[0] is not None and node.inputs[0].shape:
        return elements * max((dim for dim in node.inputs[0].shape if isinstance(dim, int)), default=1)
    return elements


def _giga(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def _named(node: ir.Node) -> str:
    return f"(node {node.name!r})" if node.name else f"(the node that makes {node.outputs[0].name!r})"
