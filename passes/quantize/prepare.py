"""Exact rewrites after which more of a network can be computed in integers.

    Relu(MaxPool(x))                      ->   MaxPool(Relu(x))             the ReLU is the saturation of the layer before
    ReduceMean(x, rows and columns)       ->   GlobalAveragePool(x)         of which engines have a kernel for integers
    Add(MatMul(x, W), b), x a matrix      ->   Gemm(x, W, b)                the bias is added before rounding
    Gemm(alpha, beta)                     ->   Gemm of alpha W and beta c
    a weight of several layers            ->   one for each
"""
from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from .graph import Graph, attributes, inferred


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Do all of them.

    Parameters
    ----------
    model : onnx.ModelProto
        Normalised. Not modified.

    Returns
    -------
    onnx.ModelProto
        The names of layers, inputs and outputs stay.
    """
    graph = Graph(inferred(model))
    for rewrite in (_pool_behind_relu, _global_pools, _dense_with_bias, _plain_gemms, _own_constants):
        rewrite(graph)
    graph.forget_unread()
    return inferred(graph.model)


def _pool_behind_relu(graph: Graph) -> None:
    for pool in graph.nodes:
        relu = graph.sole_reader(pool.output[0]) if pool.op_type == "MaxPool" and len(pool.output) == 1 else None
        if relu is None or relu.op_type != "Relu" or graph.sole_reader(pool.input[0]) is None:
            continue
        pool.op_type, relu.op_type = "Relu", "MaxPool"
        pool.name, relu.name = relu.name, pool.name
        relu.attribute.extend(pool.attribute)
        del pool.attribute[:]
    graph.index()


def _global_pools(graph: Graph) -> None:
    nodes = []
    for node in graph.nodes:
        shape = graph.shape(node.input[0]) if node.op_type == "ReduceMean" else None
        if shape is None or len(shape) != 4 or _axes(graph, node) != {2, 3}:
            nodes.append(node)
            continue
        keeps = attributes(node).get("keepdims", 1)
        pooled = node.output[0] if keeps else graph.unique(f"{node.output[0]}.pooled")
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not keeps:
            flat = graph.unique(f"{node.name or node.output[0]}.flat")
            nodes.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=flat, axis=1))
    graph.set_nodes(nodes)


def _axes(graph: Graph, node: onnx.NodeProto) -> set[int]:
    """The axes of a reduction of an image, from the front; none where they are not constant."""
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1:
        axes = graph.constant(node.input[1])
    return set() if axes is None else {int(axis) % 4 for axis in axes}


def _dense_with_bias(graph: Graph) -> None:
    nodes, gone = [], set()
    for node in graph.nodes:
        if node.output[0] in gone:
            continue
        add = graph.sole_reader(node.output[0]) if node.op_type == "MatMul" else None
        if add is None or add.op_type != "Add":
            nodes.append(node)
            continue
        weight, shape = graph.constant(node.input[1]), graph.shape(node.input[0])
        (name,) = [name for name in add.input if name != node.output[0]] or [""]
        bias = graph.constant(name)
        if weight is None or weight.ndim != 2 or shape is None or len(shape) != 2 or bias is None or bias.shape != weight.shape[1:]:
            nodes.append(node)
            continue
        nodes.append(helper.make_node("Gemm", [*node.input, name], [add.output[0]], name=node.name))
        gone.add(add.output[0])
    graph.set_nodes(nodes)


def _plain_gemms(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type != "Gemm":
            continue
        for name, position in (("alpha", 1), ("beta", 2)):
            factor = attributes(node).get(name, 1.0)
            constant = graph.constant(node.input[position]) if len(node.input) > position else None
            if factor != 1.0 and (constant is not None or len(node.input) <= position):
                if constant is not None:
                    scaled = (constant.astype(np.float64) * factor).astype(constant.dtype)
                    node.input[position] = graph.add_constant(f"{node.input[position]}.scaled", scaled)
                _drop_attribute(node, name)
    graph.index()


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _own_constants(graph: Graph) -> None:
    """So that equalization of one layer leaves the others as they are."""
    seen: set[str] = set()
    for node in graph.nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        for position, name in enumerate(node.input):
            constant = graph.constant(name)
            if position and constant is not None:
                if name in seen:
                    node.input[position] = graph.add_constant(f"{name}.copy", constant)
                seen.add(node.input[position])
    graph.index()
