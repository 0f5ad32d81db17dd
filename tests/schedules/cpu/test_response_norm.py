"""Local response normalisation in one pass, against NumPy, over random shapes and windows."""
from __future__ import annotations

import numpy as np
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.cpu.reduction.response_norm import response_norm, schedule_response_norm
from tenfold.schedules.shapes import ResponseNorm
from tenfold.schedules.tir.vector_math import with_vector_math
from tenfold.targets import resolve
from tvm import te

HOST = resolve("host")


def reference(x: np.ndarray, window: ResponseNorm) -> np.ndarray:
    squares = np.pad(x.astype("float64") ** 2, [(0, 0)] * (x.ndim - 1) + [(window.before, window.behind)])
    total = sum(squares[..., r:r + x.shape[-1]] for r in range(window.before + window.behind + 1))
    return x / (window.bias + window.scale * total) ** window.beta


def scheduled(shape, window):
    data = te.placeholder(shape, name="x")
    return schedule_response_norm(te.create_prim_func([data, response_norm(data, window, HOST)]), HOST).mod["main"]


def check(shape, window):
    kernel = tvm.compile(with_vector_math(scheduled(shape, window)), target=HOST.tvm_target())
    x = np.random.default_rng(0).standard_normal(shape, "float32") * 3
    out = tvm.runtime.tensor(np.full(shape, np.nan, "float32"))
    kernel(tvm.runtime.tensor(x), out)
    np.testing.assert_allclose(out.numpy(), reference(x, window), rtol=2e-6, atol=1e-7)


@given(lead=st.lists(st.integers(1, 13), min_size=1, max_size=3), channels=st.integers(1, 70), before=st.integers(0, 9),
       behind=st.integers(0, 6), bias=st.sampled_from([0.5, 1.0, 2.0]),
       scale=st.sampled_from([1e-4, 0.3]), beta=st.sampled_from([0.75, 0.5, 1.0, 0.6]))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_any_shape_and_window(lead, channels, before, behind, bias, scale, beta):
    check((*lead, channels), ResponseNorm(before, behind, bias, scale, beta))


def test_rows_of_alexnet_are_vectors_on_every_core():
    script = scheduled((1, 54, 54, 96), ResponseNorm(2, 2, 1.0, 2e-5, 0.75)).script()
    assert "T.parallel" in script
    assert script.count(f"T.vectorized(T.int64({HOST.lanes}))") + script.count(f"T.vectorized({HOST.lanes})") == 2
    check((1, 54, 54, 96), ResponseNorm(2, 2, 1.0, 2e-5, 0.75))
