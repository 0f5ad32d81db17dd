"""One flattened layer beside the convolution in whose place it stands: Jin et al. (2015), table 1, figures 6 and 7."""
from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import nn

from ..networks import jin_baseline, jin_flattened
from ..structures import flattened
from .asked import Asked, Table

CHANNELS, KERNEL, SETS = 128, 5, 2  # section 4.6
SIZES = (16, 32, 48, 64, 80)
BATCH = 128
ROUNDS = 3
PAPER = ((7200, 7200), (307_200, 30_912), (819_200, 102_144))  # table 1: weights of the baseline, of the flattened network


def parameters_table(asked: Asked) -> dict[str, Any]:
    """Table 1: weights without biases. The paper's lines run over a layer's input channels first; so `lateral_first` is False."""
    networks = jin_baseline(), jin_flattened(lateral_first=False)
    counts = [[_weights(layer) for layer in network if isinstance(layer, (nn.Conv2d, nn.Sequential))] for network in networks]
    rows = [
        {"layer": number + 1, "paper": list(paper), "baseline": one, "flattened": other}
        for number, (paper, one, other) in enumerate(zip(PAPER, *counts, strict=True))
    ]
    return {"table": "jin-parameters", "source": "Jin et al. (2015), table 1", "rows": rows}


def _weights(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.ndim > 1)


def memory_table(asked: Asked) -> dict[str, Any]:
    """Figure 6: bytes that training one layer takes for an image, by counting values, and as PyTorch keeps them for the way back.

    A convolution written as loops needs its input and output; one by a matrix product also each input pixel once for every tap. A flattened
    layer needs its input, and what each of its six convolutions gives.
    """
    rows = []
    for size in SIZES:
        pixels = CHANNELS * size * size * 4  # bytes of an image of float32
        counted = {"loops": 2 * pixels, "product": (2 + KERNEL * KERNEL) * pixels, "flattened": (1 + 3 * SETS) * pixels}
        kept = {f"kept_{name}": _kept(layer, size) for name, layer in _layers().items()}
        rows.append({"size": size, **counted, **kept})
    return {"table": "jin-memory", "source": "Jin et al. (2015), figure 6", "rows": rows}


def _layers() -> dict[str, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = nn.Conv2d(CHANNELS, CHANNELS, KERNEL, padding=KERNEL // 2)
        return {"convolution": plain, "flattened": flattened(CHANNELS, CHANNELS, KERNEL, SETS)}


def _kept(layer: nn.Module, size: int) -> int:
    """Bytes that autograd holds between the passes, each storage once, the weights not; and the output."""
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = layer(torch.zeros(1, CHANNELS, size, size))
    held[output.untyped_storage().data_ptr()] = output.untyped_storage().nbytes()
    return sum(held.values())


def speed_table(asked: Asked) -> dict[str, Any]:
    """Figure 7: milliseconds of the pass forward and of the pass back, in PyTorch on this machine; the layers take turns."""
    batch = asked.images or BATCH
    rows = []
    for size in SIZES:
        asked.say(f"images of {size} x {size}")
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ("convolution", "flattened")}
        layers = {name: layer.to(memory_format=torch.channels_last) for name, layer in _layers().items()}
        x = torch.randn(batch, CHANNELS, size, size).to(memory_format=torch.channels_last).requires_grad_()
        for number in range(ROUNDS + 1):
            for name, layer in layers.items():
                found = _passes(layer, x)
                if number:  # the first warms up
                    times[name].append(found)
        medians = {name: [1000 * median(part) for part in zip(*found, strict=True)] for name, found in times.items()}
        rows.append({"size": size, **medians})
    return {"table": "jin-speed", "source": "Jin et al. (2015), figure 7", "batch": batch, "threads": torch.get_num_threads(), "rows": rows}


def _passes(layer: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    layer.zero_grad(set_to_none=True)
    x.grad = None
    start = time.perf_counter()
    output = layer(x)
    middle = time.perf_counter()
    output.backward(torch.ones_like(output))
    return middle - start, time.perf_counter() - middle


def show_parameters(content: Mapping[str, Any]) -> Table:
    """Of `parameters_table`."""
    rows = [[f"layer {row['layer']}", *(f"{value:,}" for value in (*row["paper"], row["baseline"], row["flattened"])),
             f"{1 - row['flattened'] / row['baseline']:.1%}"] for row in content["rows"]]
    return ["", "the paper: baseline", "flattened", "here: baseline", "flattened", "fewer"], rows


def show_memory(content: Mapping[str, Any]) -> Table:
    """Of `memory_table`, in megabytes."""
    names = ("loops", "product", "flattened", "kept_convolution", "kept_flattened")
    rows = [[f"{row['size']} x {row['size']}", *(f"{row[name] / 1e6:.2f}" for name in names)] for row in content["rows"]]
    return ["MB an image", "convolution, loops", "matrix product", "flattened", "PyTorch keeps: convolution", "flattened"], rows


def show_speed(content: Mapping[str, Any]) -> Table:
    """Of `speed_table`."""
    rows = []
    for row in content["rows"]:
        one, other = row["convolution"], row["flattened"]
        rows.append([f"{row['size']} x {row['size']}", *(f"{value:.0f}" for value in (one[0], other[0])), f"{one[0] / other[0]:.1f} x",
                     *(f"{value:.0f}" for value in (one[1], other[1])), f"{one[1] / other[1]:.1f} x"])
    return ["", "forward, ms: convolution", "flattened", "faster", "backward, ms: convolution", "flattened", "faster"], rows


def note(content: Mapping[str, Any]) -> str:
    """Of all three."""
    layer = f"{CHANNELS} to {CHANNELS} channels, {KERNEL} x {KERNEL}, {SETS} sets"
    if content["table"] == "jin-speed":
        return f"{content['source']}: {layer}; {content['batch']} images at once, {content['threads']} threads in PyTorch"
    if content["table"] == "jin-memory":
        return f"{content['source']}: {layer}; counted by values, and what PyTorch holds for the way back"
    return content["source"]
