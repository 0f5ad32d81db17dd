"""ONNX's own tests of operators on a GPU, emulated: what is not refused is right."""
from __future__ import annotations

import backend_nodes
import pytest
from cuda_checks import network
from tenfold.schedules.cuda.backend import LACKS

# Operators of ONNX of which some forms need what `LACKS` names.
LACKING = {"CumSum", "MaxUnpool", "NonMaxSuppression", "Scatter", "ScatterElements", "ScatterND", "TopK", "Unique", "CumProd"}


def some_long() -> list:
    """Of the slow operators every eighth is tested with the slow tests, the others with the long ones."""
    found, slow = [], 0
    for each in backend_nodes.operators():
        slow += bool(each.marks)
        found.append(each if not each.marks or slow % 8 == 0 else pytest.param(*each.values, marks=[*each.marks, pytest.mark.long]))
    return found


@pytest.mark.quick(2)
@pytest.mark.parametrize("operator", some_long())
def test_operators_are_right_or_refused(operator):
    results = list(backend_nodes.outcomes(operator, lambda mod, inputs: network(mod)(*inputs)))
    assert not [f"{case.name}: {reason}" for case, reason in results if reason.startswith("WRONG")]
    lacking = [reason for _, reason in results if " has no kernel for target " in reason]
    assert not lacking or operator in LACKING
    assert all(f"relax.{reason.split()[1]}" in LACKS for reason in lacking)
    if operator in backend_nodes.QUICK:
        assert any(not reason for _, reason in results)
