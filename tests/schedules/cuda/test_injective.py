"""Element-wise functions on a GPU against NumPy, exactly; transposes read and store whole sectors."""
from __future__ import annotations

import numpy as np
import pytest
from cuda_checks import module, network, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.support.errors import TenfoldError
from tvm import relax

op = relax.op


def same(body, inputs, expected, names=(), **options):
    compiled = network(module(body, *inputs, names=names), **options)
    [found] = compiled(*inputs)
    np.testing.assert_array_equal(found, expected)
    return compiled


@pytest.mark.quick(2)
@pytest.mark.parametrize("shape, axes", [((1, 96, 28, 28), (0, 2, 3, 1)), ((1, 3, 64, 64), (0, 2, 3, 1)), ((1, 28, 28, 96), (0, 3, 1, 2)),
                                         ((64, 96), (1, 0))])
def test_transposes_move_whole_sectors(shape, axes):
    x = noise(*shape)
    compiled = same(lambda v: op.permute_dims(v, axes), [x], x.transpose(axes), counting=True)
    [counts] = compiled.code.counts.values()
    assert counts.global_sectors <= 1.2 * counts.least_sectors
    assert counts.shared_wavefronts <= 2 * counts.least_wavefronts


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.data())
def test_any_transpose(shape, data):
    axes = data.draw(st.permutations(range(len(shape))).filter(lambda found: list(found) != sorted(found)))
    while np.prod(shape) > 20000:
        shape = [size // 2 + 1 for size in shape]
    x = noise(*shape)
    same(lambda v: op.nn.relu(op.permute_dims(v, list(axes))), [x], np.maximum(x.transpose(axes), 0))


CASES = {
    "broadcast": (lambda a, b: op.add(a, b), [(2, 3, 1, 5), (3, 4, 1)], lambda a, b: a + b),
    "concatenation": (lambda a, b: op.concat([a, b], 1), [(2, 3, 5), (2, 4, 5)], lambda a, b: np.concatenate([a, b], 1)),
    "concatenation, last": (lambda a, b: op.concat([a, b], -1), [(2, 8), (2, 12)], lambda a, b: np.concatenate([a, b], -1)),
    "slice": (lambda a: op.strided_slice(a, [1, 2], [1, 0], [7, 9], [2, 3]), [(2, 8, 9)], lambda a: a[:, 1:7:2, 0:9:3]),
    "gather": (lambda a: op.take(a, relax.const(np.array([3, 0, 3], "int64")), 1), [(2, 5, 4)], lambda a: a[:, [3, 0, 3]]),
    "choice": (lambda a, b: op.where(op.greater(a, b), a, op.negative(b)), [(4, 64)] * 2, lambda a, b: np.where(a > b, a, -b)),
    "comparison": (lambda a, b: op.less(a, b), [(4, 33)] * 2, lambda a, b: a < b),
    "cast": (lambda a: op.astype(op.multiply(a, relax.const(10.0)), "int32"), [(3, 40)], lambda a: (a * np.float32(10)).astype("int32")),
    "nearest": (lambda a: op.image.resize2d(a, (6, 8), layout="NHWC", method="nearest_neighbor", rounding_method="floor",
                                        coordinate_transformation_mode="asymmetric"),
                [(1, 3, 4, 8)], lambda a: a.repeat(2, 1).repeat(2, 2)),
    "padding": (lambda a: op.nn.pad(a, [0, 0, 1, 2, 0, 3], pad_value=0.0), [(2, 5, 4)], lambda a: np.pad(a, ((0, 0), (1, 2), (0, 3)))),
    "a scalar": (lambda a: op.multiply(a, relax.const(2.0)), [(1,)], lambda a: a * 2),
}  # fmt: skip


@pytest.mark.quick(4)
@pytest.mark.parametrize("name", CASES)
def test_element_wise(name):
    body, shapes, expected = CASES[name]
    inputs = [noise(*shape, seed=number) for number, shape in enumerate(shapes)]
    same(body, inputs, expected(*inputs))


@pytest.mark.parametrize("name", ["/features/x:0", "1", "float", "exp", "input.1", "größe"])
def test_names_of_inputs_are_no_matter(name):
    x = noise(2, 40)
    same(lambda v: op.nn.relu(v), [x], np.maximum(x, 0), names=[name])


@pytest.mark.parametrize("operator, body", [
    ("cumsum", lambda v: op.cumsum(v, 1)), ("sort", lambda v: op.sort(v, 1)), ("topk", lambda v: op.topk(v, 3, 1, ret_type="values")),
    ("argsort", lambda v: op.argsort(v, 1))])
def test_what_has_no_kernel_is_refused_by_name(operator, body):
    with pytest.raises(TenfoldError, match=rf"^operator {operator} \(the node that makes '\w+'\) has no kernel for target sm_80: [^\n]*$"):
        network(module(body, noise(4, 20)))
