"""Operators that TVM or LLVM compute wrongly, or not at all, in narrow or whole-number dtypes: computed in a wider one.

The importer brings the result back to the dtype that the model declares.
"""
from __future__ import annotations

from tvm import relax

from .common import Attributes, Converter, Inputs, dtype_of

WIDER_FLOATS = {"float16": "float32"}
WIDER_INTEGERS = {"int32": "float64", "int64": "float64", "uint32": "float64", "uint64": "float64", "int8": "float32", "uint8": "float32"}


def computed_in(wider: dict[str, str], before: Converter | None = None) -> Converter:
    """A converter that widens the data (and what else is in float16), and then leaves it to `before`, or to TVM's."""

    def convert(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
        dtype = dtype_of(inputs[0])
        if dtype in wider:
            for i, x in enumerate(inputs):
                if x is not None and dtype_of(x) == dtype and (i == 0 or dtype == "float16"):
                    inputs[i] = bb.emit(relax.op.astype(x, wider[dtype]))
        return before(bb, inputs, attrs) if before else None

    return convert


TRIGONOMETRIC = ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Tan")
WIDER: dict[str, Converter] = {
    **dict.fromkeys((*TRIGONOMETRIC, "GridSample", "LRN", "Selu", "ThresholdedRelu"), computed_in(WIDER_FLOATS)),
    **dict.fromkeys(("ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"), computed_in(WIDER_INTEGERS)),
}
