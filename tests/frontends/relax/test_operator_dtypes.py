"""Every operator of CNNs in every dtype that ONNX allows it: right, or refused in one line; never an error of TVM or LLVM."""
import dataclasses
import warnings

import backend_nodes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

DTYPES = ("float64", "float16", "int8", "uint8", "int32", "int64", "uint64", "bool")
HALF = 1e-2  # of float16: the reference sums in float16, or in float32
# Of these the reference gives other dtypes than ONNX declares: it computes in NumPy's.
NOT_COMPARED = {"AffineGrid", "ReduceSumSquare"}


@pytest.fixture(autouse=True)
def _unscheduled_is_no_error(monkeypatch):
    """What no rule schedules in float64 or whole numbers is slow, and right."""
    monkeypatch.setenv("TENFOLD_STRICT", "0")


def _as(case: backend_nodes.Case, dtype: str) -> backend_nodes.Case | None:
    """The case with `dtype` in the place of float32, if ONNX allows that."""
    model, number = onnx.ModelProto(), onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.CopyFrom(case.model)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = number
    for index, weight in enumerate(model.graph.initializer):
        if weight.data_type == onnx.TensorProto.FLOAT:
            array = numpy_helper.to_array(weight).astype(dtype)
            model.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, weight.name))
    inputs = {name: _whole(x, dtype) if x.dtype == np.float32 else x for name, x in case.inputs.items()}
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:  # it does not
        return None
    outputs = [] if case.operator in NOT_COMPARED else _expected(model, inputs)
    tolerance = {"rtol": HALF, "atol": HALF} if dtype == "float16" else {}
    return dataclasses.replace(case, name=f"{case.name}_{dtype}", model=model, inputs=inputs, outputs=outputs, **tolerance)


def _whole(x: np.ndarray, dtype: str) -> np.ndarray:
    return (np.abs(np.round(3 * x)) if dtype[0] in "ui" else x).astype(dtype)


def _expected(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [np.asarray(y) for y in ReferenceEvaluator(model).run(None, inputs)]
    except Exception:  # it lacks some operators in some dtypes
        return []


@pytest.mark.quick(1)
@pytest.mark.parametrize("operator", [
    pytest.param(*each.values, marks=[] if number % 3 == 0 else [pytest.mark.long]) for number, each in enumerate(backend_nodes.operators())
])  # fmt: skip
def test_every_dtype(operator):
    constant = [case for case in backend_nodes.cases()[operator] if case.constants] or backend_nodes.cases()[operator]
    some = [case for case in (_as(constant[0], dtype) for dtype in DTYPES) if case is not None]
    assert not [(case.name, reason) for case, reason in backend_nodes.judged(some) if reason.startswith("WRONG")]
