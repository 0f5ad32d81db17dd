"""ChannelsLast on small networks: the exact module that comes out, with the numbers of the one that went in."""

from layout_checks import check, conv2d, hwio, module, nchw, nhwc, one_by_one, transposed, weights
from tenfold.passes.channels_last import ChannelsLast
from tvm import ir, relax
from tvm.relax import op


def test_convolutions_in_a_row_have_one_permute_at_either_end():
    w1, w2, bias = weights(8, 3, 3, 3), weights(4, 8, 1, 1), weights(1, 8, 1, 1)
    before = module(
        one_by_one(
            lambda x: conv2d(x, w1, padding=(1, 0, 1, 2)),
            lambda x: op.add(x, bias),
            op.nn.relu,
            lambda x: conv2d(x, w2, strides=2),
        ),
        (1, 3, 6, 5),
    )
    after = module(
        one_by_one(
            nhwc,
            lambda x: conv2d(x, hwio(w1), "NHWC", padding=(1, 0, 1, 2)),
            lambda x: op.add(x, transposed(bias, 0, 2, 3, 1)),
            op.nn.relu,
            lambda x: conv2d(x, hwio(w2), "NHWC", strides=2),
            nchw,
        ),
        (1, 3, 6, 5),
    )
    ir.assert_structural_equal(check(before), after)


def test_one_channel_needs_only_a_reshape():
    w = weights(1, 1, 3, 3)
    before = module(one_by_one(lambda x: conv2d(x, w)), (2, 1, 6, 5))
    after = module(
        one_by_one(lambda x: op.reshape(x, (2, 6, 5, 1)), lambda x: conv2d(x, hwio(w), "NHWC"), lambda x: op.reshape(x, (2, 1, 4, 3))),
        (2, 1, 6, 5),
    )
    ir.assert_structural_equal(check(before), after)


def test_a_residual_and_a_concat_stay_channels_last():
    w = weights(4, 4, 3, 3)

    def body(layout, axis, w, enter, leave):
        def build(builder, x):
            x = builder.emit(enter(x)) if enter else x
            y = builder.emit(conv2d(x, w, layout, padding=1))
            y = builder.emit(op.add(x, y))
            y = op.concat([y, x], axis=axis)
            return leave(builder.emit(y)) if leave else y

        return build

    before = module(body("NCHW", 1, w, None, None), (1, 4, 5, 6))
    after = module(body("NHWC", 3, hwio(w), nhwc, nchw), (1, 4, 5, 6))
    ir.assert_structural_equal(check(before), after)


def test_a_squeeze_and_excitation_gate_has_no_permute():
    w, down, up = weights(4, 3, 3, 3), weights(4, 2), weights(2, 4)

    def body(layout, axes, w, enter, leave, gate):
        def build(builder, x):
            x = builder.emit(conv2d(builder.emit(enter(x)) if enter else x, w, layout))
            y = builder.emit(op.mean(x, axes))
            y = builder.emit(op.nn.relu(builder.emit(op.matmul(y, down))))
            y = builder.emit(op.sigmoid(builder.emit(op.matmul(y, up))))
            y = op.multiply(x, builder.emit(op.reshape(y, gate)))
            return leave(builder.emit(y)) if leave else y

        return build

    before = module(body("NCHW", [2, 3], w, None, None, (2, 4, 1, 1)), (2, 3, 5, 6))
    after = module(body("NHWC", [1, 2], hwio(w), nhwc, nchw, (2, 1, 1, 4)), (2, 3, 5, 6))
    ir.assert_structural_equal(check(before), after)


def test_a_global_pool_before_a_dense_layer_needs_no_permute():
    w, dense = weights(8, 3, 3, 3), weights(8, 5)
    before = module(
        one_by_one(
            lambda x: conv2d(x, w),
            lambda x: op.nn.adaptive_avg_pool2d(x, (1, 1)),
            lambda x: op.reshape(x, (2, 8)),
            lambda x: op.matmul(x, dense),
        ),
        (2, 3, 5, 6),
    )
    after = module(
        one_by_one(
            nhwc,
            lambda x: conv2d(x, hwio(w), "NHWC"),
            lambda x: op.nn.adaptive_avg_pool2d(x, (1, 1), layout="NHWC"),
            lambda x: op.reshape(x, (2, 8)),
            lambda x: op.matmul(x, dense),
        ),
        (2, 3, 5, 6),
    )
    ir.assert_structural_equal(check(before), after)


def test_a_flatten_before_a_dense_layer_is_folded_into_its_weight():
    w, scale, dense = weights(8, 3, 3, 3), weights(96), weights(96, 5)
    before = module(
        one_by_one(
            lambda x: conv2d(x, w),
            op.nn.relu,
            lambda x: op.reshape(x, (2, -1)),
            lambda x: op.multiply(x, scale),
            lambda x: op.matmul(x, dense),
        ),
        (2, 3, 5, 6),
    )
    rows = relax.const(dense.value.numpy().reshape(8, 12, 5).transpose(1, 0, 2).reshape(96, 5))
    columns = relax.const(scale.value.numpy().reshape(8, 12).T.reshape(1, 96))
    after = module(
        one_by_one(
            nhwc,
            lambda x: conv2d(x, hwio(w), "NHWC"),
            op.nn.relu,
            lambda x: op.reshape(x, (2, -1)),
            lambda x: op.multiply(x, columns),
            lambda x: op.matmul(x, rows),
        ),
        (2, 3, 5, 6),
    )
    ir.assert_structural_equal(check(before), after)


def test_spatial_operators_and_what_lies_between_follow():
    w, deconv, slope = weights(6, 3, 3, 3), weights(6, 2, 3, 3), weights(6)
    before = module(
        one_by_one(
            lambda x: conv2d(x, w, groups=1),
            lambda x: op.nn.prelu(x, slope, 1),
            lambda x: op.nn.max_pool2d(x, (3, 2), strides=(2, 1), padding=(1, 0, 1, 1), ceil_mode=True),
            lambda x: op.nn.pad(x, (0, 0, 1, 2, 3, 4, 5, 6)),
            lambda x: op.strided_slice(x, [1, 3], [1, 0], [7, 9], [1, 2]),
            lambda x: op.nn.conv2d_transpose(x, deconv, strides=(2, 1), padding=(1, 0, 0, 1), output_padding=(1, 0), groups=2),
            lambda x: op.image.resize2d(x, (5, 7)),
            lambda x: op.nn.softmax(x, 1),
            lambda x: op.argmax(x, 1),
        ),
        (1, 3, 7, 8),
    )
    after = module(
        one_by_one(
            nhwc,
            lambda x: conv2d(x, hwio(w), "NHWC"),
            lambda x: op.nn.prelu(x, slope, 3),
            lambda x: op.nn.max_pool2d(x, (3, 2), strides=(2, 1), padding=(1, 0, 1, 1), ceil_mode=True, layout="NHWC"),
            lambda x: op.nn.pad(x, (0, 0, 3, 4, 5, 6, 1, 2)),
            lambda x: op.strided_slice(x, [3, 2], [1, 0], [7, 9], [1, 2]),
            lambda x: op.nn.conv2d_transpose(
                x,
                transposed(deconv, 2, 3, 0, 1),
                strides=(2, 1),
                padding=(1, 0, 0, 1),
                output_padding=(1, 0),
                groups=2,
                data_layout="NHWC",
                kernel_layout="HWIO",
            ),
            lambda x: op.image.resize2d(x, (5, 7), layout="NHWC"),
            lambda x: op.nn.softmax(x, 3),
            lambda x: op.argmax(x, 3),
        ),
        (1, 3, 7, 8),
    )
    ir.assert_structural_equal(check(before), after)


def test_response_normalisation_turns_its_window():
    w = weights(4, 3, 1, 1)

    def body(layout, w, enter, leave, window, padding, wide, narrow):
        def build(builder, x):
            x = builder.emit(conv2d(builder.emit(enter(x)) if enter else x, w, layout))
            y = builder.emit(wide(builder.emit(op.multiply(x, x))))
            y = builder.emit(op.nn.avg_pool3d(y, window, padding=padding, count_include_pad=True))
            y = op.divide(x, builder.emit(narrow(y)))
            return leave(builder.emit(y)) if leave else y

        return build

    squeezed = (lambda x: op.expand_dims(x, 1)), (lambda x: op.squeeze(x, 1))
    before = module(body("NCHW", w, None, None, (3, 1, 1), (1, 0, 0, 1, 0, 0), *squeezed), (1, 3, 5, 6))
    views = (lambda x: op.reshape(x, (1, 1, 5, 6, 4))), (lambda x: op.reshape(x, (1, 5, 6, 4)))
    after = module(body("NHWC", hwio(w), nhwc, nchw, (1, 1, 3), (0, 0, 1, 0, 0, 1), *views), (1, 3, 5, 6))
    ir.assert_structural_equal(check(before), after)


def test_a_channel_shuffle_is_done_channels_last():
    w, depthwise = weights(8, 3, 1, 1), weights(8, 1, 3, 3)
    before = module(
        one_by_one(
            lambda x: conv2d(x, w),
            lambda x: op.reshape(x, (1, 2, 4, 5, 6)),
            lambda x: op.permute_dims(x, (0, 2, 1, 3, 4)),
            lambda x: op.reshape(x, (1, 8, 5, 6)),
            lambda x: conv2d(x, depthwise, groups=8),
        ),
        (1, 3, 5, 6),
    )
    after = module(
        one_by_one(
            nhwc,
            lambda x: conv2d(x, hwio(w), "NHWC"),
            lambda x: op.reshape(x, (1, 5, 6, 2, 4)),
            lambda x: op.permute_dims(x, (0, 1, 2, 4, 3)),
            lambda x: op.reshape(x, (1, 5, 6, 8)),
            lambda x: conv2d(x, hwio(depthwise), "NHWC", groups=8),
            nchw,
        ),
        (1, 3, 5, 6),
    )
    ir.assert_structural_equal(check(before), after)


def test_a_pixel_shuffle_at_the_end_is_one_permute():
    w = weights(8, 3, 1, 1)
    before = module(
        one_by_one(
            lambda x: conv2d(x, w),
            lambda x: op.reshape(x, (2, 2, 2, 2, 5, 6)),
            lambda x: op.permute_dims(x, (0, 1, 4, 2, 5, 3)),
            lambda x: op.reshape(x, (2, 2, 10, 12)),
        ),
        (2, 3, 5, 6),
    )
    after = module(
        one_by_one(
            nhwc,
            lambda x: conv2d(x, hwio(w), "NHWC"),
            lambda x: op.reshape(x, (2, 5, 6, 2, 2, 2)),
            lambda x: op.permute_dims(x, (0, 3, 1, 4, 2, 5)),
            lambda x: op.reshape(x, (2, 2, 10, 12)),
        ),
        (2, 3, 5, 6),
    )
    ir.assert_structural_equal(check(before), after)


def test_permutes_of_a_channels_last_network_vanish():
    w = weights(4, 3, 1, 1)
    before = module(one_by_one(nchw, lambda x: conv2d(x, w), nhwc), (1, 5, 6, 3))
    after = module(one_by_one(lambda x: conv2d(x, hwio(w), "NHWC")), (1, 5, 6, 3))
    ir.assert_structural_equal(check(before), after)


def test_tokens_made_of_an_image_need_no_permute():
    w, dense = weights(4, 3, 2, 2), weights(4, 5)
    before = module(
        one_by_one(
            lambda x: conv2d(x, w, strides=2),
            lambda x: op.reshape(x, (1, 4, 6)),
            lambda x: op.permute_dims(x, (0, 2, 1)),
            lambda x: op.matmul(x, dense),
        ),
        (1, 3, 4, 6),
    )
    after = module(
        one_by_one(
            nhwc, lambda x: conv2d(x, hwio(w), "NHWC", strides=2), lambda x: op.reshape(x, (1, 6, 4)), lambda x: op.matmul(x, dense)
        ),
        (1, 3, 4, 6),
    )
    ir.assert_structural_equal(check(before), after)


def test_the_pass_changes_nothing_the_second_time():
    w = weights(4, 3, 1, 1)
    once = ChannelsLast()(module(one_by_one(lambda x: conv2d(x, w), op.nn.relu), (1, 3, 5, 6)))
    ir.assert_structural_equal(ChannelsLast()(once), once)
