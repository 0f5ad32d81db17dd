"""The rules of all operators together: random graphs compute the same before and after."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from layout_checks import check, module, weights
from tenfold.passes.channels_last_rules import RULES
from tenfold.schedules.operators import HARD_SWISH
from tvm import ir, relax
from tvm.relax import op


def test_every_rule_is_for_an_operator_that_exists():
    assert set(RULES) - {HARD_SWISH} <= set(ir.Op.list_op_names())


def shape_of(x):
    return tuple(int(size) for size in x.ty.shape.values)


class Graph:
    """Draws operators on values made before, so that all shapes fit."""

    def __init__(self, draw, builder, *inputs):
        self.draw, self.builder, self.values, self.seed = draw, builder, list(inputs), 0

    def pick(self, *options):
        return self.draw(st.sampled_from(options))

    def weights(self, *shape):
        self.seed += 1
        return weights(*shape, seed=self.seed)

    def grow(self):
        x = self.pick(*self.values[-3:])
        kinds = self.SPATIAL + self.ANY if len(shape_of(x)) == 4 else self.ANY
        y = self.builder.emit(self.pick(*kinds)(self, x))
        if 1 <= len(shape_of(y)) <= 5:
            self.values.append(y)

    def conv2d(self, x):
        channels, groups = shape_of(x)[1], self.pick(1, shape_of(x)[1])
        kernel = self.pick((1, 1), (3, 3), (1, 2))
        w = self.weights(groups * self.pick(1, 2, 4), channels // groups, *kernel)
        padding = (1, 1, 1, 2) if kernel == (3, 3) else (0, 1, 0, 1)
        return op.nn.conv2d(x, w, strides=self.pick(1, 2), padding=padding, groups=groups)

    def conv2d_transpose(self, x):
        w = self.weights(shape_of(x)[1], self.pick(1, 3), 2, 2)
        return op.nn.conv2d_transpose(x, w, strides=2, output_padding=self.pick((0, 0), (1, 0)))

    def pool(self, x):
        pool = self.pick(op.nn.max_pool2d, op.nn.avg_pool2d)
        return pool(x, (2, 2), strides=self.pick((1, 1), (2, 1)), padding=(1, 0, 0, 1), ceil_mode=self.pick(True, False))

    def adaptive(self, x):
        return op.nn.adaptive_avg_pool2d(x, self.pick((1, 1), (2, 1)))

    def resize(self, x):
        return op.image.resize2d(x, (4, 3), method=self.pick("linear", "nearest_neighbor"))

    def response_norm(self, x):
        window = self.builder.emit(op.expand_dims(op.multiply(x, x), 1))
        window = op.nn.avg_pool3d(window, (3, 1, 1), padding=(1, 0, 0, 1, 0, 0), count_include_pad=True)
        return op.divide(x, op.power(op.add(op.squeeze(window, 1), relax.const(1.0)), relax.const(0.75)))

    def gate(self, x):
        return op.multiply(x, op.sigmoid(op.mean(x, [2, 3], keepdims=True)))

    def shuffle(self, x):
        n, c, h, w = shape_of(x)
        g = 2 if c % 2 == 0 else 1
        return op.reshape(op.permute_dims(op.reshape(x, (n, g, c // g, h, w)), (0, 2, 1, 3, 4)), (n, c, h, w))

    def batch_norm(self, x):
        c = shape_of(x)[1]
        stats = [self.weights(c), self.weights(c), self.weights(c), op.abs(self.weights(c))]
        return relax.TupleGetItem(self.builder.emit(op.nn.batch_norm(x, *stats, axis=1, training=False)), 0)

    def unary(self, x):
        return self.pick(op.nn.relu, op.sigmoid, op.nn.gelu, op.nn.leakyrelu, lambda x: op.clip(x, -1, 1))(x)

    def constant(self, x):
        shape = shape_of(x)
        partly = tuple(size if self.pick(True, False) else 1 for size in shape)
        return self.pick(op.add, op.multiply, op.maximum)(x, self.weights(*self.pick(partly, partly[1:], shape[-1:], ())))

    def pair(self, x):
        fits = [y for y in self.values if all(a == b or 1 in (a, b) for a, b in zip(shape_of(x)[::-1], shape_of(y)[::-1], strict=False))]
        y = self.pick(*fits)
        return op.where(op.less(x, y), x, op.multiply(y, relax.const(0.5))) if self.pick(True, False) else op.subtract(y, x)

    def concat(self, x):
        axis = self.pick(*range(-1, len(shape_of(x)) - 1))
        return op.concat([x, self.weights(*shape_of(x)), self.pick(*[y for y in self.values if shape_of(y) == shape_of(x)])], axis)

    def stacked(self, x):
        parts = op.stack([x, self.pick(*[y for y in self.values if shape_of(y) == shape_of(x)])], self.pick(0, 1, -1))
        return self.pick(parts, op.sum(parts, axis=0))

    def split(self, x):
        axis = self.pick(*range(len(shape_of(x))))
        parts = self.builder.emit(op.split(x, [1] if shape_of(x)[axis] > 1 else 1, axis))
        return relax.TupleGetItem(parts, self.pick(0, 1)) if isinstance(parts.ty, ir.TupleType) else parts

    def piece(self, x):
        axis = self.pick(*range(len(shape_of(x))))
        if self.pick(True, False):
            return op.take(x, relax.const(np.array(self.pick(0, [0, 0]), "int64")), axis)
        return op.strided_slice(x, [axis], [0], [shape_of(x)[axis]], [2])

    def pad(self, x):
        return op.nn.pad(x, [self.pick(0, 1) for _ in range(2 * len(shape_of(x)))])

    def reduce(self, x):
        axes = sorted({self.pick(*range(len(shape_of(x)))) for _ in range(2)})
        if len(axes) == 1 and self.pick(True, False):
            return op.astype(op.argmax(x, axes[0], keepdims=self.pick(True, False)), "float32")
        return self.pick(op.mean, op.max, op.sum)(x, axes, keepdims=self.pick(True, False))

    def softmax(self, x):
        return self.pick(op.nn.softmax, op.nn.log_softmax)(x, self.pick(*range(-1, len(shape_of(x)) - 1)))

    def norm(self, x):
        axis = self.pick(*range(len(shape_of(x))))
        size = shape_of(x)[axis]
        if self.pick(True, False):
            return op.nn.prelu(x, self.weights(size), axis)
        return op.nn.layer_norm(x, self.weights(size), self.weights(size), [axis])

    def channel_norm(self, x):
        scale, offset = self.weights(shape_of(x)[1]), self.weights(shape_of(x)[1])
        if self.pick(True, False):
            return op.nn.instance_norm(x, scale, offset, 1, [2, 3])
        return op.nn.group_norm(x, scale, offset, self.pick(1, shape_of(x)[1]), 1, [2, 3])

    def rare(self, x):
        axis = self.pick(*range(len(shape_of(x))))
        rare = (
            lambda: op.cumsum(x, axis),
            lambda: op.flip(x, axis),
            lambda: op.repeat(x, 2, axis),
            lambda: op.sort(x, axis),
            lambda: op.tile(x, [1 if i != axis else 2 for i in range(1, len(shape_of(x)))] or [2]),
            lambda: op.topk(x, 1, axis, ret_type="values"),
            lambda: op.broadcast_to(x, (2, *shape_of(x))),
            lambda: op.variance(x, [axis], keepdims=True),
        )
        return self.pick(*rare)()

    def permute(self, x):
        return op.permute_dims(x, sorted(range(len(shape_of(x))), key=lambda _: self.pick(*range(9))))

    def reshape(self, x):
        shape = shape_of(x)
        at = self.pick(*range(len(shape)))
        merged = shape[:at] + (int(np.prod(shape[at : at + 2])),) + shape[at + 2 :]
        swapped = shape[:at] + shape[at : at + 2][::-1] + shape[at + 2 :]
        halved = shape[:at] + ((2, shape[at] // 2) if shape[at] % 2 == 0 else (1, shape[at])) + shape[at + 1 :]
        return op.reshape(x, self.pick(merged, swapped, halved, (shape[0], -1), (1, *shape)))

    def squeeze(self, x):
        return op.squeeze(x)

    def dense(self, x):
        return op.matmul(x, self.weights(shape_of(x)[-1], 3)) if len(shape_of(x)) > 1 else op.negative(x)

    def unknown(self, x):
        return op.triu(x) if len(shape_of(x)) > 1 else op.negative(x)

    SPATIAL = (conv2d, conv2d, conv2d_transpose, pool, adaptive, resize, response_norm, gate, shuffle, batch_norm, channel_norm)
    ANY = (unary, constant, pair, concat, stacked, split, piece, pad, reduce, softmax, norm, rare, permute, reshape, squeeze)
    ANY += (dense, unknown)


@st.composite
def graphs(draw):
    n, c, h, w = (draw(st.sampled_from(sizes)) for sizes in ((1, 2), (1, 2, 4), (1, 3, 4), (1, 2, 5)))

    def body(builder, x, y):
        graph = Graph(draw, builder, x, y)
        for _ in range(draw(st.integers(3, 8))):
            graph.grow()
        return graph.values[-2:]

    return module(body, (n, c, h, w), (n, c, h, w))


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(graphs())
def test_random_graphs(mod):
    check(mod)
