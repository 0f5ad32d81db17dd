"""Own ONNX -> Relax converters, by operator.

TVM's own are used for all other operators. These here bind layers to their names, give weights as plain constants, keep
element-wise operators visible to the passes (TVM emits Clip and Pad as opaque kernels, Sum as stack-and-reduce), and follow the
ONNX specification where TVM's differ. Here are those of layers; those of operators without weights are in `operators`.

A converter takes the block builder, the inputs (None where absent) and the attributes; it returns an expression, or None to leave
the case to TVM's converter.
"""
from __future__ import annotations

import numpy as np
from tvm import relax

from ...support.errors import TenfoldError
from .operators.common import Attributes, Converter, Inputs, bind, const, value_of
from .operators.elementwise import ELEMENTWISE
from .operators.indexing import INDEXING
from .operators.normalization import NORMALIZATION
from .operators.recurrent import RECURRENT
from .operators.resize import resize, upsample
from .operators.spatial import SPATIAL
from .operators.wider import WIDER


def _along_axis_1(bias: relax.Expr, rank: int) -> relax.Expr:
    """A bias of (channels,) as (1, channels, 1, ...)."""
    form = (1, -1) + (1,) * (rank - 2)
    array = value_of(bias)
    return const(array.reshape(form)) if array is not None else relax.op.reshape(bias, form)


def _conv(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes, transpose: bool = False) -> relax.Expr | None:
    data, weight, bias = inputs[0], inputs[1], inputs[2]
    dims = data.ty.ndim - 2
    if dims not in (1, 2, 3):
        raise TenfoldError(f"convolution over {dims} dimensions is not supported")
    if attrs.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        return None  # only where the input size is unknown; TVM's converter knows what can be done then
    spatial = "DHW"[3 - dims:] if dims > 1 else "W"
    operator = getattr(relax.op.nn, f"conv{dims}d" + ("_transpose" if transpose else ""))
    options = {"output_padding": attrs.get("output_padding", (0,) * dims)} if transpose else {}
    result = bind(
        bb,
        operator(
            data,
            weight,
            strides=attrs.get("strides", (1,) * dims),
            padding=attrs.get("pads", (0,) * 2 * dims),
            dilation=attrs.get("dilations", (1,) * dims),
            groups=attrs.get("group", 1),
            data_layout="NC" + spatial,
            kernel_layout=("IO" if transpose else "OI") + spatial,
            **options,
        ),
        attrs["tvm_custom"]["name"],
    )
    return result if bias is None else relax.op.add(result, _along_axis_1(bias, dims + 2))


def _conv_transpose(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    if attrs.get("output_shape"):  # explicit where the size of the input is known
        raise TenfoldError("output_shape is not supported where the size of the input is not known: export with pads and output_padding")
    return _conv(bb, inputs, attrs, transpose=True)


def _matmul(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    return bind(bb, relax.op.matmul(inputs[0], inputs[1]), attrs["tvm_custom"]["name"])


def _gemm(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    """alpha * A' B' + beta * C: alpha and transB go into a constant weight, beta into a constant C."""
    data, weight, bias = inputs[0], inputs[1], inputs[2]
    array, alpha, dtype = value_of(weight), attrs.get("alpha", 1.0), data.ty.dtype.dtype
    if attrs.get("transA", 0):
        data = relax.op.permute_dims(data, [1, 0])
    if array is None:
        weight = relax.op.permute_dims(weight, [1, 0]) if attrs.get("transB", 0) else weight
    else:
        array = np.ascontiguousarray(array.T) if attrs.get("transB", 0) else array
        weight = const(array if alpha == 1.0 else array * np.asarray(alpha, array.dtype))
    product = bind(bb, relax.op.matmul(data, weight), attrs["tvm_custom"]["name"])
    if array is None and alpha != 1.0:
        product = relax.op.multiply(product, relax.const(alpha, dtype))
    if bias is None:
        return product
    beta, offset = attrs.get("beta", 1.0), value_of(bias)
    if beta == 1.0:
        return relax.op.add(product, bias)
    scaled = relax.op.multiply(bias, relax.const(beta, dtype)) if offset is None else const(offset * np.asarray(beta, offset.dtype))
    return relax.op.add(product, scaled)


CONVERTERS: dict[str, Converter] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Resize": resize,
    "Upsample": upsample,
    **ELEMENTWISE,
    **INDEXING,
    **NORMALIZATION,
    **SPATIAL,
    **RECURRENT,
    **WIDER,
}
