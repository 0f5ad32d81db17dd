"""auto_pad, output_shape and ceil_mode of convolutions and pools -> explicit pads, so that one formula gives every output size."""
from __future__ import annotations

from onnxscript import ir

POOLS = ("MaxPool", "AveragePool", "LpPool")


def explicit_pads(model: ir.Model) -> bool:
    """Replace ``auto_pad``, ``output_shape`` and, where the result is the same, ``ceil_mode`` by the ``pads`` they stand for, in place.

    Returns True if it stopped at a pool whose inferred size was wrong: infer shapes again, and come back for the rest.

    SAME: ``out = ceil(in / stride)``, ``pad = (out - 1) * stride + (kernel - 1) * dilation + 1 - in``; SAME_UPPER puts an odd
    row at the end. For ConvTranspose, where ``out = in * stride``: ``pad = (kernel - 1) * dilation + 1 + output_padding - stride``
    (ONNX operator specification).
    """
    for node in model.graph.all_nodes():
        if node.op_type not in ("Conv", "ConvTranspose", *POOLS) or node.domain not in ("", "ai.onnx"):
            continue
        kernel = node.attributes.get_ints("kernel_shape", None) or _kernel(node)
        shape = node.inputs[0].shape
        if kernel is None or shape is None or not shape.is_static():
            continue
        size, ones = list(shape)[2:], [1] * len(kernel)
        stride, dilation = node.attributes.get_ints("strides", ones), node.attributes.get_ints("dilations", ones)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        if node.op_type == "ConvTranspose" and node.attributes.get_ints("output_shape", None):
            _explicit_output_shape(node, size, reach, stride)
        _explicit_auto_pad(node, size, reach, stride)
        if node.op_type in POOLS and node.attributes.get_int("ceil_mode", 0):
            if _explicit_ceil(node, size, reach, stride):
                return True
    return False


def _explicit_auto_pad(node: ir.Node, size: list[int], reach: list[int], stride: list[int]) -> None:
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    node.attributes.pop("auto_pad", None)
    if mode in ("NOTSET", ""):
        return
    if mode == "VALID":
        totals = [0] * len(size)
    elif node.op_type == "ConvTranspose":
        extra = node.attributes.get_ints("output_padding", [0] * len(size))
        totals = [r + e - s for r, e, s in zip(reach, extra, stride, strict=True)]
    else:
        totals = [(-(-i // s) - 1) * s + r - i for i, r, s in zip(size, reach, stride, strict=True)]
    less = [max(total, 0) // 2 for total in totals]
    more = [max(total, 0) - half for total, half in zip(totals, less, strict=True)]
    node.attributes["pads"] = ir.AttrInt64s("pads", less + more if mode == "SAME_UPPER" else more + less)


def _explicit_output_shape(node: ir.Node, size: list[int], reach: list[int], stride: list[int]) -> None:
    """The padding that leaves just this shape; where none does, the end is widened, as ONNX Runtime does it.

    ``pad = stride * (in - 1) + output_padding + (kernel - 1) * dilation + 1 - out``; only SAME_UPPER puts an odd row at the end.
    """
    wanted = list(node.attributes.pop("output_shape").as_ints())[-len(size) :]
    extra = list(node.attributes.get_ints("output_padding", [0] * len(size)))
    totals = [s * (i - 1) + e + r - out for i, s, e, r, out in zip(size, stride, extra, reach, wanted, strict=True)]
    extra = [e + max(0, -total) for e, total in zip(extra, totals, strict=True)]
    less = [max(0, total) // 2 for total in totals]
    more = [max(0, total) - half for total, half in zip(totals, less, strict=True)]
    upper = node.attributes.get_string("auto_pad", "NOTSET") == "SAME_UPPER"
    node.attributes.pop("auto_pad", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", less + more if upper else more + less)
    node.attributes["output_padding"] = ir.AttrInt64s("output_padding", extra)


def _explicit_ceil(node: ir.Node, size: list[int], reach: list[int], stride: list[int]) -> bool:
    """A window that hangs over the end becomes padding; one that would start in the padding does not exist.

    onnx infers a size with that window, ONNX Runtime and torch compute without it: True if there was one.
    """
    pads = node.attributes.get_ints("pads", [0] * 2 * len(size))
    before, after = pads[: len(size)], list(pads[len(size) :])
    padded = any(pads)
    overhangs = dropped = False
    for axis, (i, r, s) in enumerate(zip(size, reach, stride, strict=True)):
        steps = -(-(i + before[axis] + after[axis] - r) // s)
        overhang = steps * s + r - i - before[axis] - after[axis]
        if steps * s >= i + before[axis]:
            dropped = True
        elif overhang > 0:
            after[axis] += overhang
            overhangs = True
    if node.op_type != "MaxPool" and overhangs:
        if padded and (node.op_type == "LpPool" or node.attributes.get_int("count_include_pad", 0)):
            return False  # declared padding counts in the mean, the overhang does not: pads can't say both
        node.attributes.pop("count_include_pad", None)
    node.attributes.pop("ceil_mode")
    node.attributes["pads"] = ir.AttrInt64s("pads", [*before, *after])
    return dropped


def _kernel(node: ir.Node) -> list[int] | None:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    return list(weight.shape)[2:] if weight is not None and weight.shape is not None else None
