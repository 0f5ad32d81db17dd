"""Networks whose outputs are maps or boxes: segmentation, detection, text detection."""
from __future__ import annotations

import numpy as np
from modern.graph import Graph
from modern.mobile import mobilenet_v3_features


def deeplabv3_mobilenet_v3_large(net: Graph) -> list[str]:
    """Chen et al. (2017) on a dilated MobileNet-v3, as torchvision has it: 21 classes."""
    x = mobilenet_v3_features(net, dilated=True)[-1]
    size = net.shapes[x][2:]
    parts = [net.conv(x, 256, 1, act="relu"), *(net.conv(x, 256, 3, act="relu", dilation=rate) for rate in (12, 24, 36))]
    parts.append(net.resize(net.conv(net.average(x), 256, 1, act="relu"), size, "linear"))
    y = net.conv(net.conv(net.concat(*parts), 256, 1, act="relu"), 256, 3, act="relu")
    return [net.resize(net.conv(y, 21, 1, norm=False, bias=True), net.shapes[net.input][2:], "linear")]


def lraspp_mobilenet_v3_large(net: Graph) -> list[str]:
    """Howard et al. (2019), section 6.4, as torchvision has it: 21 classes."""
    low, _, high = mobilenet_v3_features(net, dilated=True)
    y = net.times(net.conv(high, 128, 1, act="relu"), net.conv(net.average(high), 128, 1, act="sigmoid", norm=False))
    y = net.resize(y, net.shapes[low][2:], "linear")
    sides = [net.conv(one, 21, 1, norm=False, bias=True) for one in (low, y)]
    return [net.resize(net.add(*sides), net.shapes[net.input][2:], "linear")]


def unet(net: Graph) -> list[str]:
    """Ronneberger et al. (2015) with padding, batch norm and 32 channels at first, as in the brain segmentation of PyTorch's hub."""
    def pair(x: str, filters: int) -> str:
        return net.conv(net.conv(x, filters, 3, act="relu"), filters, 3, act="relu")

    x, left = net.input, []
    for filters in (32, 64, 128, 256):
        left.append(pair(x, filters))
        x = net.max_pool(left[-1], 2, 2)
    x = pair(x, 512)
    for filters in (256, 128, 64, 32):
        x = pair(net.concat(net.transposed(x, filters), left.pop()), filters)
    return [net.conv(x, 1, 1, act="sigmoid", norm=False, bias=True)]


def _c2f(net: Graph, x: str, filters: int, repeats: int, shortcut: bool) -> str:
    """YOLOv8's stage: half of the channels through bottlenecks, all that they give concatenated."""
    parts = net.split(net.conv(x, filters, 1, act="silu"), filters // 2, filters // 2)
    for _ in range(repeats):
        y = net.conv(net.conv(parts[-1], filters // 2, 3, act="silu"), filters // 2, 3, act="silu")
        parts.append(net.add(parts[-1], y) if shortcut else y)
    return net.conv(net.concat(*parts), filters, 1, act="silu")


def _sppf(net: Graph, x: str, filters: int) -> str:
    parts = [net.conv(x, filters // 2, 1, act="silu")]
    for _ in range(3):
        parts.append(net.max_pool(parts[-1], 5, 1, 2))
    return net.conv(net.concat(*parts), filters, 1, act="silu")


def yolov8n(net: Graph) -> list[str]:
    """YOLOv8 nano (Ultralytics, 2023): 80 classes, three heads, boxes decoded in the network."""
    def twice(x: str) -> str:
        return net.resize(x, [2 * extent for extent in net.shapes[x][2:]])

    def down(x: str, filters: int) -> str:
        return net.conv(x, filters, 3, 2, "silu")

    x = _c2f(net, down(down(net.input, 16), 32), 32, 1, True)
    third = _c2f(net, down(x, 64), 64, 2, True)
    fourth = _c2f(net, down(third, 128), 128, 2, True)
    fifth = _sppf(net, _c2f(net, down(fourth, 256), 256, 1, True), 256)
    middle = _c2f(net, net.concat(twice(fifth), fourth), 128, 1, False)
    small = _c2f(net, net.concat(twice(middle), third), 64, 1, False)
    medium = _c2f(net, net.concat(down(small, 64), middle), 128, 1, False)
    large = _c2f(net, net.concat(down(medium, 128), fifth), 256, 1, False)
    return [_boxes(net, [small, medium, large])]


def _boxes(net: Graph, images: list[str]) -> str:
    """Heads of 4 x 16 distances and 80 classes, and what makes boxes of them: (batch, 84, number)."""
    heads, centres, strides = [], [], []
    for x in images:
        batch, _, height, width = net.shapes[x]
        sides = [net.conv(net.conv(net.conv(x, middle, 3, act="silu"), middle, 3, act="silu"), outputs, 1, norm=False, bias=True)
                 for middle, outputs in ((64, 64), (80, 80))]
        heads.append(net.reshape(net.concat(*sides), (batch, 144, height * width)))
        ys, xs = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        centres.append(np.stack([xs.ravel(), ys.ravel()]))
        strides.append(np.full(height * width, net.shapes[net.input][2] // height))
    number = sum(map(len, strides))
    every = net.node("Concat", heads, (batch, 144, number), axis=2)
    distances, classes = net.split(every, 64, 80)
    shares = net.softmax(net.transpose(net.reshape(distances, (batch, 4, 16, number)), (0, 2, 1, 3)), axis=1)
    # The sum of 0 to 15 by their shares, which is a 1 x 1 convolution in the original: 16 weights that are not trained but counted.
    weights = net.constant(np.arange(16, dtype="float32").reshape(1, 16, 1, 1))
    net.macs += 16 * 4 * number
    mean = net.node("Conv", [shares, weights], (batch, 1, 4, number), kernel_shape=[1, 1])
    left, right = net.split(net.reshape(mean, (batch, 4, number)), 2, 2)
    at = net.constant(np.concatenate(centres, 1).astype("float32")[None], trained=False)
    begin = net.node("Sub", [at, left], (batch, 2, number))
    end = net.node("Add", [at, right], (batch, 2, number))
    two = net.constant(np.float32(2), trained=False)
    centre = net.node("Div", [net.node("Add", [begin, end], (batch, 2, number)), two], (batch, 2, number))
    boxes = net.node("Concat", [centre, net.node("Sub", [end, begin], (batch, 2, number))], (batch, 4, number), axis=1)
    steps = net.constant(np.concatenate(strides).astype("float32")[None, None], trained=False)
    return net.concat(net.node("Mul", [boxes, steps], (batch, 4, number)), net.activation(classes, "sigmoid"))


def ppocr_det(net: Graph) -> list[str]:
    """Text detection of PP-OCR (Du et al., 2020): DB on half a MobileNet-v3 without squeeze and excitation, a pyramid of 96 channels."""
    levels = [net.conv(x, 96, 1, norm=False) for x in mobilenet_v3_features(net, width=0.5, squeezing=False, since=4)]
    for i in (2, 1, 0):
        levels[i] = net.add(levels[i], net.resize(levels[i + 1], net.shapes[levels[i]][2:]))
    parts = [net.conv(x, 24, 3, norm=False) for x in levels]
    parts = [parts[0], *(net.resize(x, net.shapes[parts[0]][2:]) for x in parts[1:])]
    y = net.conv(net.concat(*reversed(parts)), 24, 3, act="relu")
    y = net.transposed(y, 24, act="relu", norm=True)
    return [net.transposed(y, 1, act="sigmoid")]

