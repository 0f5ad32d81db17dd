"""What the model of a GPU says of the kernels of a case: their tiles, and their cycles."""
from __future__ import annotations

from typing import Any

from box.case import Case
from tenfold.schedules.cuda.chain.tile import ChainTile
from tenfold.schedules.cuda.chain.tile import cycles as chain_cycles
from tenfold.schedules.cuda.convolution import gemm_shape
from tenfold.schedules.cuda.convolution_run import stages_of
from tenfold.schedules.cuda.gemm.tile import GemmTile
from tenfold.schedules.cuda.gemm.tile import cycles as gemm_cycles
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.targets import resolve

PRESET = "sm_80"  # the first architecture of a box: tiles are chosen for it


def workloads(case: Case) -> list[ConvWorkload]:
    """The convolutions of a case that is a chain of them."""
    batch, channels, *size = case.inputs[0][1]
    found = []
    for node in case.graph["nodes"]:
        if node["op"] != "Conv":
            continue
        filters, _, *kernel = case.graph["weights"][node["inputs"][1]]
        steps, pads, spread = (tuple(node[name]) for name in ("strides", "pads", "dilations"))
        geometry = ConvGeometry(filters, tuple(kernel), steps, pads, spread, node["group"])
        found.append(ConvWorkload(geometry, (size[0], size[1]), channels, batch))
        channels, size = filters, list(found[-1].output)
    return found


def modelled(case: Case) -> dict[str, Any]:
    """Return the tiles of a case's kernels and their cycles; None for cycles where the model does not know a kernel of it."""
    model, links = resolve(PRESET).model, workloads(case)
    kernels, at = [], 0
    while at < len(links):
        count, point = _kernel(links[at:], case.choices)
        kernels.append({"layers": count, "point": point, "cycles": _cycles(links[at:at + count], point)})
        at += count
    least = sum(sum_macs(link) for link in links) / (model.sms * model.fma_per_cycle)
    cycles = [kernel["cycles"] for kernel in kernels]
    total = None if None in cycles else sum(cycles) + model.launch_cycles * (len(kernels) - 1)
    return {"preset": PRESET, "kernels": kernels, "cycles": total, "share_of_peak": total and least / total}


def _kernel(links: list[ConvWorkload], choices: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """How many layers the first kernel of a run has, and what it was built from."""
    for count in range(len(links), 1, -1):
        point = choices.get(f"chain of {', '.join(map(str, links[:count]))}")
        if point is not None:
            return count, point
    return 1, choices.get(str(links[0]))


def sum_macs(link: ConvWorkload) -> int:
    """Multiply-adds of a convolution."""
    height, width = link.output
    kernel_h, kernel_w = link.geometry.kernel
    return link.batch * height * width * link.geometry.filters * link.channels // link.geometry.groups * kernel_h * kernel_w


def _cycles(links: list[ConvWorkload], point: dict[str, Any] | None) -> float | None:
    model = resolve(PRESET).model
    if point is None or point.get("algorithm", "gemm") != "gemm":
        return None
    values = {name: value for name, value in point.items() if name != "algorithm"}
    if len(links) > 1:
        return chain_cycles(stages_of(links), links[0].batch, ChainTile(**values), model)
    return gemm_cycles(GemmTile(**values), gemm_shape(links[0]), model)
