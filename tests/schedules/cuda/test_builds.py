"""What the models choose for the layers of the committed lists can be built for every GPU, and no register is spilled."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tvm
from cuda_checks import relu
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.codegen.cuda.source import generate
from tenfold.codegen.cuda.toolchain import compile_fatbin
from tenfold.schedules.backend import Kernel, LayerConstants, backend_of
from tenfold.schedules.cuda import RULES
from tenfold.schedules.cuda.convolution import choose_convolution
from tenfold.schedules.cuda.convolution_run import ConvolutionRun
from tenfold.schedules.driver import ApplySchedules
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.targets import resolve
from tvm import te

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import shapes  # noqa: E402


def links_of(shape: shapes.Shape) -> tuple[ConvWorkload, ...]:
    links, size = [], (shape.size, shape.size)
    for stage in shape.stages():
        filters, _, *kernel = stage.weight.shape
        geometry = ConvGeometry(filters, (kernel[0], kernel[1]), stage.stride, stage.padding, stage.dilation, stage.groups)
        links.append(ConvWorkload(geometry, size, stage.weight.shape[1] * stage.groups, 1))
        size = links[-1].output
    return tuple(links)


def kernels_of(links: tuple[ConvWorkload, ...], target) -> Iterator[tuple[Kernel, tuple[ConvWorkload, ...]]]:
    """The kernels of a factored layer, each with its own layers."""
    run, begin = ConvolutionRun(links, target), 0
    for count in run.chosen if len(links) > 1 else [1]:
        part = links[begin : begin + count]
        yield run.kernel(begin, begin + count) or choose_convolution(part[0], target), part
        begin += count


def function_of(kernel: Kernel, links: tuple[ConvWorkload, ...]):
    zeros = [np.zeros((link.geometry.filters, link.channels // link.geometry.groups, *link.geometry.kernel), "float32") for link in links]
    bound = kernel.bind(*map(LayerConstants, zeros))
    x = te.placeholder((1, *links[0].size, links[0].channels), "float32", "x")
    constants = [te.placeholder(value.shape, "float32", f"w{number}") for number, value in enumerate(bound.constants)]
    return te.create_prim_func([x, *constants, relu(bound.compute(x, *constants))])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("factored", [False, True], ids=["dense", "factored"])
def test_layers_of_the_lists_can_be_built(name, factored, tmp_path):
    target = resolve(name)
    found = {kernel.workload: (kernel, part) for shape in shapes.read_all() if bool(shape.form) is factored
             for kernel, part in kernels_of(links_of(shape), target)}
    functions = {tvm.ir.GlobalVar(f"k{number}"): function_of(*each).with_attr("global_symbol", f"k{number}")
                 for number, each in enumerate(found.values())}
    made = ApplySchedules(RULES, target, strict=True)(tvm.IRModule(functions))
    source, routines = generate(list(made.functions_items()), backend_of(target))
    assert len(routines) == len(functions) > 10
    assert all(np.prod(launch.block) <= 1024 and launch.shared_bytes <= target.model.shared_block_bytes
               for routine in routines.values() for launch in routine.launches)
    if not finds_nvcc():
        pytest.skip("no nvcc")
    facts = compile_fatbin(source, (name,), False, tmp_path / "kernels.fatbin")
    spilled = [f"{fact.kernel} of {list(found)[int(fact.kernel.split('_')[0][1:])]}" for fact in facts if fact.spill_store_bytes]
    assert facts
    assert not spilled or name == "sm_75", spilled
