"""The driver: which rule wins, what happens when none does, and that nothing is left out."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
from schedule_checks import HOST, fused, kernels, noise, run
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cpu import RULES
from tenfold.schedules.driver import ApplySchedules, UnscheduledWarning, is_scheduled, schedule_function
from tvm import relax
from tvm.relax import op
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError


def relu() -> tvm.IRModule:
    return fused(op.nn.relu, [(1, 8, 8, 16)])


def take_any(func, target):
    return Schedule(func)


def take_none(func, target):
    return None


def fail(func, target):
    s = Schedule(func)
    s.compute_inline(s.get_child_blocks(s.get_sblock("root"))[0])  # the only block: TVM refuses
    return s


def test_first_rule_wins():
    taken = []

    def note(func, target):
        taken.append(target)
        return Schedule(func)

    mod = ApplySchedules([take_none, note, fail], HOST, strict=True)(relu())
    assert taken == [HOST]
    assert all(is_scheduled(f) for f in kernels(mod))


def test_scheduled_functions_are_left_alone():
    once = ApplySchedules([take_any], HOST, strict=True)(relu())
    twice = ApplySchedules([fail], HOST, strict=True)(once)
    assert kernels(twice)[0].same_as(kernels(once)[0])


def test_relax_functions_are_left_alone():
    mod = relu()
    result = ApplySchedules(RULES, HOST, strict=True)(mod)
    tvm.ir.assert_structural_equal(result["main"], mod["main"])


def test_failing_rule_gives_way_to_the_next():
    apply = ApplySchedules([fail, take_any], HOST, strict=False)
    assert all(is_scheduled(f) for f in kernels(apply(relu())))
    assert apply.unscheduled == []


def test_failing_rule_is_an_error_when_strict():
    with pytest.raises(ScheduleError):
        ApplySchedules([fail, take_any], HOST, strict=True)(relu())


def test_function_that_no_rule_takes_is_a_named_warning():
    apply = ApplySchedules([take_none, fail], HOST, strict=False)
    with pytest.warns(UnscheduledWarning, match=r"relu \(blocks: compute\) is not scheduled: fail: "):
        mod = apply(relu())
    [missed] = apply.unscheduled
    assert (missed.name, missed.blocks) == ("relu", ("compute",))
    assert not any(is_scheduled(f) for f in kernels(mod))


def test_function_that_no_rule_takes_is_an_error_when_strict(monkeypatch):
    monkeypatch.setenv("TENFOLD_STRICT", "1")
    with pytest.raises(RuntimeError, match="relu .* is not scheduled: no rule is made for it"):
        ApplySchedules([take_none], HOST)(relu())
    monkeypatch.setenv("TENFOLD_STRICT", "0")
    with pytest.warns(UnscheduledWarning):
        ApplySchedules([take_none], HOST)(relu())


def test_library_calls_are_refused():
    """A sort is a call into TVM's runtime: there are no loops to schedule."""
    with HOST.tvm_target():
        mod = relax.backend.DispatchSortScan()(whole(lambda x: op.sort(x, 1), [(4, 10)]))
    apply = ApplySchedules(RULES, HOST, strict=False)
    with pytest.warns(UnscheduledWarning, match="sort"):
        apply(relax.transform.LegalizeOps()(mod))
    assert [missed.reason for missed in apply.unscheduled] == ["it calls a library"]


def test_shapes_have_to_be_constant():
    apply = ApplySchedules(RULES, HOST, strict=False)
    with pytest.warns(UnscheduledWarning, match="relu .* is not scheduled: its shapes are not constant"):
        apply(fused(op.nn.relu, [(tvm.tirx.Var("n", "int64"), 8)]))


def whole(body, shapes) -> tvm.IRModule:
    params = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        builder.emit_func_output(builder.emit(body(*params)))
    return builder.get()


def test_loops_that_were_written_by_hand_are_taken():
    x, updates = noise(10, 8), noise(10, 8, seed=1)
    index = np.random.default_rng(2).permuted(np.tile(np.arange(8, dtype="int64"), (10, 1)), axis=1)
    expected = x.copy()
    np.put_along_axis(expected, index, updates, 1)
    np.testing.assert_array_equal(run(lambda x, i, u: op.scatter_elements(x, i, u, 1), x, index, updates), expected)


SPECIAL = {
    "max_pool2d": (lambda x: op.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC"), "schedule_pool"),
    "avg_pool2d": (lambda x: op.nn.avg_pool2d(x, (2, 2), (2, 2), layout="NHWC"), "schedule_pool"),
    "softmax": (lambda x: op.nn.softmax(x, -1), "schedule_softmax"),
    "mean": (lambda x: op.mean(x, [1, 2]), "schedule_reduction"),
    "relu": (op.nn.relu, "schedule_elementwise"),
    "adaptive_avg_pool2d": (lambda x: op.nn.adaptive_avg_pool2d(x, (3, 3), layout="NHWC"), "schedule_fallback"),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_each_function_goes_to_its_rule(name):
    body, expected = SPECIAL[name]
    [func] = kernels(fused(body, [(1, 8, 8, 16)]))
    assert next(rule.__name__ for rule in backend_of(HOST).rules if rule(func, HOST) is not None) == expected
    assert schedule_function(func, RULES, HOST) is not None
