"""Seeded damage to an ONNX model: to its bytes, tensors, attributes, inputs, nodes, functions and the graph."""
from __future__ import annotations

from collections.abc import Callable
from random import Random

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 65536, 10**6, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))
LOCATIONS = ("/proc/self/mem", "../x", "", ".", "absent.bin", "a" * 5000, "\0", "/dev/zero")
KEYS = ("axis", "axes", "pads", "strides", "group", "to", "value", "mode", "kernel_shape", "keepdims", "perm", "auto_pad")
OPERATORS = (
    "Conv ConvTranspose MatMul Gemm Add Div Mod Pow Relu Reshape Resize Pad Tile Expand Range ConstantOfShape OneHot Gather"
    " GatherND ScatterND Slice Split Concat TopK NonZero NonMaxSuppression Loop If Scan Squeeze Unsqueeze Transpose Where Cast Clip"
    " Einsum MaxPool AveragePool LpPool GlobalMaxPool MaxUnpool RoiAlign GridSample DepthToSpace SpaceToDepth Compress Unique"
    " Identity SplitToSequence SequenceAt LSTM GRU BatchNormalization InstanceNormalization LayerNormalization Dropout RandomNormal"
    " Constant DequantizeLinear QuantizeLinear CumSum ReduceSum ReduceMean ArgMax Shape Size Softmax LRN Hardmax Det Bernoulli DFT"
    " STFT MelWeightMatrix StringNormalizer Optional"
).split()


def mutate(proto: ModelProto, seed: int) -> bytes:
    """The serialized model with one or more things wrong with it (or, by luck, none)."""
    random = Random(seed)
    changed = ModelProto.FromString(proto.SerializeToString())
    kinds = [random.choice(KINDS) for _ in range(random.choice((1, 1, 1, 2, 4)))]
    for change in kinds:
        if change is not damage_bytes:
            change(changed, random)
    data = changed.SerializeToString()
    return damage_bytes(data, random) if damage_bytes in kinds else data


def damage_bytes(data: bytes, random: Random) -> bytes:
    data, at = bytearray(data), random.randrange(len(data))
    kind = random.randrange(5)
    if kind == 0:
        for _ in range(random.randint(1, 8)):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = random.randbytes(random.randint(1, 20))
    elif kind == 3:
        data[at : at + 20] = bytes(len(data[at : at + 20]))
    else:
        data[at:at] = data[at // 2 : at // 2 + 50]
    return bytes(data)


def damage_tensor(proto: ModelProto, random: Random) -> None:
    tensors = [*proto.graph.initializer, *(part for one in proto.graph.sparse_initializer for part in (one.values, one.indices))]
    tensors += [attribute.t for one in proto.graph.node for attribute in one.attribute if attribute.HasField("t")]
    if not tensors:
        return
    tensor, kind = random.choice(tensors), random.randrange(9)
    if kind == 0 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS)
    elif kind == 1:
        dims = list(tensor.dims)
        random.shuffle(dims)
        tensor.dims[:] = dims
    elif kind == 2:
        tensor.dims[:] = random.choice(([], [0], [-1], [*tensor.dims, 1], list(tensor.dims)[1:], [2**32, 2**32]))
    elif kind == 3:
        tensor.data_type = random.randrange(32)
    elif kind == 4:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
    elif kind == 5:
        tensor.raw_data += random.randbytes(random.randint(1, 9))
    elif kind == 6:
        tensor.float_data.extend([random.choice(FLOATS)] * random.randint(1, 4))
    elif kind == 7:  # the same size, other values: sizes, axes and indices that point anywhere
        tensor.raw_data = b"".join(random.choice(NUMBERS).to_bytes(8, "little", signed=True) for _ in range(len(tensor.raw_data) // 8 + 1))[
            : len(tensor.raw_data)
        ]
    else:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=random.choice(LOCATIONS))
        tensor.external_data.add(key="offset", value=random.choice(("0", "-1", "9" * 30)))


def damage_attribute(proto: ModelProto, random: Random) -> None:
    node = random.choice(_all_nodes(proto))
    kind = random.randrange(6)
    if not node.attribute or kind == 0:
        node.attribute.append(_any_attribute(random.choice(KEYS), random))
        return
    attribute = random.choice(node.attribute)
    if kind == 1:
        node.attribute.remove(attribute)
    elif kind == 2:
        attribute.CopyFrom(_any_attribute(attribute.name, random))
    elif kind == 3:
        attribute.type = random.randrange(17)
    elif kind == 4 and len(attribute.ints):
        attribute.ints[random.randrange(len(attribute.ints))] = random.choice(NUMBERS)
        if random.random() < 0.5:
            attribute.ints.append(random.choice(NUMBERS))
    elif attribute.type == AttributeProto.INT:
        attribute.i = random.choice(NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = random.choice(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = random.choice((b"", b"\xff\xfe", b"nonsense", b"ij,jk->ik" * 20))
    else:
        attribute.ref_attr_name = "nowhere"


def damage_inputs(proto: ModelProto, random: Random) -> None:
    node, kind = random.choice(_all_nodes(proto)), random.randrange(6)
    names = [*(tensor.name for tensor in proto.graph.initializer), *(value for one in proto.graph.node for value in one.output)]
    names += ["x", "nowhere"]
    if node.input and kind == 0:
        del node.input[random.randrange(len(node.input))]
    elif node.input and kind == 1:
        node.input[random.randrange(len(node.input))] = random.choice(names)
    elif node.input and kind == 2:
        node.input[random.randrange(len(node.input))] = ""
    elif kind == 3:
        node.input.append(random.choice(names))
    elif kind == 4:
        node.output.append(random.choice((*names, "", "fresh")))
    elif node.output:
        del node.output[random.randrange(len(node.output))]


def damage_nodes(proto: ModelProto, random: Random) -> None:
    nodes, kind = proto.graph.node, random.randrange(6)
    place = random.randrange(len(nodes))
    if kind == 0:
        nodes[place].op_type = random.choice(OPERATORS)
    elif kind == 1:
        nodes[place].domain = random.choice(("com.microsoft", "ai.onnx", "ai.onnx.ml", "own", "nowhere"))
    elif kind == 2:
        del nodes[place]
    elif kind == 3:
        nodes[place].name = random.choice(("", "x", "m[/x]", "a\nb", "\x1b[31m", "n" * 3000, nodes[0].name))
    elif kind == 4:
        nodes.append(nodes[place])
    else:
        nodes.insert(place, helper.make_node(random.choice(OPERATORS), ["x"] * random.randint(0, 3), [f"new{place}"]))


def damage_functions(proto: ModelProto, random: Random) -> None:
    """A function that calls itself, two that call each other, a ladder that doubles, or one without nodes."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    length, kind = random.choice((1, 2, 30)), random.randrange(3)
    for i in range(length):
        called = f"F{(i + 1) % length}" if kind == 0 else f"F{i + 1}"
        last = kind != 0 and i == length - 1
        nodes = [helper.make_node(called, [a], [b], domain="own") for a, b in (("a", "b"), ("b", "c"))] if not last else []
        proto.functions.append(helper.make_function("own", f"F{i}", ["a"], ["c"] if nodes else ["a"], nodes, opsets))
    if kind == 2 and all(entry.domain != "own" for entry in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid("own", 1))
    node = random.choice(proto.graph.node)
    node.op_type, node.domain = "F0", "own"
    del node.attribute[:]


def damage_graph(proto: ModelProto, random: Random) -> None:
    kind = random.randrange(8)
    dims = proto.graph.input[0].type.tensor_type.shape.dim if proto.graph.input else []
    if kind == 0 and dims:
        dims[random.randrange(len(dims))].dim_value = random.choice(NUMBERS)
    elif kind == 1 and dims:
        dims[random.randrange(len(dims))].dim_param = random.choice(("batch", "", "x"))
    elif kind == 2 and proto.graph.input:
        proto.graph.input[0].type.tensor_type.elem_type = random.randrange(32)
    elif kind == 3:
        proto.opset_import[0].version = random.choice((0, 1, 5, 6, 7, 9, 11, 13, 18, 21, 23, 99, -1, 2**40))
    elif kind == 4:
        proto.ir_version = random.choice((0, 1, 3, 9, 99, -5))
    elif kind == 5:
        shape = [random.choice((*NUMBERS, "n")) for _ in range(random.randint(0, 5))]
        name = random.choice(random.choice(proto.graph.node).output or ["y"])
        proto.graph.value_info.append(helper.make_tensor_value_info(name, random.randint(1, 20), shape))
    elif kind == 6:
        proto.graph.output.append(proto.graph.output[0] if random.random() < 0.5 else proto.graph.input[0])
    else:
        del proto.graph.input[:]


KINDS: list[Callable] = [damage_bytes, damage_tensor, damage_attribute, damage_inputs, damage_nodes, damage_functions, damage_graph]
KINDS += [damage_tensor, damage_attribute]  # where most can be wrong


def _any_attribute(key: str, random: Random) -> onnx.AttributeProto:
    numbers = [random.choice(NUMBERS) for _ in range(random.randint(1, 4))]
    return helper.make_attribute(key, random.choice((numbers[0], random.choice(FLOATS), "text", numbers, [0.5])))


def _all_nodes(proto: ModelProto) -> list[onnx.NodeProto]:
    inner = [one for node in proto.graph.node for attribute in node.attribute if attribute.HasField("g") for one in attribute.g.node]
    return [*proto.graph.node, *inner, *(one for function in proto.functions for one in function.node)]
