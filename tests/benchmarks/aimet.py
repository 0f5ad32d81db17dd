"""Compress a bundled network with AIMET's spatial SVD and greedy selection of ranks, for `tenfold bench` to be held against.

    python tests/benchmarks/aimet.py jin|vgg --data train.npz -o DIR [--ratio 0.2 0.3 ...]

Runs in an environment of its own (``pip install aimet-torch``, and tenfold for the networks): AIMET is no dependency of Tenfold. For each
ratio of MACs DIR/aimet_RATIO.onnx is written. The data, images x and labels y, serve the selection: part of the training set, never test.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import onnx
import torch
from onnx import numpy_helper

MODELS = Path(__file__).parents[2] / "examples" / "models"
FILES = {"jin": "cifar10_jin_baseline.onnx", "vgg": "cifar10_vgg.onnx"}
CANDIDATES = 10  # ratios that are tried of each layer: AIMET's default
MULTIPLE = 8     # of ranks: whole vectors, which every engine is faster with


def without_torchvision() -> None:
    """AIMET imports torchvision for its examples alone, and torchvision's wheel fails beside a CPU build of torch."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.ops", "torchvision.models"):
            sys.modules[name] = MagicMock(name=name, __path__=[], __spec__=None)


def bundled(name: str) -> torch.nn.Sequential:
    """The network of an ONNX file as a torch module: the exporter kept the names of its weights."""
    from tenfold.training.networks import fold_batch_norm, jin_baseline, small_vgg

    network = fold_batch_norm(jin_baseline(batch_norm=True) if name == "jin" else small_vgg())
    stored = onnx.load(MODELS / FILES[name]).graph.initializer
    weights = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in stored}
    network.load_state_dict({key: weights[key] for key in network.state_dict()})
    return network.eval()


def compress(network: torch.nn.Module, ratio: float, x: torch.Tensor, y: torch.Tensor, scores: Path | None) -> torch.nn.Module:
    """AIMET's spatial SVD to a ratio of the MACs, ranks by greedy selection, without fine-tuning."""
    from aimet_torch.common.defs import CompressionScheme, CostMetric, GreedySelectionParameters
    from aimet_torch.compress import ModelCompressor
    from aimet_torch.defs import SpatialSvdParameters

    def accuracy(model: torch.nn.Module, iterations: int | None, use_cuda: bool = False) -> float:
        with torch.inference_mode():
            return float(sum((model(a).argmax(1) == b).sum() for a, b in zip(x.split(500), y.split(500), strict=True))) / len(y)

    greedy = GreedySelectionParameters(ratio, CANDIDATES, saved_eval_scores_dict=str(scores) if scores else None)
    options = SpatialSvdParameters.AutoModeParams(greedy_select_params=greedy)
    parameters = SpatialSvdParameters(SpatialSvdParameters.Mode.auto, options, multiplicity=MULTIPLE)
    small, statistics = ModelCompressor.compress_model(
        network, accuracy, None, (1, 3, 32, 32), CompressionScheme.spatial_svd, CostMetric.mac, parameters
    )
    print(statistics, flush=True)
    return small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=list(FILES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ratio", type=float, nargs="+", default=[0.15, 0.2, 0.25, 0.3, 0.4, 0.5])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    without_torchvision()
    with np.load(args.data) as data:
        x, y = (torch.from_numpy(data[key][: args.images]) for key in ("x", "y"))
    args.output.mkdir(parents=True, exist_ok=True)
    scores = None
    for ratio in args.ratio:
        small = compress(bundled(args.network), ratio, x, y, scores)
        found = sorted(Path("data").glob("*eval_scores*.pkl"))
        scores = found[0] if found else None  # AIMET leaves them there: the same for every ratio
        torch.onnx.export(small, (torch.zeros(1, 3, 32, 32),), args.output / f"aimet_{ratio:g}.onnx", input_names=["image"],
                          output_names=["logits"], dynamo=True, external_data=False, verbose=False)


if __name__ == "__main__":
    main()
