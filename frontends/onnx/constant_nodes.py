"""Nodes whose inputs are all constant -> initializers: what onnxscript's folder keeps, has no evaluator for, or did not reach.

It keeps nodes with several outputs, has no DequantizeLinear below opset 19, and stops at the first node that surprises it.
"""
from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import numpy as np
import onnx
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript import ir

from ...support.errors import TenfoldError, TenfoldWarning
from .initializers import ONNX, initializer, is_constant
from .quantized_constants import dequantize, quantize

logger = logging.getLogger(__name__)

OLDEST_OPSET = 13  # from which on operators mean what they mean today

# Not the same value twice, or none at all.
NEVER_FOLDED = {"RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Multinomial", "Bernoulli", "Dropout"}
# ONNX Runtime's own operators of these names are those of ONNX.
FOLDED_DOMAINS = (*ONNX, "com.microsoft")


def fold_constant_nodes(model: ir.Model, should_fold: Callable[[ir.Node], bool] = lambda node: True) -> bool:
    """Replace every node of the graph whose inputs are all constant by initializers, in place; True if there was one.

    Each is computed by an own rule, or by onnx's reference implementation, or in ONNX Runtime: the first that can.

    Parameters
    ----------
    model : ir.Model
    should_fold : function of a node, optional
        False for a node that must stay.
    """
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    changed = False
    for node in list(model.graph):
        if _foldable(node) and should_fold(node) and (arrays := _evaluate(node, model)) is not None:
            _replace(node, arrays)
            changed = True
    return changed


def warn_of_constant_nodes(model: ir.Model, name: str) -> None:
    """Say which nodes are computed anew in each run although they depend on no input."""
    for node in (node for node in model.graph if _foldable(node)):
        warnings.warn(
            f"{name}: operator {node.op_type} (node {node.name!r}) depends on no input, but could not be computed beforehand:"
            " what it makes is not seen as a weight",
            TenfoldWarning,
            stacklevel=2,
        )


def _foldable(node: ir.Node) -> bool:
    if node.op_type == "Constant" or node.op_type in NEVER_FOLDED and node.domain in ONNX:
        return False
    if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()):
        return False
    if node.op_type in ("Shape", "Size") and node.domain in ONNX:
        shape = node.inputs[0].shape
        return shape is not None and shape.is_static()
    return bool(node.inputs) and all(value is None or is_constant(value) for value in node.inputs)


def _evaluate(node: ir.Node, model: ir.Model) -> list[np.ndarray] | None:
    own = OWN.get(node.op_type) if node.domain in FOLDED_DOMAINS else None
    # onnx's reference computes many an operator as the newest opset has it.
    others = (_in_reference, _in_onnxruntime) if opset_of(model) >= OLDEST_OPSET else (_in_onnxruntime,)
    for compute in (own,) if node.op_type == "BatchNormalization" else (own, *others):
        try:
            arrays = compute(node, model) if compute is not None else None
        except MemoryError:
            raise TenfoldError(f"what operator {node.op_type} (node {node.name!r}) makes of constants does not fit into memory") from None
        except Exception as error:  # an operator that it does not have, or a use of it
            logger.info("node %r can't be computed beforehand in this way: %s", node.name, error)
            continue
        if arrays is not None and all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays):
            return arrays
    return None


def _inputs(node: ir.Node) -> list[np.ndarray | None]:
    return [None if value is None else value.const_value.numpy() for value in node.inputs]


def _alone(node: ir.Node, model: ir.Model) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of this node only, and its inputs."""
    feeds = {value.name: value.const_value.numpy() for value in node.inputs if value is not None}
    types = {value.name: int(value.const_value.dtype) for value in node.inputs if value is not None}
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node)],
        "constant",
        [onnx.helper.make_tensor_value_info(name, types[name], array.shape) for name, array in feeds.items()],
        [onnx.ValueInfoProto(name=value.name) for value in node.outputs if value.name],
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version), feeds


def _in_reference(node: ir.Node, model: ir.Model) -> list[np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    alone, feeds = _alone(node, model)
    return [np.asarray(array) for array in ReferenceEvaluator(alone).run(None, feeds)]


def _in_onnxruntime(node: ir.Node, model: ir.Model) -> list[np.ndarray]:
    import onnxruntime

    alone, feeds = _alone(node, model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def _replace(node: ir.Node, arrays: list[np.ndarray]) -> None:
    for value, array in zip([value for value in node.outputs if value.name], arrays, strict=True):
        name, value.name = value.name, None
        ir.convenience.replace_all_uses_with(value, initializer(node.graph, name, array), replace_graph_outputs=True)
    node.graph.remove(node, safe=True)


def _single(rule: Callable[[ir.Node, list[np.ndarray | None]], np.ndarray | None]) -> Callable[..., list[np.ndarray] | None]:
    def compute(node: ir.Node, model: ir.Model) -> list[np.ndarray] | None:
        result = rule(node, _inputs(node))
        return None if result is None else [result]

    return compute


def _shape(node: ir.Node, model: ir.Model) -> list[np.ndarray]:
    """Constant as soon as the shape of the input is known, whatever its values are."""
    sizes = list(node.inputs[0].shape)
    if node.op_type == "Size":
        return [np.array(np.prod(sizes, dtype=np.int64), np.int64)]
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(sizes))
    return [np.array(sizes[start:end], np.int64)]


def _batch_norm(node: ir.Node, model: ir.Model) -> list[np.ndarray] | None:
    """Fold a batch norm of constants, in either mode. Its other outputs must be unused.

    onnx's own reference takes every one of opset 9 for training.
    """
    outputs = [value for value in node.outputs if value.name]
    if any(value.uses() or value.is_graph_output() for value in outputs[1:]):
        return None
    given = [array for array in _inputs(node) if array is not None]
    x, gamma, beta, mean, variance = (array.astype(np.float64) for array in given)
    form = (-1,) + (1,) * (x.ndim - 2)
    if in_training(node, opset_of(model)):
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean, variance = x.mean(axes), x.var(axes)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    y = (x - mean.reshape(form)) * scale.reshape(form) + beta.reshape(form)
    return [y.astype(given[0].dtype)] + [np.zeros(0, np.float32)] * (len(outputs) - 1)


def in_training(node: ir.Node, opset: int) -> bool:
    """Whether a BatchNormalization takes the statistics of its input: by its attribute, before opset 14 by its further outputs."""
    return bool(node.attributes.get_int("training_mode", 0)) if opset >= 14 else any(value.name for value in node.outputs[1:])


def opset_of(model: ir.Model) -> int:
    """The version of ONNX's own operators that a model imports."""
    return model.opset_imports.get("", model.opset_imports.get("ai.onnx", OLDEST_OPSET))


OWN = {
    "Shape": _shape,
    "Size": _shape,
    "BatchNormalization": _batch_norm,
    "DequantizeLinear": _single(dequantize),
    "QuantizeLinear": _single(quantize),
}
