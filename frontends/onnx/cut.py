"""A model with other outputs: what only its own outputs needed is cut off."""
from __future__ import annotations

import difflib
from collections.abc import Sequence

import onnx
from onnxscript import ir

from ...support.errors import TenfoldError
from .layer_names import name_layers


def cut(proto: onnx.ModelProto, outputs: Sequence[str] | None, name: str) -> onnx.ModelProto:
    """Return the values that `outputs` names, and drop every node, weight and input that they do not need.

    Parameters
    ----------
    proto : onnx.ModelProto
        Not modified; as the file has it, so that the result can be run as a reference too.
    outputs : sequence of str, or None
        Each names a value; or a node, which stands for its first output; or a layer as `inspect` lists it. None: the model's own.
    name : str
        What errors call the model.

    Raises
    ------
    TenfoldError
        A name that is none of these, or that of an input or of what depends on none.
    """
    if outputs is None:
        return proto
    wanted = list(dict.fromkeys(_value(proto, output, name) for output in outputs))
    needed, kept = set(wanted), []
    for node in reversed(proto.graph.node):
        if needed & set(node.output):
            needed |= _reads(node)
            kept.append(node)
    if proto.graph.input and not needed & {value.name for value in proto.graph.input}:
        raise TenfoldError(f"{name}: {', '.join(map(repr, wanted))} depend on no input: name what the network computes")
    types = {value.name: value for value in (*proto.graph.output, *proto.graph.value_info)}
    graph = onnx.GraphProto(name=proto.graph.name)
    graph.node.extend(reversed(kept))
    graph.input.extend(value for value in proto.graph.input if value.name in needed)
    graph.initializer.extend(tensor for tensor in proto.graph.initializer if tensor.name in needed)
    graph.sparse_initializer.extend(tensor for tensor in proto.graph.sparse_initializer if tensor.values.name in needed)
    graph.output.extend(types.get(value) or onnx.ValueInfoProto(name=value) for value in wanted)
    result = onnx.ModelProto(ir_version=proto.ir_version, graph=graph)
    for field in ("opset_import", "functions", "metadata_props"):
        getattr(result, field).extend(getattr(proto, field))
    return result


def give_types(part: onnx.ModelProto, normalised: onnx.ModelProto) -> None:
    """Say of which types the outputs of a cut model are, in place: engines that run it in another precision ask."""
    for value, known in zip(part.graph.output, normalised.graph.output, strict=True):
        if not value.type.tensor_type.elem_type:
            value.type.tensor_type.elem_type = known.type.tensor_type.elem_type


def _value(proto: onnx.ModelProto, output: str, name: str) -> str:
    """The name of the value that `output` stands for."""
    graph = proto.graph
    values = {value for node in graph.node for value in node.output if value}
    if output in values:
        return output
    named = {node.name: node.output[0] for node in reversed(graph.node) if node.name and node.output}
    named = {**_layers(proto), **named}
    if output not in named:
        if output in {value.name for value in (*graph.input, *graph.initializer)}:
            raise TenfoldError(f"{name}: {output!r} is an input or a constant of the network: name a value that a node makes")
        near = difflib.get_close_matches(output, [*named, *values], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the network ends in {', '.join(repr(value.name) for value in graph.output)}"
        raise TenfoldError(f"{name}: there is no value, node or layer {output!r} to end the network with; {hint}")
    return named[output]


def _layers(proto: onnx.ModelProto) -> dict[str, str]:
    """The first output of each layer, by the name that `inspect` gives to the layer."""
    try:
        return {node.name: node.outputs[0].name for node in name_layers(ir.serde.deserialize_model(proto))}
    except Exception:  # of what is broken, the gate says more
        return {}


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, with those of its subgraphs."""
    names = {value for value in node.input if value}
    for attribute in node.attribute:
        for subgraph in (attribute.g, *attribute.graphs):
            names |= {value.name for value in subgraph.output}
            for inner in subgraph.node:
                names |= _reads(inner)
    return names
