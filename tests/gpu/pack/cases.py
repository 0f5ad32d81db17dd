"""What goes into the box: layers, chains, figure 7 of Jin et al. (2015), Denton's layers, whole networks; some of them on tensor cores."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx
from onnx import helper

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import denton  # noqa: E402
from models import chain_model, flattened  # noqa: E402
from shapes import read_all  # noqa: E402
from suites import FLATTENED, FLATTENED_SIZES  # noqa: E402
from tenfold.factorization import Stage  # noqa: E402

from .networks import NETWORKS, four_valued, with_batch  # noqa: E402

LAYER_BATCHES, FLATTENED_BATCH, NETWORK_BATCHES = (1, 32), 128, (1, 128)
PRECISIONS = ("tf32", "fp16")
ROUNDED_LISTS, ROUNDED_NETWORKS = {"resnet50", "resnet18-factored"}, ("ResNet-18", "bundled, factored")


@dataclass(frozen=True)
class Source:
    """A case before it is compiled; `make` gives the model for a batch."""

    name: str
    step: str
    batch: int
    make: Callable[[int], onnx.ModelProto]
    lists: tuple[str, ...] = ()
    precision: str = "float32"


def sources(cache: Path) -> Iterator[Source]:
    """Everything, in the order in which it is run; networks are kept in a folder."""
    for batch in LAYER_BATCHES:
        for shape, lists in read_all().items():
            step = "chains" if shape.form else "layers"
            yield Source(_named(shape.name, batch), step, batch, _chain(shape.stages(), shape.size), tuple(lists))
    for size in FLATTENED_SIZES:
        chain = flattened(FLATTENED.channels, FLATTENED.filters, FLATTENED.kernel)
        for kind, stages in (("flattened", chain), ("dense", FLATTENED.stages())):
            yield Source(f"{kind} {size} pixels x{FLATTENED_BATCH}", "flattened", FLATTENED_BATCH, _chain(stages, size, True))
    for batch in LAYER_BATCHES:
        for dense, form in denton.pairs():
            yield Source(_named(f"{dense.name}, {form}", batch), "denton", batch, _chain(form.stages(dense), dense.size))
        for dense in (denton.LAYER1, *denton.LAYER2):
            yield Source(_named(f"{dense.name}, dense", batch), "denton", batch, _chain(dense.stages(), dense.size))
    for batch in NETWORK_BATCHES:
        for name, write in NETWORKS.items():
            yield Source(_named(name, batch), "networks", batch, partial(_network, write, cache, batch > 1))
    yield from _on_tensor_cores(cache)


def _on_tensor_cores(cache: Path) -> Iterator[Source]:
    """Some layers and networks in other precisions; factored layers too, of which a run may be a float32 chain."""
    for precision in PRECISIONS:
        for batch in LAYER_BATCHES:
            for shape, lists in read_all().items():
                if ROUNDED_LISTS & set(lists):
                    make = _chain(shape.stages(), shape.size)
                    yield Source(f"{_named(shape.name, batch)}, {precision}", precision, batch, make, tuple(lists), precision)
        for name in ROUNDED_NETWORKS:
            batch = NETWORK_BATCHES[-1]
            make = partial(_network, NETWORKS[name], cache, True)
            yield Source(f"{_named(name, batch)}, {precision}", "networks", batch, make, (), precision)


def _named(name: str, batch: int) -> str:
    return name if batch == 1 else f"{name} x{batch}"


def _chain(stages: Sequence[Stage], size: int, biases: bool = False) -> Callable[[int], onnx.ModelProto]:
    return lambda batch: four_valued(_without_pool(chain_model(stages, size, batch, biases), stages, size, batch))


def _network(write: Callable[[Path], onnx.ModelProto], cache: Path, replaced: bool, batch: int) -> onnx.ModelProto:
    """A network for a batch; `replaced` says whether its weights are. Trained ones take much room: the box has them at batch 1 only."""
    model = with_batch(write(cache), batch)
    return four_valued(model) if replaced else model


def _without_pool(model: onnx.ModelProto, stages: Sequence[Stage], size: int, batch: int) -> onnx.ModelProto:
    """The layer with all of its result, in which a mistake at an edge is seen."""
    pool = model.graph.node.pop()
    assert pool.op_type == "GlobalAveragePool"
    height = width = size
    for stage in stages:
        kernel_h, kernel_w = stage.weight.shape[2:]
        top, left, bottom, right = stage.padding
        height = (height + top + bottom - stage.dilation[0] * (kernel_h - 1) - 1) // stage.stride[0] + 1
        width = (width + left + right - stage.dilation[1] * (kernel_w - 1) - 1) // stage.stride[1] + 1
    del model.graph.output[:]
    shape = [batch, stages[-1].out_channels, height, width]
    model.graph.output.append(helper.make_tensor_value_info(pool.input[0], onnx.TensorProto.FLOAT, shape))
    return model
