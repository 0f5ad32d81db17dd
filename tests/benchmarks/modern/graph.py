"""Builds a network of today as ONNX, operator by operator, with random weights that keep activations at their size.

Every convolution has the bias that its batch norm becomes, as exporters write it. Shapes, parameters and multiply-accumulates are counted
while the network is built. The parameters are those that were trained: a batch norm has two for each channel.
"""
from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
# The mean square of what an activation gives, for inputs of mean 0 and variance 1.
MOMENTS = {"": 1.0, "relu": 0.5, "relu6": 0.5, "silu": 0.356, "hardswish": 0.35, "gelu": 0.425, "sigmoid": 0.29, "hardsigmoid": 0.28}
Pads = Sequence[int]  # top, left, bottom, right


def divisible(channels: float, by: int = 8, least: float = 0.9) -> int:
    """Channels in whole eights, as MobileNets round them: never below `least` of what was asked for."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < least * channels else rounded


class Graph:
    """A network that grows from its input.

    Parameters
    ----------
    name : str
        Seeds the weights too.
    size : int
        Of its square images.
    batch : int
    weights : bool
        False for a network that is only counted: its model lacks them.

    Attributes
    ----------
    input : str
        The value to begin with. Values are names; `shapes` has their shapes.
    params, macs : int
        Trained parameters, and multiply-accumulates of one image: convolutions, fully connected layers, products of matrices.
    convolutions : list of tuple
        (channels, filters, size, kernel, stride, pads, dilation, groups) of each, as they come; size is (height, width), kernel alike.
    """

    input = "image"

    def __init__(self, name: str, size: int, batch: int = 1, weights: bool = True) -> None:
        self.name, self.batch, self._has_weights = name, batch, weights
        self.shapes: dict[str, tuple[int, ...]] = {self.input: (batch, 3, size, size)}
        self.params = self.macs = 0
        self.convolutions: list[tuple[Any, ...]] = []
        self._moments = {self.input: 1.0}  # mean squares, about
        self._rng = np.random.default_rng(zlib.crc32(name.encode()))
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The network that ends in these values."""
        def info(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name])

        graph = helper.make_graph(self._nodes, self.name, [info(self.input)], [info(name) for name in outputs], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="tenfold")

    def channels(self, x: str) -> int:
        """Of an image or a row of tokens."""
        return self.shapes[x][1] if len(self.shapes[x]) == 4 else self.shapes[x][-1]

    def node(self, kind: str, inputs: Sequence[str], shape: Sequence[int], moment: float = 1.0, **attributes: Any) -> str:
        """An operator of one output of this shape.

        Parameters
        ----------
        kind : str
            Of ONNX.
        inputs : sequence of str
        shape : sequence of int
        moment : float
            The mean square of the output, about.
        **attributes
            Of the operator.
        """
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        self.shapes[name], self._moments[name] = tuple(shape), moment
        return name

    def constant(self, array: np.ndarray, trained: bool = True) -> str:
        """An initializer; what is trained counts as parameters."""
        name = f"weight_{len(self._weights)}"
        if self._has_weights:
            self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        self.params += array.size if trained else 0
        return name

    def _normal(self, shape: Sequence[int], scale: float, mean: float = 0.0) -> np.ndarray:
        if not self._has_weights:
            return np.broadcast_to(np.float32(0), shape)
        return self._rng.standard_normal(tuple(shape), "float32") * np.float32(scale) + np.float32(mean)

    def _vector(self, length: int, scale: float = 0.1, mean: float = 0.0, trained: bool = True) -> str:
        return self.constant(self._normal((length,), scale, mean), trained)

    def _weight(self, shape: Sequence[int], fan_in: int, moment: float, scale: float) -> str:
        # He et al. (2015): outputs of variance `scale` squared, so that errors don't drown.
        return self.constant(self._normal(shape, scale / math.sqrt(fan_in * moment)))

    # Layers

    def conv(self, x: str, filters: int, kernel: int | tuple[int, int] = 3, stride: int = 1, act: str = "", *, groups: int = 1,
             dilation: int = 1, pads: int | Pads | None = None, norm: bool = True, bias: bool = False, scale: float = 1.0) -> str:
        """A convolution with its batch norm and activation.

        Parameters
        ----------
        x : str
        filters : int
        kernel : int or (int, int)
        stride : int
        act : str
            See `activation`.
        groups, dilation : int
        pads : int or sequence of int, optional
            Default: half of the kernel that dilation makes. "Same" padding that is not even: `same`.
        norm : bool
            Whether a batch norm follows, which is folded.
        bias : bool
            Whether the convolution has a bias of its own.
        scale : float
            Of what comes out.
        """
        batch, channels, height, width = self.shapes[x]
        ky, kx = (kernel, kernel) if isinstance(kernel, int) else kernel
        if pads is None:
            pads = (dilation * (ky // 2), dilation * (kx // 2)) * 2
        top, left, bottom, right = (pads,) * 4 if isinstance(pads, int) else pads
        out = ((height + top + bottom - dilation * (ky - 1) - 1) // stride + 1,
               (width + left + right - dilation * (kx - 1) - 1) // stride + 1)
        inputs = [x, self._weight((filters, channels // groups, ky, kx), channels // groups * ky * kx, self._moments[x], scale)]
        if norm or bias:
            inputs.append(self._vector(filters, 0.1 * scale, trained=False))
            self.params += 2 * filters * norm + filters * bias
        self.macs += filters * channels // groups * ky * kx * out[0] * out[1]
        self.convolutions.append((channels, filters, (height, width), (ky, kx), stride, (top, left, bottom, right), dilation, groups))
        y = self.node("Conv", inputs, (batch, filters, *out), scale**2, kernel_shape=[ky, kx], strides=[stride] * 2,
                      pads=[top, left, bottom, right], dilations=[dilation] * 2, group=groups)
        return self.activation(y, act)

    def depthwise(self, x: str, kernel: int = 3, stride: int = 1, act: str = "", **options: Any) -> str:
        """A convolution of each channel by itself."""
        return self.conv(x, self.channels(x), kernel, stride, act, groups=self.channels(x), **options)

    def same(self, x: str, kernel: int, stride: int) -> Pads:
        """The pads of TensorFlow's "same": the odd one stands at the end."""
        size = self.shapes[x][2]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return (total // 2, total // 2, total - total // 2, total - total // 2)

    def transposed(self, x: str, filters: int, kernel: int = 2, stride: int = 2, act: str = "", *, norm: bool = False,
                   bias: bool = True) -> str:
        """A transposed convolution whose kernel is its stride.

        Parameters
        ----------
        x : str
        filters, kernel, stride : int
        act : str
        norm, bias : bool
            As of `conv`.
        """
        batch, channels, height, width = self.shapes[x]
        inputs = [x, self._weight((channels, filters, kernel, kernel), channels, self._moments[x], 1.0),
                  self._vector(filters, trained=False)]
        self.params += 2 * filters * norm + filters * bias
        self.macs += channels * filters * kernel**2 * height * width
        y = self.node("ConvTranspose", inputs, (batch, filters, height * stride, width * stride), kernel_shape=[kernel] * 2,
                      strides=[stride] * 2)
        return self.activation(y, act)

    def linear(self, x: str, features: int, act: str = "", *, bias: bool = True, scale: float = 1.0) -> str:
        """A fully connected layer: of rows (Gemm), or of the last axis of tokens (MatMul and Add).

        Parameters
        ----------
        x : str
        features : int
        act : str
        bias : bool
        scale : float
            Of what comes out.
        """
        *rows, channels = self.shapes[x]
        self.macs += math.prod(rows) // self.batch * channels * features
        if len(rows) == 1:
            inputs = [x, self._weight((features, channels), channels, self._moments[x], scale)]
            y = self.node("Gemm", inputs + [self._vector(features)] * bias, (*rows, features), scale**2, transB=1)
        else:
            y = self.node("MatMul", [x, self._weight((channels, features), channels, self._moments[x], scale)], (*rows, features), scale**2)
            if bias:
                y = self.node("Add", [y, self._vector(features, 0.1 * scale)], self.shapes[y], scale**2)
        return self.activation(y, act)

    def batch_norm(self, x: str) -> str:
        """A batch norm that no convolution takes in."""
        length = self.channels(x)
        vectors = [self._vector(length, 0.1, 1.0), self._vector(length), self._vector(length, trained=False),
                   self.constant(np.full(length, self._moments[x], "float32"), trained=False)]
        return self.node("BatchNormalization", [x, *vectors], self.shapes[x])

    def layer_norm(self, x: str) -> str:
        """Over the last axis."""
        length = self.shapes[x][-1]
        return self.node("LayerNormalization", [x, self._vector(length, 0.1, 1.0), self._vector(length)], self.shapes[x], epsilon=1e-6)

    def layer_scale(self, x: str, scale: float, shape: Sequence[int]) -> str:
        """Each channel times a number of its own (ConvNeXt, FastViT), trained."""
        return self.node("Mul", [x, self.constant(self._normal(shape, 0.1 * scale, scale))], self.shapes[x], self._moments[x] * scale**2)

    # Element by element

    def activation(self, x: str, act: str) -> str:
        """Relu, relu6, silu, hardswish, gelu, sigmoid, hardsigmoid as PyTorch's exporter writes them; "" for none."""
        shape, moment = self.shapes[x], MOMENTS[act] * (1.0 if "sig" in act else self._moments[x])
        if act == "":
            return x
        if act == "relu":
            return self.node("Relu", [x], shape, moment)
        if act == "relu6":
            return self.node("Clip", [x, self._number(0.0), self._number(6.0)], shape, moment)
        if act == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x], shape)], shape, moment)
        if act == "hardswish":
            return self.node("HardSwish", [x], shape, moment)
        if act == "sigmoid":
            return self.node("Sigmoid", [x], shape, moment)
        if act == "hardsigmoid":
            return self.node("HardSigmoid", [x], shape, moment, alpha=1 / 6, beta=0.5)
        erf = self.node("Erf", [self.node("Div", [x, self._number(math.sqrt(2))], shape)], shape)
        product = self.node("Mul", [x, self.node("Add", [erf, self._number(1.0)], shape)], shape)
        return self.node("Mul", [product, self._number(0.5)], shape, moment)

    def _number(self, value: float) -> str:
        name = f"number_{value:g}"
        if all(tensor.name != name for tensor in self._weights):
            self._weights.append(numpy_helper.from_array(np.float32(value), name))
        return name

    def add(self, *values: str) -> str:
        """The sum, from the left."""
        total = values[0]
        for x in values[1:]:
            total = self.node("Add", [total, x], self.shapes[total], self._moments[total] + self._moments[x])
        return total

    def times(self, x: str, y: str, moment: float | None = None) -> str:
        """The product; `y` may be one number a channel."""
        return self.node("Mul", [x, y], self.shapes[x], self._moments[x] * self._moments[y] if moment is None else moment)

    def squeeze_excite(self, x: str, squeezed: int, act: str = "relu", gate: str = "hardsigmoid", norm: bool = False) -> str:
        """Hu et al. (2018): channels weighted by what two small layers make of their averages.

        Parameters
        ----------
        x : str
        squeezed : int
            Filters of the first layer.
        act, gate : str
            Activations of the two layers.
        norm : bool
            Whether the first has a batch norm too.
        """
        middle = self.conv(self.average(x), squeezed, 1, act=act, norm=norm, bias=True)
        return self.times(x, self.conv(middle, self.channels(x), 1, act=gate, norm=False, bias=True))

    # Pooling and places

    def average(self, x: str) -> str:
        """The average of each channel."""
        return self.node("GlobalAveragePool", [x], (*self.shapes[x][:2], 1, 1), max(0.1, 0.3 * self._moments[x]))

    def max_pool(self, x: str, kernel: int = 3, stride: int = 2, pad: int = 0, ceil: bool = False) -> str:
        """The largest of each window.

        Parameters
        ----------
        x : str
        kernel, stride, pad : int
        ceil : bool
            Whether a last window may reach beyond the image.
        """
        batch, channels, *size = self.shapes[x]
        out = [(extent + 2 * pad - kernel + (stride - 1 if ceil else 0)) // stride + 1 for extent in size]
        return self.node("MaxPool", [x], (batch, channels, *out), 1.5 * self._moments[x], kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         pads=[pad] * 4, ceil_mode=int(ceil))

    def average_pool(self, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        """The average of each window, padding included."""
        batch, channels, *size = self.shapes[x]
        out = [(extent + 2 * pad - kernel) // stride + 1 for extent in size]
        return self.node("AveragePool", [x], (batch, channels, *out), 0.5 * self._moments[x], kernel_shape=[kernel] * 2, pads=[pad] * 4,
                         strides=[stride] * 2, count_include_pad=1)

    def resize(self, x: str, size: Sequence[int], mode: str = "nearest") -> str:
        """To another size: nearest neighbours (of whole multiples), or linear with half pixels."""
        batch, channels, *_ = self.shapes[x]
        sizes = self.constant(np.array([batch, channels, *size], "int64"), trained=False)
        modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if mode == "nearest" else {
            "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", [x, "", "", sizes], (batch, channels, *size), self._moments[x], mode=mode, **modes)

    def concat(self, *values: str) -> str:
        """Along the channels."""
        batch, _, *size = self.shapes[values[0]]
        channels = [self.shapes[x][1] for x in values]
        moment = sum(count * self._moments[x] for count, x in zip(channels, values, strict=True)) / sum(channels)
        return self.node("Concat", values, (batch, sum(channels), *size), moment, axis=1)

    def split(self, x: str, *channels: int) -> list[str]:
        """Into parts of so many channels."""
        batch, _, *size = self.shapes[x]
        names = [f"split_{len(self._nodes)}_{i}" for i in range(len(channels))]
        sizes = self.constant(np.array(channels, "int64"), trained=False)
        self._nodes.append(helper.make_node("Split", [x, sizes], names, f"split_{len(self._nodes)}", axis=1))
        for name, count in zip(names, channels, strict=True):
            self.shapes[name], self._moments[name] = (batch, count, *size), self._moments[x]
        return names

    def slice(self, x: str, begin: int, end: int, axis: int = 1) -> str:
        """A part of one axis."""
        shape = list(self.shapes[x])
        shape[axis] = end - begin
        bounds = [self.constant(np.array([value], "int64"), trained=False) for value in (begin, end, axis)]
        return self.node("Slice", [x, *bounds], shape, self._moments[x])

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.node("Reshape", [x, self.constant(np.array(shape, "int64"), trained=False)], shape, self._moments[x])

    def transpose(self, x: str, order: Sequence[int]) -> str:
        return self.node("Transpose", [x], [self.shapes[x][axis] for axis in order], self._moments[x], perm=list(order))

    def flatten(self, x: str) -> str:
        """To one row an image."""
        return self.node("Flatten", [x], (self.batch, math.prod(self.shapes[x][1:])), self._moments[x])

    def shuffle(self, x: str, groups: int) -> str:
        """Zhang et al. (2018): channels of the groups in turns."""
        batch, channels, *size = self.shapes[x]
        y = self.transpose(self.reshape(x, (batch, groups, channels // groups, *size)), (0, 2, 1, 3, 4))
        return self.reshape(y, (batch, channels, *size))

    def softmax(self, x: str, axis: int = -1) -> str:
        return self.node("Softmax", [x], self.shapes[x], 1.0 / self.shapes[x][axis], axis=axis)

    def attention(self, tokens: str, heads: int, *, bias: bool, scale: float = 1.0) -> str:
        """Self-attention of tokens (batch, number, channels), with its four projections.

        Parameters
        ----------
        tokens : str
        heads : int
        bias : bool
            Whether the first three projections have one.
        scale : float
            Of what comes out.
        """
        batch, number, width = self.shapes[tokens]
        rows = self.reshape(self.linear(tokens, 3 * width, bias=bias), (batch, number, 3, heads, width // heads))
        parts = self.transpose(rows, (2, 0, 3, 1, 4))
        q, k, v = (self.reshape(self.slice(parts, i, i + 1, axis=0), (batch, heads, number, width // heads)) for i in range(3))
        scaled = self.node("Mul", [q, self._number((width // heads) ** -0.5)], self.shapes[q])
        weights = self.softmax(self._matmul(scaled, self.transpose(k, (0, 1, 3, 2))))
        mixed = self.transpose(self._matmul(weights, v, moment=0.1), (0, 2, 1, 3))
        return self.linear(self.reshape(mixed, (batch, number, width)), width, scale=scale)

    def _matmul(self, x: str, y: str, moment: float = 1.0) -> str:
        shape = (*self.shapes[x][:-1], self.shapes[y][-1])
        self.macs += math.prod(shape) // self.batch * self.shapes[x][-1]
        return self.node("MatMul", [x, y], shape, moment)

    def classifier(self, x: str, hidden: int = 0, act: str = "") -> str:
        """The averages of all channels, a hidden layer where it has a width, and a fully connected layer for 1000 classes."""
        row = self.flatten(self.average(x))
        return self.linear(self.linear(row, hidden, act) if hidden else row, 1000)


def blocks(*stages: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Rows of a paper's table, (number of blocks, ..., stride), as one row a block, (..., stride): the first block alone has the stride."""
    return [(*row, stride if i == 0 else 1) for number, *row, stride in stages for i in range(number)]
