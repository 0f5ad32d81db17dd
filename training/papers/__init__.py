"""The tables and figures of the papers, filled with what was trained and measured here."""
from __future__ import annotations

from functools import partial
from pathlib import Path

from . import compressed, denton, flattened_layer, krivov, learning_curves, pruning, tables
from .asked import Asked, Reproduction

__all__ = ["Asked", "Reproduction", "reproductions"]

BUNDLED = (("Jin's baseline", "cifar10_jin_baseline.onnx", (12.0, 9.0)), ("small VGG", "cifar10_vgg.onnx", (6.0, 4.5)))


def reproductions(models: Path) -> dict[str, Reproduction]:
    """All of them, by name.

    Parameters
    ----------
    models : Path
        The folder of the bundled networks.
    """
    layer, layers = flattened_layer, [(title, models / name, goal) for title, name, goal in BUNDLED]
    return {
        "jin": Reproduction(
            "Jin et al. (2015), table 2: baseline and flattened networks, CIFAR-10 and MNIST", partial(tables.filled, "jin"), tables.show,
            tables.note,
        ),
        "jin-parameters": Reproduction("table 1: weights of each layer", layer.parameters_table, layer.show_parameters, layer.note),
        "jin-curves": Reproduction(
            "figure 3: learning curves of several seeds, with their spread", learning_curves.curves_table, learning_curves.show,
            learning_curves.note,
        ),
        "jin-memory": Reproduction("figure 6: memory that training a layer takes", layer.memory_table, layer.show_memory, layer.note),
        "jin-speed": Reproduction("figure 7: times of a layer, forward and backward", layer.speed_table, layer.show_speed, layer.note),
        "denton": Reproduction(
            "Denton et al. (2014), figures 3 and 4, section 4.2: accuracy and speed-up of two layers, the others tuned",
            partial(denton.denton_table, models / BUNDLED[0][1]), denton.show, denton.note,
        ),
        "pruning": Reproduction(
            "Çallı (2017), section 3.1: nodes of a summation and of an autoencoder", pruning.pruning_table, pruning.show, pruning.note
        ),
        "calli": Reproduction(
            "table 3.1: alternatives to the convolution, CIFAR-10 and MNIST", partial(tables.filled, "calli"), tables.show, tables.note
        ),
        "krivov": Reproduction("Krivov et al. (2016): low rank and low precision, MNIST", krivov.krivov, krivov.show, krivov.note),
        "resnet": Reproduction(
            "ResNet-20 compressed without and with fine-tuning", compressed.resnet_table, compressed.show, compressed.note
        ),
        "bundled": Reproduction(
            "the bundled networks compressed without and with fine-tuning", partial(compressed.bundled_table, layers), compressed.show,
            compressed.note,
        ),
    }  # fmt: skip
