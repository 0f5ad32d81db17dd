"""Low rank and low precision together, on MNIST: what Krivov et al., "Speeding up convolutional neural networks" (2016), set out to find.

Their proposal names the methods (Jaderberg's separable filters, fewer bits for weights and biases), the data and the measure, and has no
figures. Here rows are the part of each convolution's energy that its separable form keeps, columns the bits of the mantissa.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ...factorization import Plan
from ...frontends import load
from ...frontends.reference.free_batch import free_batch
from ...passes.factorize_onnx import factorize_onnx
from ...passes.inventory import inventory, weights
from ..data import prepare, read_images
from ..recipes import recipe
from ..run import NETWORK, read_summary
from .accuracy import accuracy
from .asked import Asked, Table, short
from .tables import trained

TRAINED = "calli_convolution"  # the network that is factored and rounded
METHOD = "spatial_svd"  # Jaderberg et al. (2014), scheme 2
ENERGIES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.7)  # 1: not factored
BITS = (23, 10, 7, 4, 3, 2, 1)  # of float32, float16 and bfloat16, and fewer


def rounded(model: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    """A copy whose weights and biases have so many bits in the mantissa, besides the leading one; exponents are as they were."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            mantissa, exponent = np.frexp(numpy_helper.to_array(tensor).astype(np.float64))
            values = np.ldexp(np.round(mantissa * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return result


def precision_table(
    run: Path, data: Path, energies: Sequence[float] = ENERGIES, bits: Sequence[int] = BITS, images: int | None = None
) -> dict[str, Any]:
    """Test accuracy of a trained network by the energy that is kept, and the precision of what is kept.

    Parameters
    ----------
    run, data : Path
        The folder of a run, and that of its images.
    energies : sequence of float
        In (0, 1]; 1: dense.
    bits : sequence of int
        Of mantissas.
    images : int, optional
        Test images that are used. Default: all.

    Returns
    -------
    dict
        For JSON: for each energy the ranks, multiply-adds, parameters, and the accuracy for each number of bits, in percent.
    """
    summary = read_summary(run)
    how, given = recipe(summary["network"]), read_images(data)
    ready = prepare(given, how.pipeline_for(given), run)
    x = ready.seen(ready.test_x[:images]).numpy()
    y = ready.test_y[:images].numpy()
    network = load(run / NETWORK, batch=1)
    layers, arrays = inventory(network.mod), weights(network.mod)
    model = free_batch(network.onnx, x)
    rows = []
    for energy in energies:
        plan = Plan.by_energy(layers, arrays, network.sha256, "host", METHOD, energy) if energy < 1 else Plan("", "host")
        chains = plan.chains(layers, arrays)
        small = factorize_onnx(model, chains) if chains else model
        found = inventory(replace(network, onnx=factorize_onnx(network.onnx, chains)).mod) if chains else layers
        rows.append({
            "energy": energy, "ranks": {name: list(choice.ranks) for name, choice in plan.layers.items()},
            "macs": sum(layer.macs for layer in found), "parameters": sum(layer.params for layer in found),
            "accuracy": {str(count): 100 * accuracy(rounded(small, count), x, y) for count in bits},
        })  # fmt: skip
    facts = {"network": summary["network"], "data": summary["data"], "epoch": summary["epoch"], "images": len(x)}
    return {"table": "krivov", "source": "Krivov et al. (2016), section 2", "method": METHOD, **facts, "rows": rows}


def krivov(asked: Asked) -> dict[str, Any]:
    """Train the network, if it is not there, and try all pairs."""
    return precision_table(trained(TRAINED, "mnist", asked), asked.data / "mnist", images=asked.images)


def show(content: Mapping[str, Any]) -> Table:
    """Of `precision_table`."""
    bits = list(content["rows"][0]["accuracy"])
    rows = []
    for row in content["rows"]:
        kept = "dense" if row["energy"] == 1 else f"{row['energy']:.0%}"
        rows.append([kept, short(row["macs"]), f"{row['parameters']:,}", *(f"{row['accuracy'][each]:.2f}" for each in bits)])
    return ["energy kept", "MACs", "weights", *(f"{each} bits" for each in bits)], rows


def note(content: Mapping[str, Any]) -> str:
    """Of `precision_table`."""
    network = f"`{content['network']}` after {content['epoch']:.0f} epochs, {content['images']:,} test images, accuracy in percent"
    return f"{content['source']}; {network}; bits of the mantissa of weights and biases"
