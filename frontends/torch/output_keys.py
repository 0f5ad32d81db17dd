"""Outputs of a torch program that come in a dict keep their keys as names."""
from __future__ import annotations

from typing import Any

import onnx


def key_outputs(proto: onnx.ModelProto, spec: Any) -> None:
    """Name the outputs of an exported model as the dicts say that they are in, in place.

    ``{"boxes": b, "scores": [s, t]}`` gives ``boxes``, ``scores.0`` and ``scores.1``. An output in no dict keeps the name that the
    exporter gave it. A key that is also the name of an input, which has to stay, gets ``_out`` behind it.

    Parameters
    ----------
    proto : onnx.ModelProto
        What ``torch.onnx.export`` made.
    spec : torch.utils._pytree.TreeSpec
        ``ExportedProgram.call_spec.out_spec``.
    """
    keys = _paths(spec)
    if len(keys) != len(proto.graph.output):
        return  # some are no tensors: which is which can't be told
    fixed = {value.name for value in proto.graph.input} | {tensor.name for tensor in proto.graph.initializer}
    taken = set(fixed)
    for value, key in zip(proto.graph.output, keys, strict=True):
        if key is None or key == value.name:
            taken.add(value.name)
            continue
        while key in taken:
            key += "_out"
        taken.add(key)
        _make_room(proto.graph, key)
        proto.graph.node.add(op_type="Identity", input=[value.name], output=[key])
        value.name = key


def _paths(spec: Any, path: tuple[str, ...] = (), in_dict: bool = False) -> list[str | None]:
    """Keys and numbers that lead to each leaf, or None if no dict is on the way."""
    if spec.is_leaf():
        return [".".join(path) if in_dict and all(path) else None]
    keyed = issubclass(spec.type, dict)
    names = [str(key) for key in spec.context] if keyed else [str(number) for number in range(spec.num_children)]
    return [found for name, child in zip(names, spec.children(), strict=True) for found in _paths(child, (*path, name), in_dict or keyed)]


def _make_room(graph: onnx.GraphProto, name: str) -> None:
    """Give the value inside the graph that has this name another one."""
    used = {value for node in graph.node for value in (*node.input, *node.output)}
    other = f"{name}_inside"
    while other in used:
        other += "_"
    for node in graph.node:
        for values in (node.input, node.output):
            for i, value in enumerate(values):
                if value == name:
                    values[i] = other
    for value in (*graph.value_info, *graph.output):
        if value.name == name:
            value.name = other
