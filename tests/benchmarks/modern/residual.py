"""Networks of residual blocks, of parallel branches, and of several resolutions at once."""
from __future__ import annotations

from collections.abc import Sequence

from modern.graph import Graph, blocks


def _shortcut(net: Graph, x: str, filters: int, stride: int) -> str:
    return x if stride == 1 and filters == net.channels(x) else net.conv(x, filters, 1, stride)


def _bottleneck(net: Graph, x: str, width: int, filters: int, stride: int = 1, groups: int = 1) -> str:
    """He et al. (2015), the stride in the 3 x 3 layer, which may have groups (Xie et al., 2017)."""
    y = net.conv(net.conv(x, width, 1, act="relu"), width, 3, stride, "relu", groups=groups)
    return net.activation(net.add(net.conv(y, filters, 1), _shortcut(net, x, filters, stride)), "relu")


def _stem(net: Graph) -> str:
    return net.max_pool(net.conv(net.input, 64, 7, 2, "relu"), 3, 2, 1)


def resnext50_32x4d(net: Graph) -> list[str]:
    """Xie et al. (2017), as torchvision has it."""
    x = _stem(net)
    for width, stride in blocks((3, 128, 1), (4, 256, 2), (6, 512, 2), (3, 1024, 2)):
        x = _bottleneck(net, x, width, 2 * width, stride, 32)
    return [net.classifier(x)]


def res2net50(net: Graph) -> list[str]:
    """Gao et al. (2019), Res2Net-50 26w 4s as timm has it: the 3 x 3 layer in four parts, each with what the one before gave."""
    x = _stem(net)
    for width, stride in blocks((3, 26, 1), (4, 52, 2), (6, 104, 2), (3, 208, 2)):
        filters = width * 256 // 26
        first = stride > 1 or filters != net.channels(x)
        parts = net.split(net.conv(x, 4 * width, 1, act="relu"), *[width] * 4)
        made: list[str] = []
        for part in parts[:3]:
            y = part if first or not made else net.add(made[-1], part)
            made.append(net.conv(y, width, 3, stride, "relu"))
        made.append(net.average_pool(parts[3], 3, stride, 1) if first else parts[3])
        y = net.conv(net.concat(*made), filters, 1)
        x = net.activation(net.add(y, _shortcut(net, x, filters, stride)), "relu")
    return [net.classifier(x)]


def regnet_y_400mf(net: Graph) -> list[str]:
    """Radosavovic et al. (2020), as torchvision has it: eight channels a group, squeeze and excitation."""
    x = net.conv(net.input, 32, 3, 2, "relu")
    for filters, stride in blocks((1, 48, 2), (3, 104, 2), (6, 208, 2), (6, 440, 2)):
        shortcut = _shortcut(net, x, filters, stride)
        y = net.conv(net.conv(x, filters, 1, act="relu"), filters, 3, stride, "relu", groups=filters // 8)
        y = net.conv(net.squeeze_excite(y, round(net.channels(x) / 4), "relu", "sigmoid"), filters, 1)
        x = net.activation(net.add(shortcut, y), "relu")
    return [net.classifier(x)]


# Of each block: filters of the 1 x 1 layer, of two 3 x 3 layers with what reduces before them, of the layer behind the pooling.
INCEPTION = {3: ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
             4: ((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
                 (256, 160, 320, 32, 128, 128)),
             5: ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))}


def googlenet(net: Graph) -> list[str]:
    """Szegedy et al. (2015), as torchvision has it: with batch norm, and 3 x 3 where the paper has 5 x 5."""
    x = net.max_pool(net.conv(net.input, 64, 7, 2, "relu"), ceil=True)
    x = net.max_pool(net.conv(net.conv(x, 64, 1, act="relu"), 192, 3, act="relu"), ceil=True)
    for stage, rows in INCEPTION.items():
        if stage > 3:
            x = net.max_pool(x, 3 if stage == 4 else 2, 2, ceil=True)
        for one, reduced, three, narrow, other, pooled in rows:
            x = net.concat(net.conv(x, one, 1, act="relu"), net.conv(net.conv(x, reduced, 1, act="relu"), three, 3, act="relu"),
                           net.conv(net.conv(x, narrow, 1, act="relu"), other, 3, act="relu"),
                           net.conv(net.max_pool(x, 3, 1, 1, ceil=True), pooled, 1, act="relu"))
    return [net.classifier(x)]


def shufflenet_v2_x1_0(net: Graph) -> list[str]:
    """Ma et al. (2018), as torchvision has it."""
    x = net.max_pool(net.conv(net.input, 24, 3, 2, "relu"), 3, 2, 1)
    for filters, stride in blocks((4, 116, 2), (8, 232, 2), (4, 464, 2)):
        half = filters // 2
        if stride == 2:
            left, right = net.conv(net.depthwise(x, 3, 2), half, 1, act="relu"), x
        else:
            left, right = net.split(x, half, half)
        right = net.conv(net.depthwise(net.conv(right, half, 1, act="relu"), 3, stride), half, 1, act="relu")
        x = net.shuffle(net.concat(left, right), 2)
    return [net.classifier(net.conv(x, 1024, 1, act="relu"))]


def _basic(net: Graph, x: str, filters: int) -> str:
    y = net.conv(net.conv(x, filters, 3, act="relu"), filters, 3)
    return net.activation(net.add(y, x), "relu")


def _exchange(net: Graph, images: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Wang et al. (2019): every resolution becomes the sum of all of them, brought to its size."""
    def brought(i: int, j: int) -> str:
        if j > i:
            return net.resize(net.conv(images[j], widths[i], 1), net.shapes[images[i]][2:])
        y = images[j]
        for step in range(i - j):
            y = net.conv(y, widths[i], 3, 2) if step == i - j - 1 else net.conv(y, widths[j], 3, 2, "relu")
        return y

    return [net.activation(net.add(*(brought(i, j) for j in range(len(images)))), "relu") for i in range(len(images))]


def hrnet_w18_small(net: Graph) -> list[str]:
    """Wang et al. (2019), HRNet-W18 small, version 1, as timm has it."""
    x = net.conv(net.conv(net.input, 64, 3, 2, "relu"), 64, 3, 2, "relu")
    x = _bottleneck(net, x, 32, 128)
    widths = (16, 32, 64, 128)
    images = [net.conv(x, 16, 3, act="relu"), net.conv(x, 32, 3, 2, "relu")]
    for stage in (2, 3, 4):
        if stage > 2:
            images.append(net.conv(images[-1], widths[stage - 1], 3, 2, "relu"))
        images = [_basic(net, _basic(net, image, width), width) for image, width in zip(images, widths, strict=False)]
        images = _exchange(net, images, widths)
    wide = [_bottleneck(net, image, width, 4 * width) for image, width in zip(images, (32, 64, 128, 256), strict=True)]
    y = wide[0]
    for image in wide[1:]:
        y = net.add(image, net.conv(y, net.channels(image), 3, 2, "relu", bias=True))
    return [net.classifier(net.conv(y, 2048, 1, act="relu", bias=True))]
