"""A trained network as an ONNX file."""
from __future__ import annotations

import copy
import os
from pathlib import Path

import onnx
import torch
from torch import nn

from ...frontends.quiet import quiet
from ...frontends.torch.pt2_archive import CHATTY
from ...support.files.whole import whole_file


def fold_batch_norm(network: nn.Sequential) -> nn.Sequential:
    """Fold each batch norm of a network into the convolution before it, and drop dropout. The result is in evaluation mode."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network = network.eval()
    folded: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            before = folded[-1]
            if isinstance(before, nn.Sequential):  # a flattened layer: into its last convolution
                folded[-1] = nn.Sequential(*list(before)[:-1], fuse_conv_bn_eval(before[-1], layer))
            else:
                folded[-1] = fuse_conv_bn_eval(before, layer)
        elif not isinstance(layer, nn.Dropout):
            folded.append(layer)
    return nn.Sequential(*folded).eval()


def export_onnx(network: nn.Module, shape: tuple[int, ...], path: str | os.PathLike[str]) -> None:
    """Write a network for inference, of any batch, whole or not at all.

    Parameters
    ----------
    network : nn.Module
        Left as it is, on its device and in its mode.
    shape : tuple of int
        Of one input: (C, H, W), or (features,).
    path : path
        The ONNX file. Its input is ``image``, its output ``logits``.

    Raises
    ------
    TenfoldError
        It can't be written.
    """
    network = copy.deepcopy(network).eval().cpu().to(memory_format=torch.contiguous_format)
    batch = {0: torch.export.Dim("batch")}
    with whole_file(Path(path)) as temporary, quiet(*CHATTY):
        name = temporary.with_suffix(".onnx")
        torch.onnx.export(
            network, (torch.zeros(2, *shape),), name, input_names=["image"], output_names=["logits"], dynamic_shapes=(batch,),
            dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
        model = onnx.load(name)
        for node in model.graph.node:
            node.ClearField("metadata_props")  # the exporter's call stack, with paths of this machine
        onnx.save(model, temporary)
