"""The polynomials against NumPy's and SciPy's functions in double precision, over the whole range of float32."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import tvm
from schedule_checks import HOST, assembly, fused, noise, run, scheduled
from tenfold.schedules.tir.vector_math import with_vector_math
from tvm import relax, te, tirx

FUNCTIONS = {
    "exp": (tirx.exp, np.exp, 110),
    "log": (tirx.log, np.log, 1e37),
    "tanh": (tirx.tanh, np.tanh, 20),
    "sigmoid": (tirx.sigmoid, scipy.special.expit, 88),
    "erf": (tirx.erf, scipy.special.erf, 10),
}


def compute(function, x: np.ndarray) -> np.ndarray:
    data = te.placeholder(x.shape, "float32", "x")
    func = te.create_prim_func([data, te.compute(x.shape, lambda i: function(data[i]), "y")])
    result = tvm.runtime.tensor(np.empty_like(x))
    tvm.compile(with_vector_math(func), target=HOST.tvm_target())(tvm.runtime.tensor(x), result)
    return result.numpy()


def spread(limit: float) -> np.ndarray:
    """Numbers of both signs up to a limit: evenly, and evenly in their logarithm."""
    even = np.linspace(-limit, limit, 100_003)
    small = np.exp(np.linspace(np.log(1e-30), np.log(limit), 100_003))
    return np.concatenate([even, small, -small]).astype("float32")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_relative_error_is_below_1e_6(name):
    function, reference, limit = FUNCTIONS[name]
    x = np.abs(spread(limit)) if name == "log" else spread(limit)
    expected = reference(x.astype("float64"))
    normal = (np.abs(expected) > 1.2e-38) & (np.abs(expected) < 3.4e38)
    assert normal.sum() > len(x) / 2
    np.testing.assert_allclose(compute(function, x)[normal], expected[normal], rtol=5e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name):
    function, reference, _ = FUNCTIONS[name]
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 1, -1, 1e38, -1e38], "float32")
    with np.errstate(all="ignore"):
        expected = reference(x.astype("float64")).astype("float32")
    np.testing.assert_allclose(compute(function, x), expected, rtol=5e-7, atol=2e-42)


@pytest.mark.parametrize("exponent", [0.25, 0.5, 0.75, 1.0, 1.25, 2.0, 3.0, 4.0, -0.5, -0.75, -2.0])
def test_power_by_roots(exponent):
    x = np.abs(spread(1e6))
    x = x[(x > 1e-8)]
    data = te.placeholder((8,), "float32", "x")
    func = te.create_prim_func([data, te.compute((8,), lambda i: tirx.pow(data[i], tirx.const(exponent, "float32")))])
    assert "pow" not in with_vector_math(func).script()
    result = compute(lambda v: tirx.pow(v, tirx.const(exponent, "float32")), x)
    np.testing.assert_allclose(result, x.astype("float64") ** exponent, rtol=5e-7)


def test_other_powers_keep_the_librarys_function():
    x = np.linspace(0.1, 3, 50, dtype="float32")
    np.testing.assert_allclose(compute(lambda v: tirx.pow(v, tirx.const(0.3, "float32")), x), x.astype("float64") ** 0.3, rtol=5e-7)


def test_double_precision_keeps_the_librarys_function():
    data = te.placeholder((8,), "float64", "x")
    func = te.create_prim_func([data, te.compute((8,), lambda i: tirx.exp(data[i]), "y")])
    assert with_vector_math(func).same_as(func)


def test_nested_functions():
    """Mish: three functions within each other, each argument named once."""
    x = noise(4, 33)

    def mish(v):
        return relax.op.multiply(v, relax.op.tanh(relax.op.log(relax.op.add(relax.op.exp(v), relax.const(1.0)))))

    np.testing.assert_allclose(run(mish, x), x * np.tanh(np.log1p(np.exp(x.astype("float64")))), rtol=1e-5, atol=1e-6)


def test_no_scalar_calls_are_left():
    mod = scheduled(fused(relax.op.exp, [(64, 64)]))
    assert "expf" not in assembly(mod, HOST)
    assert "expf" in assembly(fused(relax.op.exp, [(64, 64)]), HOST)  # as TVM leaves it
