"""The main job, by the Python API: compile a trained network dense and factored, verify both, and compare them with other engines.

    python examples/compile.py [--target NAME] [--model FILE] [-o DIR]
"""
from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import tenfold
from rich.console import Console
from tenfold.runner.report import comparison_table, compression_table, inspection_table

MODELS = Path(__file__).parent / "models"
BUNDLED = MODELS / "cifar10_jin_baseline.onnx"
IMAGES = MODELS / "cifar10_test_500.npz"
ENERGY = 0.8  # of each weight's squared norm that the factors keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="host", help="a preset (see `tenfold targets`), host, or a TVM target as JSON")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="a network, .onnx or .pt2; default: the bundled one")
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder for the results")
    options = parser.parse_args()
    console = Console(markup=False, highlight=False)

    # 1. What is in the network, and what of it can be factored?
    console.print(inspection_table(tenfold.inspect(options.model)))

    # 2. Compile it as it is. What is written has been verified against ONNX Runtime.
    dense = tenfold.compile(options.model, options.target, options.output / "dense")
    console.print(f"dense: largest error {dense.manifest.verification['max_rel_error']:.1e} of the largest output, {dense.threads} threads")

    # 3. Factor its layers, which gives an ONNX file for any engine, and compile that.
    console.print(compression_table(tenfold.compress(options.model, options.output / "small", energy=ENERGY, target=options.target)))
    factored = tenfold.compile(options.output / "small" / "model.onnx", options.target, options.output / "factored")

    # 4. An artifact is a function of arrays. In another process: tenfold.load("out/factored").
    shape, dtype = factored.inputs[0].shape, factored.inputs[0].dtype
    console.print("one run:", factored(np.zeros(shape, dtype)))

    # 5. Both networks in every engine that is installed, in one table.
    rivals = [name for name in ("onnxruntime", "openvino", "torch") if importlib.util.find_spec(name)]
    images = IMAGES if options.model == BUNDLED else None
    networks = [options.model, options.output / "small" / "model.onnx"]
    comparison = tenfold.compare(networks, against=rivals, data=images, target=options.target)
    console.print(comparison_table(comparison))
    (options.output / "comparison.json").write_text(comparison.to_json(), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except tenfold.TenfoldError as error:
        raise SystemExit(f"tenfold: {error}") from None
