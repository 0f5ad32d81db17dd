"""Convolution by its definition in float64, and random layers: what the tests of this folder are held against."""
from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Covariance, FactorChain, Layer, Mahalanobis

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """NCHW and OIHW to NCHW, tap by tap."""
    top, left, bottom, right = padding
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    outputs, width, rows, columns = weight.shape
    h = (x.shape[2] - dilation[0] * (rows - 1) - 1) // stride[0] + 1
    w = (x.shape[3] - dilation[1] * (columns - 1) - 1) // stride[1] + 1
    y = np.zeros((len(x), outputs, h, w))
    for f in range(outputs):
        group = f // (outputs // groups)
        for i in range(rows):
            for j in range(columns):
                ys, xs = i * dilation[0], j * dilation[1]
                pixels = x[:, group * width : (group + 1) * width, ys : ys + stride[0] * h : stride[0], xs : xs + stride[1] * w : stride[1]]
                y[:, f] += np.einsum("nchw,c->nhw", pixels, weight[f, :, i, j].astype(np.float64))
    return y if bias is None else y + np.asarray(bias, np.float64)[:, None, None]


def run_chain(chain: FactorChain, x):
    """The output of the chain, and the multiply-accumulates that it took for one image."""
    macs = 0
    for stage in chain.stages:
        x = x if stage.input_permutation is None else x[:, stage.input_permutation]
        x = conv2d(x, stage.weight, stage.bias, stage.stride, stage.padding, stage.dilation, stage.groups)
        macs += x[0, 0].size * stage.weight.size
    return (x if chain.permutation is None else x[:, chain.permutation]), macs


def run_layer(layer: Layer, weight, x, bias=None):
    weight = weight.reshape(weight.shape + (1, 1)) if layer.kind == "dense" else weight
    return conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def sub_ranks(method: str, layer: Layer, part: float) -> tuple[int, ...]:
    """Ranks that fit, each at most this part of the highest: the numbers of clusters are lowered until they divide the channels."""
    ranks = [max(1, round(limit * part)) for limit in METHODS[method].max_ranks(layer)]
    if method == "monochromatic":
        return (_divisor(layer.out_channels, ranks[0]),)
    if method.startswith("biclustering"):
        g, h = _divisor(layer.in_channels, ranks[0]), _divisor(layer.out_channels, ranks[1])
        c, f, p = layer.in_channels // g, layer.out_channels // h, layer.kernel[0] * layer.kernel[1]
        limits = (min(c, f * p), min(f, c * p)) if method == "biclustering_svd" else (min(c * f, c * p, f * p),)
        return g, h, *(max(1, round(limit * part)) for limit in limits)
    return tuple(ranks)


def _divisor(number: int, limit: int) -> int:
    return next(d for d in range(limit, 0, -1) if number % d == 0)


def kernel_of(chain: FactorChain, layer: Layer):
    """The chain's kernel in the shape of the layer's weight; taps that only the chain has must be zero.

    The chain pads by more than the layer where its kernel begins before the weight's.
    """
    kernel, begin, scale = chain.reconstruct(), [0, 0], [1, 1]
    for stage in chain.stages:
        for axis in range(2):
            begin[axis] += stage.padding[axis] * scale[axis]
            scale[axis] *= stage.stride[axis]
    y, x = ((begin[axis] - layer.padding[axis]) // layer.dilation[axis] for axis in range(2))
    rows, columns = layer.kernel
    part = kernel[:, :, y : y + rows, x : x + columns]
    assert np.count_nonzero(part) == np.count_nonzero(kernel)
    return part.reshape(layer.weight_shape)


def random_weight(layer: Layer, seed: int):
    return np.random.default_rng(seed).standard_normal(layer.weight_shape).astype(np.float32)


def random_metrics(layer: Layer, seed: int) -> tuple[Covariance, Mahalanobis]:
    """The moment of correlated patches with a mean, fewer of them than would make it regular; and uneven alphas."""
    rng, size = np.random.default_rng(seed), int(np.prod(layer.weight_shape[1:]))
    patches = rng.standard_normal((size // 2 + 1, size)) @ rng.standard_normal((size, size)) / np.sqrt(size) + rng.random(size)
    return Covariance(patches.T @ patches / len(patches)), Mahalanobis(np.exp(rng.standard_normal(layer.weight_shape)))


def conv_layer(f, c, y, x, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), size=(9, 11), batch=1, **more) -> Layer:
    """A convolution with the output size that its input size makes."""
    top, left, bottom, right = padding
    h = (size[0] + top + bottom - dilation[0] * (y - 1) - 1) // stride[0] + 1
    w = (size[1] + left + right - dilation[1] * (x - 1) - 1) // stride[1] + 1
    return Layer("conv", "conv2d", (f, c, y, x), stride, padding, dilation, input_size=size, output_size=(h, w), batch=batch, **more)


@st.composite
def layers(draw, method: str) -> Layer:
    """A layer that the method can factor, of any geometry."""
    def number(low, high):
        return draw(st.integers(low, high))

    if METHODS[method].kind == "dense":
        return Layer("fc", "dense", (number(2, 12), number(2, 12)), batch=number(1, 3))
    kernels = [(3, 3), (5, 3), (1, 4), (2, 1), (3, 2)] + [(1, 1)] * (method == "channel_svd")
    y, x = draw(st.sampled_from(kernels))
    return conv_layer(
        number(3 if method == "prune" else 2, 7),
        number(2, 6),
        y,
        x,
        (number(1, 3), number(1, 3)),
        tuple(number(0, 3) for _ in range(4)),
        (number(1, 2), number(1, 3)),
        (number(9, 13), number(10, 15)),
        number(1, 2),
    )
