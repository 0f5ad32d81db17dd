"""Whole networks with random weights as ONNX files: three that come with the `onnx` package, three written here as torch modules."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from torch import nn

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SIZE = 224
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: max-pool


def vgg16(classes: int = 1000) -> nn.Module:
    """Simonyan and Zisserman (2014), configuration D."""
    from torch import nn

    layers, channels = [], 3
    for filters in VGG16:
        if filters:
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            channels = filters
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
                         nn.Linear(4096, classes))


def resnet18(classes: int = 1000) -> nn.Module:
    """He et al. (2015), two 3 x 3 convolutions in a block."""
    return _resnet([2, 2, 2, 2], bottleneck=False, classes=classes)


def resnet50(classes: int = 1000) -> nn.Module:
    """He et al. (2015), bottleneck blocks, with the stride in the 3 x 3 convolution as torchvision has it."""
    return _resnet([3, 4, 6, 3], bottleneck=True, classes=classes)


def _resnet(blocks: list[int], bottleneck: bool, classes: int) -> nn.Module:
    from torch import nn

    def normalised(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(filters)]

    class Block(nn.Module):
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            filters = 4 * width if bottleneck else width
            if bottleneck:
                layers = [*normalised(channels, width, 1), nn.ReLU(), *normalised(width, width, 3, stride), nn.ReLU(),
                          *normalised(width, filters, 1)]
            else:
                layers = [*normalised(channels, width, 3, stride), nn.ReLU(), *normalised(width, width, 3)]
            nn.init.constant_(layers[-1].weight, 0.2)  # or the sums of 16 blocks grow out of proportion
            self.branch, self.out, self.shortcut = nn.Sequential(*layers), nn.ReLU(), nn.Identity()
            if stride > 1 or channels != filters:
                self.shortcut = nn.Sequential(*normalised(channels, filters, 1, stride))

        def forward(self, x):
            return self.out(self.branch(x) + self.shortcut(x))

    layers, channels = [*normalised(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for i, count in enumerate(blocks):
        for j in range(count):
            layers.append(Block(channels, 64 << i, 2 if i and not j else 1))
            channels = (64 << i) * (4 if bottleneck else 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def light(name: str) -> onnx.ModelProto:
    """A network of the `onnx` package with random weights; its own are constant fills."""
    from tenfold.frontends import load

    model = load(LIGHT / f"light_{name}.onnx").onnx
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        if len(shape) >= 2:
            # He et al. (2015): activations keep their size through the layers, so that errors don't drown.
            weight = rng.standard_normal(shape, "float32") * np.float32(np.sqrt(2 / np.prod(shape[1:])))
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    return model


def write_light(name: str, path: Path) -> None:
    """Write a network of the `onnx` package (`light`)."""
    onnx.save(light(name), path)


def write_module(make: Callable[[], nn.Module], path: Path) -> None:
    """Write a torch module with random weights."""
    import torch
    from tenfold.frontends.quiet import quiet
    from tenfold.frontends.torch.reader import CHATTY
    from torch import nn

    torch.manual_seed(0)
    module = make().eval()
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    with quiet(*CHATTY), torch.no_grad():
        program = torch.onnx.export(module, (torch.zeros(1, 3, SIZE, SIZE),), dynamo=True, verbose=False)
    onnx.save(program.model_proto, path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "alexnet": partial(write_light, "bvlc_alexnet"),
    "zfnet": partial(write_light, "zfnet512"),
    "vgg16": partial(write_module, vgg16),
    "vgg19": partial(write_light, "vgg19"),
    "resnet18": partial(write_module, resnet18),
    "resnet50": partial(write_module, resnet50),
}


def network(name: str, folder: Path) -> Path:
    """The file of a network, in a folder that keeps it for the next time."""
    return kept(folder / f"{name}.onnx", WRITERS[name])


def kept(path: Path, write: Callable[[Path], None]) -> Path:
    """A file, which is written if it is not there."""
    from tenfold.support.files.folder import whole_file

    if not path.exists():
        with whole_file(path) as temporary:
            write(temporary)
    return path
