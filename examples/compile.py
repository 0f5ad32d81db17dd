"""The main job, by the Python API: compile a trained network dense and factored, verify both, and compare them with other engines.

    python examples/compile.py [--target NAME] [--model FILE] [-o DIR]

With ``--target cuda`` it compiles for GPUs. Where there is none, kernels are emulated on the CPU, and a table tells what is known of them
without a GPU.
"""
from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

import numpy as np
import tenfold
from tenfold.cli.compile import verified_lines
from tenfold.runner.devices.artifacts import Nowhere
from tenfold.runner.gpu_kernels import gpu_table
from tenfold.runner.report import comparison_table, console, inspection_table, show
from tenfold.search.tables import compression_table
from tenfold.support.files.folder import write_text
from tenfold.targets.gpu_target import CUDA

MODELS = Path(os.path.relpath(Path(__file__).parent / "models"))
BUNDLED = MODELS / "cifar10_jin_baseline.onnx"
IMAGES = MODELS / "cifar10_test_500.npz"
ENERGY = 0.85  # of each weight's squared norm that the factors keep


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="host", help="a preset (see `tenfold targets`), host, or a TVM target as JSON")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="a network, .onnx or .pt2; default: the bundled one")
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder for the results")
    options = parser.parse_args()
    images = IMAGES if options.model == BUNDLED else None
    out = console()

    # 1. What is in the network, and what of it can be factored?
    show([inspection_table(tenfold.inspect(options.model))], out)

    # 2. Compile it as it is. What is written has been verified against ONNX Runtime, on random and on real inputs.
    dense = tenfold.compile(options.model, options.target, options.output / "dense", data=images)
    show(verified_lines(dense.manifest), out)

    # 3. Factor its layers, which gives an ONNX file for any engine, and compile that.
    done = tenfold.compress(options.model, options.output / "small", tenfold.Recipe(energy=ENERGY), target=options.target)
    show([compression_table(done)], out)
    factored = tenfold.compile(options.output / "small" / "model.onnx", options.target, options.output / "factored", data=images)
    show(verified_lines(factored.manifest), out)

    # 4. Kernels for GPUs where there is none: what is known of them all the same.
    on_gpu = dense.manifest.target["architecture"] == CUDA
    if on_gpu and isinstance(dense.machine, Nowhere):
        show([gpu_table(dense), gpu_table(factored), f"it can't run here: {dense.machine.lack}"], out)
        return

    # 5. An artifact is a function of arrays. In another process: tenfold.load("out/factored").
    results = factored.run({port.name: np.zeros(port.shape, port.dtype) for port in factored.inputs})
    show((f"{name}: {array.dtype}{list(array.shape)}" for name, array in results.items()), out)

    # 6. Both networks in every engine that is installed, in one table.
    names = ("onnxruntime", "torch") if on_gpu else ("onnxruntime", "openvino", "torch")
    rivals = [name for name in names if importlib.util.find_spec(name)]
    networks = [options.model, options.output / "small" / "model.onnx"]
    comparison = tenfold.bench(networks, against=rivals, data=images, target=options.target)
    show([comparison_table(comparison)], out)
    write_text(options.output / "comparison.json", comparison.to_json())


if __name__ == "__main__":
    try:
        main()
    except tenfold.TenfoldError as error:
        raise SystemExit(f"tenfold: {error}") from None
