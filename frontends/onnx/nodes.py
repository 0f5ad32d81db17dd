"""One node of an ONNX graph: a known operator, with the inputs it can't do without, and attributes of the right type and range."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import AttributeProto

from ...support.errors import TenfoldError
from .calls import Functions, called_by

DEFAULT_DOMAINS = ("", "ai.onnx")
LARGEST_SIZE = 2**31 - 1
# Attributes that are sizes and steps, by the least value that means something: 0 would be a division by 0 in many a kernel.
LEAST_VALUES = {
    "strides": 1, "dilations": 1, "kernel_shape": 1, "group": 1, "blocksize": 1, "size": 1, "output_padding": 0, "num_outputs": 1,
}
# Entries that these have for each dimension of an image, in convolutions and pools.
PER_DIMENSION = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 1, "pads": 2}
FIELDS = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
}
LISTS = {
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}


@dataclass(frozen=True)
class Opsets:
    """Versions of the domains that a graph or function imports, the model's own functions, and the function's own parameters."""

    versions: Mapping[str, int]
    functions: Functions
    parameters: frozenset[str]

    @classmethod
    def of(cls, made_by: onnx.ModelProto | onnx.FunctionProto, functions: Functions) -> Opsets:
        """Opsets that a model or a function names."""
        versions = {"" if entry.domain in DEFAULT_DOMAINS else entry.domain: entry.version for entry in made_by.opset_import}
        if isinstance(made_by, onnx.ModelProto):
            return cls(versions, functions, frozenset())
        return cls(versions, functions, frozenset((*made_by.attribute, *(attribute.name for attribute in made_by.attribute_proto))))


def where_is(node: onnx.NodeProto) -> str:
    """``operator Conv (node 'conv1')``, for errors."""
    named = f"node {node.name!r}" if node.name else f"the node that makes {node.output[0]!r}" if node.output else "a node without outputs"
    domain = "" if node.domain in DEFAULT_DOMAINS else f"{node.domain}."
    return f"operator {domain}{node.op_type} ({named})"


def check_node(node: onnx.NodeProto, opsets: Opsets, name: str) -> None:
    """Raise TenfoldError unless the operator is known and is used as its schema says.

    Parameters
    ----------
    node : onnx.NodeProto
        What is checked.
    opsets : Opsets
        The versions that hold for it.
    name : str
        How messages name the model.
    """
    domain = "" if node.domain in DEFAULT_DOMAINS else node.domain
    where = f"{name}: {where_is(node)}"
    for attribute in node.attribute:
        _check_attribute(attribute, opsets.parameters, where)
    if len({attribute.name for attribute in node.attribute}) != len(node.attribute):
        raise TenfoldError(f"{where} has an attribute twice")
    function = opsets.functions.get(called_by(node))
    version = opsets.versions.get(domain)
    if function is not None:
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise TenfoldError(f"{where} has more inputs or outputs than its function: {len(function.input)} and {len(function.output)}")
    elif domain and version is None:
        raise TenfoldError(f"{where}: the model does not import that domain")
    elif not domain:
        if version is None or not onnx.defs.has(node.op_type, version, ""):
            raise TenfoldError(f"{where} is not in opset {version} of ONNX")
        _check_schema(node, onnx.defs.get_schema(node.op_type, version, ""), where)


def _check_schema(node: onnx.NodeProto, schema: Any, where: str) -> None:
    if schema.deprecated:
        return  # it has no schema any more; exporters that wrote it all the same meant the last one
    single = [i for i, port in enumerate(schema.inputs) if port.option == onnx.defs.OpSchema.FormalParameterOption.Single]
    for i in single:
        if i >= len(node.input) or not node.input[i]:
            raise TenfoldError(f"{where} lacks input {schema.inputs[i].name}, which it can't do without")
    if not schema.min_input <= len(node.input) <= schema.max_input:
        raise TenfoldError(f"{where} has {len(node.input)} inputs; it takes {_span(schema.min_input, schema.max_input)}")
    if not schema.min_output <= len(node.output) <= schema.max_output:
        raise TenfoldError(f"{where} has {len(node.output)} outputs; it makes {_span(schema.min_output, schema.max_output)}")
    given = {attribute.name: attribute for attribute in node.attribute}
    for key, wanted in schema.attributes.items():
        attribute = given.get(key)
        if attribute is None:
            if wanted.required:
                raise TenfoldError(f"{where} lacks attribute {key!r}, which it can't do without")
        elif attribute.type != wanted.type.value:
            kinds = AttributeProto.AttributeType
            raise TenfoldError(f"{where}: attribute {key!r} is {kinds.Name(attribute.type)}, and must be {kinds.Name(wanted.type.value)}")
        else:
            _check_range(attribute, where)
    if "strides" in schema.attributes:
        _check_dimensions(given, where)


def _check_dimensions(given: dict[str, onnx.AttributeProto], where: str) -> None:
    """Check that attributes with an entry for each dimension of an image agree on the number of dimensions."""
    found = {key: len(given[key].ints) // PER_DIMENSION[key] for key in PER_DIMENSION if key in given and given[key].ints}
    if len(set(found.values())) > 1 or any(len(given[key].ints) % PER_DIMENSION[key] for key in found):
        raise TenfoldError(f"{where}: attributes {', '.join(found)} speak of different numbers of dimensions")


def _check_attribute(attribute: onnx.AttributeProto, parameters: frozenset[str], where: str) -> None:
    """Check that an attribute states the type of its value."""
    kind = attribute.type
    if attribute.ref_attr_name:
        if attribute.ref_attr_name not in parameters:
            raise TenfoldError(f"{where}: attribute {attribute.name!r} refers to {attribute.ref_attr_name!r}, no parameter of its function")
        return  # the value is the caller's
    if kind not in FIELDS and kind not in LISTS:
        raise TenfoldError(f"{where}: attribute {attribute.name!r} has type {kind}, which is none of ONNX")
    filled = {key for key, field in FIELDS.items() if attribute.HasField(field)}
    filled |= {key for key, field in LISTS.items() if len(getattr(attribute, field))}
    # A value that is the default of its type, such as 0 or an empty list, need not be stored.
    if filled - {kind} or (not filled and kind in (AttributeProto.TENSOR, AttributeProto.GRAPH, AttributeProto.SPARSE_TENSOR)):
        raise TenfoldError(f"{where}: attribute {attribute.name!r} has not the value that its type says")


def _check_range(attribute: onnx.AttributeProto, where: str) -> None:
    least = LEAST_VALUES.get(attribute.name)
    values = [attribute.i] if attribute.type == AttributeProto.INT else attribute.ints
    if least is not None and any(not least <= value <= LARGEST_SIZE for value in values):
        raise TenfoldError(f"{where}: attribute {attribute.name!r} is {list(values)}, and must be {least} or more")
    if attribute.name == "pads" and any(abs(value) > LARGEST_SIZE for value in values):
        raise TenfoldError(f"{where}: attribute 'pads' is {list(values)}, which no image can have")


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}" if most < LARGEST_SIZE else f"{least} or more"
