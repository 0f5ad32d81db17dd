"""The layers of a torch module, as plans and methods know layers."""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ...factorization import Layer
from ..probe import Hook, run_on_zeros


class ModuleLayers:
    """What a module has of convolutions and dense layers.

    Parameters
    ----------
    network : nn.Module
        Run once on zeros, in evaluation mode, and left in the mode that it was in.
    shape : tuple of int
        Of one input: (C, H, W), or (features,).

    Attributes
    ----------
    layers : dict of str to Layer
        By the names of the modules, as a plan for this module has them, in the order in which they run.
    executed : list of (str, nn.Module)
        All modules without parts that have parameters, in the order in which they first run.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]):
        self.network = network
        self.layers: dict[str, Layer] = {}
        self.executed: list[tuple[str, nn.Module]] = []
        leaves = [(name, module) for name, module in network.named_modules() if not list(module.children()) and list(module.parameters())]
        run_on_zeros(network, shape, [(module, self._seen(name)) for name, module in leaves])

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """OIHW or OI, by the name of the layer."""
        modules = dict(self.network.named_modules())
        return {name: modules[name].weight.detach().float().cpu().numpy().copy() for name in self.layers}

    def _seen(self, name: str) -> Hook:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            again = any(module is other for _, other in self.executed)
            if not again:
                self.executed.append((name, module))
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                reason = "it runs more than once" if again else None
                self.layers[name] = _layer(name, module, inputs[0].shape, output.shape, reason)

        return hook


def _layer(name: str, module: nn.Module, source: torch.Size, result: torch.Size, reason: str | None) -> Layer:
    shape = tuple(module.weight.shape)
    if isinstance(module, nn.Linear):
        return Layer(name, "dense", shape, batch=int(np.prod(source[:-1])), reason=reason)
    assert isinstance(module, nn.Conv2d)
    if module.padding_mode != "zeros":
        reason = reason or f"it pads with {module.padding_mode}"
    if isinstance(module.padding, str):
        extents = [d * (k - 1) if module.padding == "same" else 0 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        (top, left), (bottom, right) = [extent // 2 for extent in extents], [extent - extent // 2 for extent in extents]
    else:
        top, left = bottom, right = module.padding
    return Layer(
        name,
        "conv2d",
        shape,
        module.stride,
        (top, left, bottom, right),
        module.dilation,
        module.groups,
        (source[2], source[3]),
        (result[2], result[3]),
        reason=reason,
    )
