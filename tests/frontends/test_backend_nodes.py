"""ONNX's own tests of the operators of CNNs: right to within their tolerance, or refused in one line, as docs/operators.md says."""
import backend_nodes
import onnx
import pytest


@pytest.fixture(autouse=True)
def _unscheduled_is_no_error(monkeypatch):
    """What no rule schedules is slow, and right."""
    monkeypatch.setenv("TENFOLD_STRICT", "0")


@pytest.mark.quick(5)
@pytest.mark.parametrize("operator", backend_nodes.operators())
def test_operator(operator):
    results = list(backend_nodes.outcomes(operator))
    assert not [(case.name, case.constants, reason) for case, reason in results if reason.startswith("WRONG")]
    if f"(onnx {onnx.__version__})" not in backend_nodes.TABLE.read_text(encoding="utf-8"):
        pytest.skip("docs/operators.md was made by another version of onnx, which had other cases")
    row = backend_nodes.row(operator, results)
    assert row in list(backend_nodes.rows()), "run tests/frontends/backend_nodes.py to write docs/operators.md anew"


def test_the_table_has_no_other_operators():
    assert [param.values[0] for param in backend_nodes.operators()] == list(backend_nodes.cases())
