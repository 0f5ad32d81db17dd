"""Operators that ONNX itself defines by others, and TVM's importer lacks: replaced by that definition."""
from __future__ import annotations

from typing import Any

import onnx
from onnx_ir.passes import common as passes
from onnxscript import ir

DEFINED_BY_OTHERS = ("MeanVarianceNormalization", "CenterCropPad")
DOMAIN = "tenfold.definitions"


def inline_definitions(model: ir.Model) -> None:
    """Replace every operator of `DEFINED_BY_OTHERS` by the function body in its schema, in place."""
    opset = model.opset_imports.get("", 21)
    found = [node for node in model.graph.all_nodes() if node.op_type in DEFINED_BY_OTHERS and node.domain in ("", "ai.onnx")]
    for number, node in enumerate(found):
        body = _body(node, opset)
        if body is None:
            continue
        # A body may depend on the node's attributes and types: each node calls a function of its own.
        node.op_type, node.domain = f"{node.op_type}.{number}", DOMAIN
        body.name, body.domain = node.op_type, DOMAIN
        function = ir.serde.deserialize_function(body)
        model.functions[function.identifier()] = function
    if found:
        passes.InlinePass()(model)
        model.opset_imports.pop(DOMAIN, None)


def _body(node: ir.Node, opset: int) -> onnx.FunctionProto | None:
    """The definition of `node`, all of whose attributes have a value then."""
    schema: Any = onnx.defs.get_schema(node.op_type, opset, "")  # its type lacks what concerns functions
    for name, attribute in schema.attributes.items():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes[name] = ir.serde.deserialize_attribute(attribute.default_value)
    dependent = schema.has_context_dependent_function
    versions = schema.context_dependent_function_opset_versions if dependent else schema.function_opset_versions
    version = max((version for version in versions if version <= opset), default=None)
    if version is None:
        return None
    if dependent:
        types = [(onnx.TypeProto() if value is None else ir.serde.serialize_value(value).type).SerializeToString() for value in node.inputs]
        proto = ir.serde.serialize_node(node).SerializeToString()
        text = schema.get_context_dependent_function_with_opset_version(version, proto, types)
    else:
        text = schema.get_function_with_opset_version(version)
    body = onnx.FunctionProto()
    body.ParseFromString(text)
    for entry in body.opset_import:  # a definition holds until the next one
        entry.version = opset
    return body
