"""The end of a model, behind its last layers: what can be evaluated once more in float64 at no cost.

An engine's sigmoid or exponential may be exact to 1e-7 only, which is all of an output of 1e-5.
"""
from __future__ import annotations

import onnx

# Element by element, or in whole arrays at once: what ONNX's reference implementation does fast.
LIGHT = frozenset(
    "Abs Add And BatchNormalization Cast Ceil Celu Clip Concat Constant Cos Div Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Greater"
    " GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less LessOrEqual Log LogSoftmax Max Mean Min Mish Mul Neg Not Or PRelu Pow"
    " Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Round Selu Shape Sigmoid Sign Sin Slice Softmax Softplus"
    " Softsign Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Unsqueeze Where".split()
)


def tail_of(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The part of a model that light operators alone compute the outputs with.

    Returns
    -------
    onnx.ModelProto, list of str
        The part, and the values that it begins with, which are its inputs. It has no nodes where every output comes from a layer.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    needed, nodes = {value.name for value in model.graph.output}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output) and _is_light(node):
            needed.update(name for name in node.input if name)
            nodes.append(node)
    made = {name for node in nodes for name in node.output}
    begins = sorted(needed - made - constants)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = model.graph.name
    part.graph.node.extend(reversed(nodes))
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    part.graph.input.extend(onnx.ValueInfoProto(name=name) for name in begins)
    part.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    return part, begins


def _is_light(node: onnx.NodeProto) -> bool:
    inner = any(attribute.g.node or attribute.graphs for attribute in node.attribute)
    return node.op_type in LIGHT and node.domain in ("", "ai.onnx") and not inner
