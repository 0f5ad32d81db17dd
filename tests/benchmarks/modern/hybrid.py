"""Convolutions with what transformers brought: ConvNeXt, MobileViT, FastViT."""
from __future__ import annotations

from modern.graph import Graph, blocks
from modern.mobile import inverted


def _channels_norm(net: Graph, x: str) -> str:
    """A layer norm over the channels of an image."""
    return net.transpose(net.layer_norm(net.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))


def convnext_tiny(net: Graph) -> list[str]:
    """Liu et al. (2022), as torchvision has it: fully connected layers on channels-last images."""
    x = _channels_norm(net, net.conv(net.input, 96, 4, 4, pads=0, norm=False, bias=True))
    for filters, stride in blocks((3, 96, 1), (3, 192, 2), (9, 384, 2), (3, 768, 2)):
        if stride == 2:
            x = net.conv(_channels_norm(net, x), filters, 2, 2, pads=0, norm=False, bias=True)
        y = net.layer_norm(net.transpose(net.depthwise(x, 7, norm=False, bias=True), (0, 2, 3, 1)))
        y = net.transpose(net.linear(net.linear(y, 4 * filters, "gelu"), filters), (0, 3, 1, 2))
        x = net.add(net.layer_scale(y, 0.5, (filters, 1, 1)), x)
    return [net.linear(net.flatten(_channels_norm(net, net.average(x))), 1000)]


def _mobilevit_block(net: Graph, x: str, width: int, depth: int) -> str:
    """Mehta and Rastegari (2022): attention among the pixels that stand at the same place of their 2 x 2 patches."""
    batch, channels, height, _ = net.shapes[x]
    y = net.conv(net.conv(x, channels, 3, act="silu"), width, 1, norm=False)
    rows, patches = height // 2, (height // 2) ** 2
    y = net.transpose(net.reshape(y, (batch * width * rows, 2, rows, 2)), (0, 2, 1, 3))
    y = net.reshape(net.transpose(net.reshape(y, (batch, width, patches, 4)), (0, 3, 2, 1)), (4 * batch, patches, width))
    for _ in range(depth):
        y = net.add(y, net.attention(net.layer_norm(y), 4, bias=True))
        y = net.add(y, net.linear(net.linear(net.layer_norm(y), 2 * width, "silu"), width))
    y = net.transpose(net.reshape(net.layer_norm(y), (batch, 4, patches, width)), (0, 3, 2, 1))
    y = net.transpose(net.reshape(y, (batch * width * rows, rows, 2, 2)), (0, 2, 1, 3))
    y = net.conv(net.reshape(y, (batch, width, height, height)), channels, 1, act="silu")
    return net.conv(net.concat(x, y), channels, 3, act="silu")


def mobilevit_s(net: Graph) -> list[str]:
    """Mehta and Rastegari (2022), as timm has it."""
    x = net.conv(net.input, 16, 3, 2, "silu")
    for filters, stride, width, depth in ((32, 1, 0, 0), (64, 2, 0, 0), (64, 1, 0, 0), (64, 1, 0, 0), (96, 2, 144, 2), (128, 2, 192, 4),
                                          (160, 2, 240, 3)):
        x = inverted(net, x, filters, 4 * net.channels(x), 3, stride, "silu")
        if depth:
            x = _mobilevit_block(net, x, width, depth)
    return [net.classifier(net.conv(x, 640, 1, act="silu"))]


def _image_attention(net: Graph, x: str) -> str:
    """Self-attention of pixels, 32 channels a head."""
    batch, channels, height, width = net.shapes[x]
    tokens = net.transpose(net.reshape(x, (batch, channels, height * width)), (0, 2, 1))
    y = net.attention(tokens, channels // 32, bias=False)
    return net.reshape(net.transpose(y, (0, 2, 1)), (batch, channels, height, width))


def fastvit_sa12(net: Graph) -> list[str]:
    """Vasu et al. (2023), as timm has it, re-parametrized as for deployment: attention in the last stage, mixing by 3 x 3 before."""
    folded = {"norm": False, "bias": True}
    x = net.conv(net.input, 64, 3, 2, "gelu", **folded)
    x = net.conv(net.depthwise(x, 3, 2, "gelu", **folded), 64, 1, act="gelu", **folded)
    for filters, stride in blocks((2, 64, 1), (2, 128, 2), (6, 256, 2), (2, 512, 2)):
        if stride == 2:
            x = net.conv(x, filters, 7, 2, groups=net.channels(x), **folded)
            x = net.conv(x, filters, 1, act="gelu", **folded)
            if filters == 512:
                x = net.depthwise(x, 7, **folded)
        if filters == 512:
            x = net.add(x, net.layer_scale(_image_attention(net, net.batch_norm(x)), 0.5, (filters, 1, 1)))
        else:
            x = net.depthwise(x, 3, **folded)
        y = net.conv(net.depthwise(x, 7), 4 * filters, 1, act="gelu", **folded)
        x = net.add(x, net.layer_scale(net.conv(y, filters, 1, **folded), 0.5, (filters, 1, 1)))
    x = net.conv(x, 1024, 3, groups=512, **folded)
    return [net.classifier(net.activation(net.squeeze_excite(x, 64, "relu", "sigmoid"), "gelu"))]
