"""Operators that give as many rows as they find in the data: memory for them can't be planned."""
from __future__ import annotations

from onnxscript import ir

from ...support.errors import TenfoldError
from .initializers import ONNX

DATA_DEPENDENT = ("NonMaxSuppression", "NonZero", "Compress", "Unique")


def refuse_data_dependent(model: ir.Model, name: str) -> None:
    """Raise TenfoldError for the first such operator, with the values before which the network can be cut."""
    for node in model.graph:
        if node.op_type in DATA_DEPENDENT and node.domain in ONNX:
            values = [value for value in dict.fromkeys(node.inputs) if value is not None and value.producer() is not None]
            names = " ".join(f"--outputs {value.name!r}" for value in values)
            remedy = f"cut the network before it ({names})" if values else "compile what comes before or behind it"
            where = f"{name}: operator {node.op_type} (node {node.name!r})"
            raise TenfoldError(f"{where} gives as many rows as it finds in the data: {remedy}")
