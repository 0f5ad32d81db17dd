"""A chain against convolution by its definition, for every form that is a chain of plain convolutions."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv2d, run_chain
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate
from tenfold.factorization import Covariance, FactorChain, Stage

RNG = np.random.default_rng(7)


def _weight(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def _stage(*shape, **more):
    return Stage(_weight(*shape), **more)


def test_the_reference_is_scipys_correlation():
    x, weight = _weight(1, 3, 7, 8), _weight(4, 3, 3, 2)
    expected = [correlate(x[0].astype(np.float64), w.astype(np.float64), mode="valid")[0] for w in weight]
    np.testing.assert_allclose(conv2d(x, weight)[0], expected, atol=1e-12)
    np.testing.assert_allclose(conv2d(x, weight, stride=(2, 3))[0], np.stack(expected)[:, ::2, ::3], atol=1e-12)


# One entry for each form: the stages (and the permutation of its output), made for C = 6 input and F = 8 output channels.
# Padding comes before the first taps of its axis, so that one dense convolution equals the chain at the border too.
FORMS = {
    "truncated SVD": lambda: (_stage(3, 6, 1, 1), _stage(8, 3, 1, 1)),
    "spatial SVD": lambda: (_stage(3, 6, 5, 1, padding=(2, 0, 1, 0)), _stage(8, 3, 1, 3, padding=(0, 1, 0, 2))),
    "separable basis": lambda: (
        _stage(12, 1, 5, 1, groups=6, padding=(2, 0, 2, 0)),
        _stage(12, 1, 1, 3, groups=12, padding=(0, 1, 0, 1)),
        _stage(8, 12, 1, 1),
    ),
    "channel SVD": lambda: (_stage(3, 6, 5, 3, padding=(0, 1, 2, 3)), _stage(8, 3, 1, 1)),
    "Tucker-2": lambda: (_stage(2, 6, 1, 1), _stage(3, 2, 5, 3, padding=(2, 1, 2, 1)), _stage(8, 3, 1, 1)),
    "CP": lambda: (
        _stage(4, 6, 1, 1),
        _stage(4, 1, 5, 1, groups=4, padding=(2, 0, 2, 0)),
        _stage(4, 1, 1, 3, groups=4, padding=(0, 1, 0, 1)),
        _stage(8, 4, 1, 1),
    ),
    "monochromatic": lambda: (_stage(4, 6, 1, 1), _stage(8, 1, 5, 3, groups=4, padding=(2, 1, 2, 1))),
    "biclustering + SVD": lambda: (  # G = 3, H = 2, K1 = 2, K2 = 3
        _stage(3 * 2 * 2, 2, 1, 1, groups=3, input_permutation=[3, 1, 5, 0, 2, 4]),
        _stage(3 * 2 * 3, 2, 5, 3, groups=6, padding=(2, 1, 2, 1)),
        _stage(8, 3 * 3, 1, 1, groups=2, input_permutation=np.arange(18).reshape(3, 2, 3).transpose(1, 0, 2).ravel()),
    ),
    "biclustering + outer product": lambda: (  # G = 3, H = 2, K = 2
        _stage(3 * 2 * 2, 2, 1, 1, groups=3, input_permutation=[3, 1, 5, 0, 2, 4]),
        _stage(12, 1, 5, 3, groups=12, padding=(2, 1, 2, 1)),
        _stage(8, 3 * 2, 1, 1, groups=2, input_permutation=np.arange(12).reshape(3, 2, 2).transpose(1, 0, 2).ravel()),
    ),
    "flattened, l = 2, no bias": lambda: (
        _stage(4, 6, 1, 1, padding=(0, 0, 0, 0)),
        _stage(4, 1, 3, 1, groups=4, padding=(2, 0, 2, 0)),
        _stage(4, 1, 1, 3, groups=4, padding=(0, 2, 0, 2)),
        _stage(8, 4, 1, 1),
        _stage(8, 1, 3, 1, groups=8),
        _stage(8, 1, 1, 3, groups=8),
    ),
    "network decoupling": lambda: (_stage(18, 1, 5, 3, groups=6, padding=(2, 1, 2, 1)), _stage(8, 18, 1, 1)),
}


def _total_padding(chain):
    return tuple(sum(stage.padding[side] for stage in chain.stages) for side in range(4))


@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_the_dense_kernel_it_reconstructs(form, permuted):
    chain = FactorChain(FORMS[form](), RNG.permutation(8) if permuted else None)
    kernel = chain.reconstruct()
    assert kernel.dtype == np.float32 and kernel.shape[:2] == (8, 6)
    x = _weight(2, 6, 9, 11)
    expected = conv2d(x, kernel, padding=_total_padding(chain))
    output, macs = run_chain(chain, x)
    np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max())
    assert chain.macs(9, 11) == macs
    assert chain.params == sum(stage.weight.size for stage in chain.stages)


def test_input_permutation_is_the_order_in_which_a_stage_reads():
    stage = Stage(np.array([[1, 10, 100]], np.float32)[:, :, None, None], input_permutation=[2, 0, 1])
    np.testing.assert_array_equal(FactorChain((stage,)).reconstruct().ravel(), [10, 100, 1])


def test_output_permutation_names_the_channel_of_the_last_stage():
    chain = FactorChain((Stage(np.array([1, 2, 3], np.float32).reshape(3, 1, 1, 1)),), [2, 0, 1])
    np.testing.assert_array_equal(chain.reconstruct().ravel(), [3, 1, 2])


@PROPERTY
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_strides_and_dilations_compose(data, seed):
    """Kernels on one axis after the other: the composed taps lie where the stages' strides and dilations put them."""
    rng = np.random.default_rng(seed)

    def pair(low, high):
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    channels, stages, padding = 4, [], tuple(data.draw(st.integers(0, 2)) for _ in range(4))
    for i in range(data.draw(st.integers(1, 3))):
        groups = data.draw(st.sampled_from([1, 2, 4]))
        weight = rng.standard_normal((4, channels // groups, *pair(1, 3))).astype(np.float32)
        stages.append(Stage(weight, None, pair(1, 2), padding if i == 0 else (0, 0, 0, 0), pair(1, 3), groups))
    chain = FactorChain(tuple(stages))
    kernel = chain.reconstruct()

    stride, dilation, distances = np.ones(2, int), [], ([], [])
    for stage in stages:
        for axis in range(2):
            distances[axis].extend([stride[axis] * stage.dilation[axis]] * (stage.kernel[axis] > 1))
        stride = stride * stage.stride
    dilation = [int(np.gcd.reduce(d)) if d else 1 for d in distances]
    x = rng.standard_normal((1, 4, 47, 45)).astype(np.float32)
    output = run_chain(chain, x)[0]
    expected = conv2d(x, kernel, None, tuple(stride), padding, dilation)
    assert expected.shape == output.shape
    np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max())


def test_biases_leave_the_linear_part():
    weights = [_weight(4, 6, 1, 1), _weight(4, 1, 3, 1), _weight(4, 1, 1, 3)]
    plain = FactorChain(tuple(Stage(w, groups=g) for w, g in zip(weights, (1, 4, 4), strict=True)))
    biased = FactorChain(tuple(Stage(w, _weight(4), groups=g) for w, g in zip(weights, (1, 4, 4), strict=True)))
    np.testing.assert_array_equal(biased.reconstruct(), plain.reconstruct())
    x = _weight(1, 6, 7, 7)
    constant = run_chain(biased, np.zeros_like(x))[0]
    assert np.abs(constant).max() > 0.1
    np.testing.assert_allclose(run_chain(biased, x)[0] - constant, conv2d(x, plain.reconstruct()), atol=1e-5)


def test_padding_between_taps_of_one_axis_holds_inside_the_image():
    chain = FactorChain((_stage(2, 1, 3, 1, padding=(1, 0, 1, 0)), _stage(1, 2, 3, 1, padding=(1, 0, 1, 0))))
    x = _weight(1, 1, 9, 4)
    output, dense = run_chain(chain, x)[0], conv2d(x, chain.reconstruct(), padding=(2, 0, 2, 0))
    np.testing.assert_allclose(output[:, :, 1:-1], dense[:, :, 1:-1], atol=1e-5)
    assert np.abs(output - dense).max() > 1e-2


# Table 1 of Denton et al. in MACs, for the two layers and ranks of its table 2. Bare shapes: no weight is looked at.
def _bare(*shape, **more):
    return Stage(np.broadcast_to(np.float32(0), shape), **more)


@pytest.mark.parametrize("colours", [6, 12])
def test_macs_of_the_monochromatic_form(colours):
    chain = FactorChain((_bare(colours, 3, 1, 1), _bare(96, 1, 7, 7, stride=(2, 2), padding=(1, 1, 1, 1), groups=colours)))
    assert chain.macs(224, 224) == colours * 3 * 224 * 224 + 49 * 96 * 110 * 110
    assert chain.params == 3 * colours + 49 * 96


def test_macs_of_biclustering_and_svd():
    g, h, k1, k2 = 2, 2, 19, 24
    middle = _bare(g * h * k2, k1, 5, 5, groups=g * h, padding=(2, 2, 2, 2))
    chain = FactorChain((_bare(g * h * k1, 96 // g, 1, 1, groups=g), middle, _bare(256, g * k2, 1, 1, groups=h)))
    assert chain.macs(27, 27) == g * h * 27 * 27 * (96 // g * k1 + k1 * 25 * k2 + k2 * 256 // h)


def test_macs_of_biclustering_and_outer_product():
    g, h, k = 48, 2, 6
    middle = _bare(g * h * k, 1, 5, 5, groups=g * h * k, padding=(2, 2, 2, 2))
    chain = FactorChain((_bare(g * h * k, 96 // g, 1, 1, groups=g), middle, _bare(256, g * k, 1, 1, groups=h)))
    assert chain.macs(27, 27) == g * h * k * 27 * 27 * (96 // g + 25 + 256 // h)
    assert chain.params == g * h * k * (96 // g + 25 + 256 // h)


def test_relative_error():
    weight = _weight(8, 6, 1, 1)
    chain = FactorChain((Stage(weight * np.float32(0.75)),))
    assert chain.relative_error(weight) == pytest.approx(0.25)
    assert chain.relative_error(weight[:, :, 0, 0]) == pytest.approx(0.25)
    assert chain.relative_error(np.zeros_like(weight)) == float("inf")
    with pytest.raises(ValueError, match=r"of shape \(8, 6, 1, 1\), the weight of shape \(8, 6, 3, 3\)"):
        chain.relative_error(_weight(8, 6, 3, 3))


@pytest.mark.parametrize("y, x", [(0, 0), (1, 2), (2, 1)])
def test_a_weight_with_fewer_taps_than_the_chain(y, x):
    """It is held against the nearest part of the kernel; what lies around that part is error."""
    weight, kernel = _weight(8, 6, 3, 2), np.zeros((8, 6, 5, 4), np.float32)
    kernel[:, :, y : y + 3, x : x + 2] = weight
    assert FactorChain((Stage(kernel),)).relative_error(weight) == 0
    kernel[0, 0, 4, 3] += 3
    kernel[0, 0, y, x] += 4
    assert FactorChain((Stage(kernel),)).relative_error(weight) == pytest.approx(5 / np.linalg.norm(weight), rel=1e-5)
    with pytest.raises(ValueError, match="taps that the metric covariance of the weight does not know"):
        FactorChain((Stage(kernel),)).relative_error(weight, Covariance(np.eye(36)))
    kernel[0, 0, 4, 3] = 0
    plain = FactorChain((Stage(kernel),)).relative_error(weight)
    assert FactorChain((Stage(kernel),)).relative_error(weight, Covariance(np.eye(36))) == pytest.approx(plain)


def test_stages_are_float32():
    stage = Stage(np.ones((2, 2, 1, 1)), np.ones(2))
    assert stage.weight.dtype == stage.bias.dtype == np.float32


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Stage(np.ones((2, 2))), "must be OIHW"),
        (lambda: Stage(np.ones((3, 1, 1, 1)), groups=2), "do not divide into 2 groups"),
        (lambda: Stage(np.ones((3, 1, 1, 1)), np.ones(2)), "does not fit 3 output channels"),
        (lambda: Stage(np.ones((3, 2, 1, 1)), input_permutation=[0, 0]), "not a permutation of 2 channels"),
        (lambda: FactorChain(()), "at least one stage"),
        (lambda: FactorChain((_stage(3, 2, 1, 1), _stage(3, 2, 1, 1))), "3 output channels is followed by one that reads 2"),
        (lambda: FactorChain((_stage(3, 2, 1, 1),), [0, 1]), "not a permutation of 3 channels"),
        (lambda: FactorChain((_stage(3, 2, 5, 1),)).macs(4, 4), "does not fit an input of 4 x 4 pixels"),
    ],
)
def test_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()
