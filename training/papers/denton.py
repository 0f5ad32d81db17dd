"""What Denton et al. (2014), sections 4.1 and 4.2, do to the first two layers of their network, done to the bundled one for CIFAR-10.

Its first layer has 96 filters of 5 x 5 over 3 channels, its second 128 of 5 x 5 over 96: as many input channels as theirs. Each form of a
layer is put into the network, all layers above it are tuned until the accuracy is back (section 3.5), and the layer is timed by itself.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...factorization import METHODS, Choice, Layer, Plan
from ...frontends import load
from ...frontends.reference.free_batch import free_batch
from ...passes.factorize_onnx import factorize_onnx
from ...passes.inventory import inventory, weights
from ...support.errors import TenfoldError
from ...support.files.json_text import read_json
from ..data import read_images
from ..data.preprocessing import normalize
from .accuracy import accuracy
from .asked import Arrays, Asked, Table
from .denton_picture import write_picture

LEARN, VERIFY = 20_000, 2000
COLORS = (4, 6, 8, 12)  # figure 3
SVD = ((12, 16), (19, 24), (24, 32))  # K1, K2: those of table 2, and a step to either side; G = H = 2
OUTER = (4, 6, 8)  # K: table 2 has 6, section 4.2 has 8; G = 48, H = 2


@dataclass(frozen=True)
class Form:
    """Approximations of one layer, or of both.

    Attributes
    ----------
    title : str
    figure : str
        Of the paper.
    choices : tuple of (int, Choice)
        The number of the layer, from 0 on.
    """

    title: str
    figure: str
    choices: tuple[tuple[int, Choice], ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return "-".join(f"{choice.method}-{'-'.join(map(str, choice.ranks))}" for _, choice in self.choices)


def forms() -> list[Form]:
    """All that the figures and section 4.2 have."""
    found = [Form(f"monochromatic, C' = {c}", "3", ((0, Choice("monochromatic", (c,))),)) for c in COLORS]
    found += [Form(f"biclustered, SVD, K1 = {a}, K2 = {b}", "4, left", ((1, Choice("biclustering_svd", (2, 2, a, b))),)) for a, b in SVD]
    found += [Form(f"biclustered, outer product, K = {k}", "4, right", ((1, Choice("biclustering_outer", (48, 2, k))),)) for k in OUTER]
    both = ((0, Choice("monochromatic", (6,))), (1, Choice("biclustering_outer", (48, 2, 8))))
    return [*found, Form("cascade: C' = 6, then outer product, K = 8", "section 4.2", both)]


def denton_table(model: Path, asked: Asked) -> dict[str, Any]:
    """Accuracy and speed-up of each form.

    Parameters
    ----------
    model : Path
        The bundled network.
    asked : Asked
        `epochs` are those of the tuning above each layer: 1 if it is None, as section 4.2 has it. What is in
        ``denton`` of the folder of runs is taken as it is.
    """
    if asked.compress is None:
        raise TenfoldError("table denton needs tenfold.compress")
    folder = asked.runs / "denton"
    folder.mkdir(parents=True, exist_ok=True)
    network = load(model, batch=1)
    images = read_images(asked.data / "cifar10")
    learn, verify = (min(asked.images or count, count) for count in (LEARN, VERIFY))
    test: Arrays = (normalize(images.test_x[:learn]), images.test_y[:learn])
    data: Arrays = (normalize(images.train_x[-verify:]), images.train_y[-verify:])
    taught: Arrays = (normalize(images.train_x[:learn]), images.train_y[:learn])
    layers, arrays = inventory(network.mod), weights(network.mod)
    targets = [layer for layer in layers if layer.kind == "conv2d"][:2]
    epochs = 1 if asked.epochs is None else max(1, round(asked.epochs))
    dense = 100 * accuracy(free_batch(network.onnx, test[0]), *test)
    rows, timed = [], [_layer_file(folder, layer, arrays[layer.name], None) for layer in targets]
    for form in forms():
        plan = Plan(network.sha256, "host", {targets[number].name: choice for number, choice in form.choices})
        place = folder / form.name
        if not (place / "report.json").exists():
            asked.say(form.title)
            asked.compress(model, place, plan, data, taught, epochs, cascade=True)
        tuned = read_json(place / "report.json")
        chains = plan.chains(layers, arrays)
        row = {
            "title": form.title, "figure": form.figure,
            "layers": [number for number, _ in form.choices],
            "compressed": 100 * accuracy(free_batch(factorize_onnx(network.onnx, chains), test[0]), *test),
            "tuned": 100 * accuracy(free_batch(load(place / "model.onnx", batch=1).onnx, test[0]), *test),
            "fewer_weights": sum(targets[n].params for n, _ in form.choices) / sum(chain.params for chain in chains.values()),
            "fewer_macs": sum(targets[n].macs for n, _ in form.choices) / _macs(targets, form),
            "steps": len(tuned["finetuning"]["curve"]),
        }  # fmt: skip
        rows.append(row)
        timed += [_layer_file(folder, targets[number], arrays[targets[number].name], choice) for number, choice in form.choices]
    _time(rows, timed, asked)
    content = {"table": "denton", "source": "Denton et al. (2014), figures 3 and 4, section 4.2", "dense": dense, "images": len(test[0]),
               "learned": learn, "epochs": epochs, "rows": rows}
    write_picture(content, folder / "denton.png")
    return content


def _macs(targets: list[Layer], form: Form) -> int:
    outlines = [(targets[number], METHODS[choice.method].outline(targets[number], choice.ranks)) for number, choice in form.choices]
    return sum(outline.macs(*layer.input_size) for layer, outline in outlines)


def _time(rows: list[dict[str, Any]], timed: list[Path], asked: Asked) -> None:
    """The first of the files are the dense layers; then come the layers of each row."""
    if asked.measure is None:
        return
    times = asked.measure(timed)
    dense, rest = times[:2], iter(times[2:])
    for row in rows:
        own = [next(rest) for _ in row["layers"]]
        row["ms"], row["dense_ms"] = sum(own), sum(dense[number] for number in row["layers"])
        row["speedup"] = row["dense_ms"] / row["ms"]


def _layer_file(folder: Path, layer: Layer, weight: np.ndarray, choice: Choice | None) -> Path:
    """One layer with its ReLU as a network of its own."""
    name = "dense" if choice is None else f"{choice.method}-{'-'.join(map(str, choice.ranks))}"
    path = folder / "layers" / f"{layer.in_channels}-{name}" / "layer.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        model = _layer_model(layer, weight)
        if choice is not None:
            alone = load(model, batch=1)
            plan = Plan(alone.sha256, "host", {inventory(alone.mod)[0].name: choice})
            model = factorize_onnx(alone.onnx, plan.chains(inventory(alone.mod), weights(alone.mod)))
        onnx.save(model, path)
    return path


def _layer_model(layer: Layer, weight: np.ndarray) -> onnx.ModelProto:
    shapes = ([1, layer.in_channels, *layer.input_size], [1, layer.weight_shape[0], *layer.output_size])
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip(("x", "y"), shapes, strict=True))
    convolution = helper.make_node(
        "Conv", ["x", "w", "b"], ["z"], "layer", strides=layer.stride, pads=layer.padding, dilations=layer.dilation, group=layer.groups
    )
    bias = np.zeros(layer.weight_shape[0], np.float32)
    constants = [numpy_helper.from_array(np.ascontiguousarray(weight), "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([convolution, helper.make_node("Relu", ["z"], ["y"])], "layer", [given], [made], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def show(content: Mapping[str, Any]) -> Table:
    """Of `denton_table`."""
    rows = [["dense", "", "", "", f"{content['dense']:.2f} %", "", "1.00 x"]]
    for row in content["rows"]:
        faster = f"{row['speedup']:.2f} x" if "speedup" in row else "-"
        rows.append([row["title"], row["figure"], f"{row['fewer_weights']:.1f} x", f"{row['fewer_macs']:.1f} x",
                     f"{row['compressed']:.2f} %", f"{row['tuned']:.2f} %", faster])
    return ["", "figure", "fewer weights", "fewer MACs", "accuracy", "after tuning", "layers faster"], rows


def note(content: Mapping[str, Any]) -> str:
    """Of `denton_table`."""
    tuned = f"tuned for at most {content['epochs']} pass over {content['learned']:,} images above each layer"
    return f"{content['source']}, on the bundled network for CIFAR-10; {tuned}; accuracy on {content['images']:,} test images"
