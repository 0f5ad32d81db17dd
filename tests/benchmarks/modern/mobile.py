"""Networks of inverted residual blocks: MobileNets, MnasNet, EfficientNets, MixNet, ReXNet, GhostNet."""
from __future__ import annotations

from collections.abc import Sequence

from modern.graph import Graph, blocks, divisible


def inverted(net: Graph, x: str, filters: int, middle: int, kernel: int, stride: int, act: str, *, squeezed: int = 0,
             gate: str = "sigmoid", dilation: int = 1, squeeze_act: str = "", same: bool = False) -> str:
    """Sandler et al. (2018): pointwise to `middle` channels, depthwise, pointwise; added to what came in where sizes are the same.

    Parameters
    ----------
    net : Graph
    x : str
    filters, middle, kernel, stride : int
    act : str
    squeezed : int
        Filters of squeeze and excitation behind the depthwise layer; 0: none.
    gate, squeeze_act : str
        Its activations; the second is `act` by default.
    dilation : int
        Of the depthwise layer, which has no stride then.
    same : bool
        Whether padding is TensorFlow's.
    """
    y = net.conv(x, middle, 1, act=act) if middle != net.channels(x) else x
    step = 1 if dilation > 1 else stride
    y = net.depthwise(y, kernel, step, act, dilation=dilation, pads=net.same(y, kernel, step) if same else None)
    if squeezed:
        y = net.squeeze_excite(y, squeezed, squeeze_act or act, gate)
    y = net.conv(y, filters, 1)
    return net.add(y, x) if stride == 1 and filters == net.channels(x) else y


def mobilenet_v2(net: Graph) -> list[str]:
    """Sandler et al. (2018), as torchvision has it."""
    x = net.conv(net.input, 32, 3, 2, "relu6")
    for expansion, filters, stride in blocks((1, 1, 16, 1), (2, 6, 24, 2), (3, 6, 32, 2), (4, 6, 64, 2), (3, 6, 96, 1), (3, 6, 160, 2),
                                             (1, 6, 320, 1)):
        x = inverted(net, x, filters, expansion * net.channels(x), 3, stride, "relu6")
    return [net.classifier(net.conv(x, 1280, 1, act="relu6"))]


# Howard et al. (2019), table 1: kernel, middle, filters, whether it has squeeze and excitation, activation, stride.
MOBILENET_V3 = (
    (3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1), (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1), (3, 240, 80, False, "hardswish", 2), (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1), (3, 184, 80, False, "hardswish", 1), (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1), (5, 672, 160, True, "hardswish", 2), (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1))


def mobilenet_v3_features(net: Graph, dilated: bool = False, width: float = 1.0, squeezing: bool = True, since: int = 8) -> list[str]:
    """What MobileNet-v3 large has at an eighth of the size, at a sixteenth and so on: the values before each stride, and the last one.

    Parameters
    ----------
    net : Graph
    dilated : bool
        Whether the last stage is dilated instead of strided, as for segmentation.
    width : float
        A factor on all channels.
    squeezing : bool
        Whether it has squeeze and excitation.
    since : int
        The first of these: 4 for a quarter of the size.
    """
    x, features = net.conv(net.input, divisible(16 * width), 3, 2, "hardswish"), []
    for kernel, middle, filters, squeezed, act, stride in MOBILENET_V3:
        if stride == 2 and since * net.shapes[x][2] <= net.shapes[net.input][2]:
            features.append(x)
        dilation = 2 if dilated and filters == 160 else 1
        wide = divisible(middle * width)
        narrow = divisible(wide // 4) if squeezed and squeezing else 0
        x = inverted(net, x, divisible(filters * width), wide, kernel, stride, act, squeezed=narrow, gate="hardsigmoid", dilation=dilation,
                     squeeze_act="relu")
    return [*features, net.conv(x, divisible(960 * width), 1, act="hardswish")]


def mobilenet_v3_large(net: Graph) -> list[str]:
    """Howard et al. (2019), as torchvision has it."""
    return [net.classifier(mobilenet_v3_features(net)[-1], 1280, "hardswish")]


def mnasnet1_0(net: Graph) -> list[str]:
    """Tan et al. (2019), MnasNet-B1 as torchvision has it."""
    x = net.conv(net.depthwise(net.conv(net.input, 32, 3, 2, "relu"), act="relu"), 16, 1)
    for kernel, expansion, filters, stride in blocks((3, 3, 3, 24, 2), (3, 5, 3, 40, 2), (3, 5, 6, 80, 2), (2, 3, 6, 96, 1),
                                                     (4, 5, 6, 192, 2), (1, 3, 6, 320, 1)):
        x = inverted(net, x, filters, expansion * net.channels(x), kernel, stride, "relu")
    return [net.classifier(net.conv(x, 1280, 1, act="relu"))]


EFFICIENTNET_B0 = blocks((1, 3, 1, 16, 1), (2, 3, 6, 24, 2), (2, 5, 6, 40, 2), (3, 3, 6, 80, 2), (3, 5, 6, 112, 1), (4, 5, 6, 192, 2),
                         (1, 3, 6, 320, 1))  # kernel, expansion, filters, stride


def efficientnet_b0(net: Graph) -> list[str]:
    """Tan and Le (2019), as torchvision has it."""
    x = net.conv(net.input, 32, 3, 2, "silu")
    for kernel, expansion, filters, stride in EFFICIENTNET_B0:
        channels = net.channels(x)
        x = inverted(net, x, filters, expansion * channels, kernel, stride, "silu", squeezed=channels // 4)
    return [net.classifier(net.conv(x, 1280, 1, act="silu"))]


def efficientnet_lite0(net: Graph) -> list[str]:
    """EfficientNet-Lite0 as TensorFlow has it: without squeeze and excitation, ReLU6, padding at the end."""
    x = net.conv(net.input, 32, 3, 2, "relu6", pads=net.same(net.input, 3, 2))
    for kernel, expansion, filters, stride in EFFICIENTNET_B0:
        x = inverted(net, x, filters, expansion * net.channels(x), kernel, stride, "relu6", same=True)
    return [net.classifier(net.conv(x, 1280, 1, act="relu6"))]


def _mixed(net: Graph, x: str, filters: int, kernels: Sequence[int], groups: int, stride: int, act: str) -> str:
    """Tan and Le (2019): each of `groups` parts of the channels by itself (depthwise where kernels are given), then one batch norm."""
    if groups == 1:
        return net.conv(x, filters, 1, act=act) if not kernels else net.depthwise(x, kernels[0], stride, act)
    parts = net.split(x, *[net.channels(x) // groups] * groups)
    if kernels:
        made = [net.depthwise(part, kernel, stride, norm=False) for part, kernel in zip(parts, kernels, strict=True)]
    else:
        made = [net.conv(part, filters // groups, 1, norm=False) for part in parts]
    return net.activation(net.batch_norm(net.concat(*made)), act)


# Kernels, groups of the first and the last pointwise layer, expansion, filters, share of squeeze and excitation, activation, stride.
MIXNET_S = blocks(
    (1, (3,), 2, 2, 6, 24, 0, "relu", 2), (1, (3,), 2, 2, 3, 24, 0, "relu", 1), (1, (3, 5, 7), 1, 1, 6, 40, 0.5, "silu", 2),
    (3, (3, 5), 2, 2, 6, 40, 0.5, "silu", 1), (1, (3, 5, 7), 1, 2, 6, 80, 0.25, "silu", 2), (2, (3, 5), 1, 2, 6, 80, 0.25, "silu", 1),
    (1, (3, 5, 7), 2, 2, 6, 120, 0.5, "silu", 1), (2, (3, 5, 7, 9), 2, 2, 3, 120, 0.5, "silu", 1),
    (1, (3, 5, 7, 9, 11), 1, 1, 6, 200, 0.5, "silu", 2), (2, (3, 5, 7, 9), 1, 2, 6, 200, 0.5, "silu", 1))


def mixnet_s(net: Graph) -> list[str]:
    """Tan and Le (2019), MixNet-S as timm has it: depthwise layers of several kernels side by side, concatenated before the batch norm."""
    x = net.conv(net.input, 16, 3, 2, "relu")
    x = net.add(net.conv(net.depthwise(x, act="relu"), 16, 1), x)
    for kernels, first, last, expansion, filters, share, act, stride in MIXNET_S:
        channels = net.channels(x)
        y = _mixed(net, x, expansion * channels, (), first, 1, act)
        y = _mixed(net, y, 0, kernels, len(kernels), stride, act)
        if share:
            y = net.squeeze_excite(y, int(channels * share), "silu", "sigmoid")
        y = _mixed(net, y, filters, (), last, 1, "")
        x = net.add(y, x) if stride == 1 and filters == channels else y
    return [net.classifier(net.conv(x, 1536, 1, act="relu"))]


def rexnet_100(net: Graph) -> list[str]:
    """Han et al. (2020), as timm has it: a block's first channels are added to what came in, the others are concatenated."""
    x = net.conv(net.input, 32, 3, 2, "silu")
    for number, stride in enumerate([1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]):
        channels, filters = net.channels(x), round(16 + number * 180 / 16)
        y = net.conv(x, 6 * channels, 1, act="silu") if number else x
        y = net.depthwise(y, 3, stride)
        if number >= 3:
            y = net.squeeze_excite(y, net.channels(y) // 12, "relu", "sigmoid", norm=True)
        y = net.conv(net.activation(y, "relu6"), filters, 1)
        if stride == 1 and channels <= filters:
            y = net.concat(net.add(net.slice(y, 0, channels), x), net.slice(y, channels, filters))
        x = y
    return [net.classifier(net.conv(x, 1280, 1, act="silu"))]


# Kernel, middle, filters, share of squeeze and excitation, stride.
GHOSTNET = ((3, 16, 16, 0, 1), (3, 48, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 0.25, 2), (5, 120, 40, 0.25, 1), (3, 240, 80, 0, 2),
            (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 0.25, 1), (3, 672, 112, 0.25, 1),
            (5, 672, 160, 0.25, 2), (5, 960, 160, 0, 1), (5, 960, 160, 0.25, 1), (5, 960, 160, 0, 1), (5, 960, 160, 0.25, 1))


def _ghost(net: Graph, x: str, filters: int, act: str) -> str:
    """Half of the filters from all channels, the other half from these by a depthwise layer."""
    half = net.conv(x, filters // 2, 1, act=act)
    return net.concat(half, net.depthwise(half, act=act))


def ghostnet_100(net: Graph) -> list[str]:
    """Han et al. (2020), as timm has it."""
    x = net.conv(net.input, 16, 3, 2, "relu")
    for kernel, middle, filters, share, stride in GHOSTNET:
        y = _ghost(net, x, middle, "relu")
        if stride == 2:
            y = net.depthwise(y, kernel, 2)
        if share:
            y = net.squeeze_excite(y, divisible(middle * share, 4))
        y = _ghost(net, y, filters, "")
        if stride == 2 or filters != net.channels(x):
            x = net.conv(net.depthwise(x, kernel, stride), filters, 1)
        x = net.add(y, x)
    x = net.average(net.conv(x, 960, 1, act="relu"))
    return [net.linear(net.flatten(net.conv(x, 1280, 1, act="relu", norm=False, bias=True)), 1000)]
