"""The networks of the suite `modern`, with the parameters and multiply-accumulates that were published for them."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from modern import branched, dense_prediction, hybrid, mobile, residual
from modern.graph import Graph


@dataclass(frozen=True)
class Modern:
    """A network: what builds it, the size of its images, and what its authors, or those of the package that it is taken from, say of it.

    Attributes
    ----------
    build : callable
        Adds it to a graph, and returns its outputs.
    size : int
    params : int or None
        Exact, as the package counts them; None where none are published.
    gmacs : float or None
        For images of `gmacs_size` (default: `size`), as rounded there.
    """

    build: Callable[[Graph], list[str]]
    size: int
    params: int | None
    gmacs: float | None
    gmacs_size: int | None = None

    def graph(self, name: str, batch: int = 1, size: int | None = None, weights: bool = True) -> tuple[Graph, onnx.ModelProto]:
        """The graph and the model.

        Parameters
        ----------
        name : str
            Seeds the weights.
        batch : int
        size : int, optional
            Of the images, if it shall be another one.
        weights : bool
            Without them the model lacks them, and only the graph is of use.
        """
        graph = Graph(name, size or self.size, batch, weights)
        outputs = self.build(graph)
        return graph, graph.model(*outputs)


# Sources. torchvision: the figures of its weights (`num_params`, `_ops`; those of segmentation are for 520 x 520, and DeepLab's count an
# auxiliary head of 3,851 parameters that is not run). timm: parameters of the models of version 1.0; multiply-accumulates of its model
# cards, to a tenth of a billion. YOLOv8: Ultralytics' table, 8.7 GFLOP at 640 x 640; parameters as its summary of the model prints them.
# U-Net: parameters of mateuszbuda/brain-segmentation-pytorch. PP-OCR: none are published; its inference model's weights take 2.2 MB.
MODERN: dict[str, Modern] = {
    "mixnet_s": Modern(mobile.mixnet_s, 224, 4_134_606, 0.2),
    "deeplabv3_mobilenet_v3_large": Modern(dense_prediction.deeplabv3_mobilenet_v3_large, 224, 11_029_328 - 3_851, 10.452, 520),
    "mobileone_s0": Modern(branched.mobileone_s0, 224, 5_293_272, 1.1),
    "efficientnet_b0": Modern(mobile.efficientnet_b0, 224, 5_288_548, 0.386),
    "resnext50_32x4d": Modern(residual.resnext50_32x4d, 224, 25_028_904, 4.230),
    "hrnet_w18_small": Modern(residual.hrnet_w18_small, 224, 13_187_464, 1.6),
    "res2net50": Modern(residual.res2net50, 224, 25_699_120, 4.3),
    "regnet_y_400mf": Modern(residual.regnet_y_400mf, 224, 4_344_144, 0.402),
    "mnasnet1_0": Modern(mobile.mnasnet1_0, 224, 4_383_312, 0.314),
    "lraspp_mobilenet_v3_large": Modern(dense_prediction.lraspp_mobilenet_v3_large, 224, 3_221_538, 2.086, 520),
    "mobilenet_v3_large": Modern(mobile.mobilenet_v3_large, 224, 5_483_032, 0.217),
    "tf_efficientnet_lite0": Modern(mobile.efficientnet_lite0, 224, 4_652_008, 0.4),
    "ghostnet_100": Modern(mobile.ghostnet_100, 224, 5_182_508, 0.1),
    "convnext_tiny": Modern(hybrid.convnext_tiny, 224, 28_589_128, 4.456),
    "repvgg_a0": Modern(branched.repvgg_a0, 224, 9_108_968, 1.5),
    "mobilenet_v2": Modern(mobile.mobilenet_v2, 224, 3_504_872, 0.301),
    "googlenet": Modern(residual.googlenet, 224, 6_624_904, 1.498),
    "shufflenet_v2_x1_0": Modern(residual.shufflenet_v2_x1_0, 224, 2_278_604, 0.145),
    "rexnet_100": Modern(mobile.rexnet_100, 224, 4_796_873, 0.4),
    "yolov8n": Modern(dense_prediction.yolov8n, 320, 3_157_200, 8.7 / 2, 640),
    "unet": Modern(dense_prediction.unet, 256, 7_763_041, None),
    "mobilevit_s": Modern(hybrid.mobilevit_s, 256, 5_578_632, 2.0),
    "fastvit_sa12": Modern(hybrid.fastvit_sa12, 256, 11_545_320, 1.9),
    "ppocr_det": Modern(dense_prediction.ppocr_det, 640, None, None),
}


def write_modern(name: str, batch: int, path: Path) -> None:
    """Write a network as an ONNX file."""
    onnx.save(MODERN[name].graph(name, batch)[1], path)
