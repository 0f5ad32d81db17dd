"""Layers on bytes for GPUs without a GPU: what the assembler says of each layer of ResNet-18 and ResNet-50.

    python tests/benchmarks/cuda/int8.py --json FILE [--arch sm_80]... [--batch 1]... [--only PATTERN]...

All layers of one architecture and batch are compiled as one source, each with bias, ReLU and the quantizer behind it. Registers and spills
are ptxas's, instructions are counted by nvdisasm. Nothing is run or timed.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import te, tirx

sys.path[:0] = [str(Path(__file__).parents[1])]

import shapes  # noqa: E402
from results import Results  # noqa: E402
from tenfold.codegen.cuda.nvcc import find_nvcc  # noqa: E402
from tenfold.codegen.cuda.sass import MATRIX, kernel_code  # noqa: E402
from tenfold.codegen.cuda.source import generate  # noqa: E402
from tenfold.codegen.cuda.toolchain import compile_fatbin  # noqa: E402
from tenfold.schedules.backend import LayerConstants, backend_of  # noqa: E402
from tenfold.schedules.cuda.int8.kernel import ByteConvolution, choose_byte_convolution  # noqa: E402
from tenfold.schedules.driver import ApplySchedules  # noqa: E402
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload  # noqa: E402
from tenfold.targets import GpuTarget, resolve  # noqa: E402

LISTS, ARCHS, BATCHES = ("resnet18", "resnet50"), ("sm_80", "sm_90"), (1, 32)


def layers(batch: int, patterns: Sequence[str]) -> dict[str, ConvWorkload]:
    """The layers of the lists by name, each once."""
    found = {}
    for shape in (shape for name in LISTS for shape in shapes.read(shapes.SHAPES / f"{name}.txt")):
        if not patterns or any(fnmatch(shape.name, pattern) for pattern in patterns):
            kernel, stride = (shape.kernel,) * 2, (shape.stride,) * 2
            geometry = ConvGeometry(shape.filters, kernel, stride, (shape.padding,) * 4, groups=shape.groups)
            found[shape.name] = ConvWorkload(geometry, (shape.size, shape.size), shape.channels, batch)
    return found


def function_of(kernel: ByteConvolution, name: str) -> tirx.PrimFunc:
    """The scheduled function of a layer: sums, bias, ReLU, bytes. Its bytes are those behind a ReLU: 0 stands for 0."""
    layer = kernel.convolution
    weight = np.ones((layer.geometry.filters, layer.channels // layer.geometry.groups, *layer.geometry.kernel), np.int8)
    bound = kernel.bind(LayerConstants(weight))
    x = te.placeholder((layer.batch, *layer.size, layer.channels), "uint8", "x")
    constants = [te.placeholder(value.shape, str(value.dtype), f"w{i}") for i, value in enumerate(bound.constants)]
    scale, bias = (te.placeholder((layer.geometry.filters,), "float32", each) for each in ("scale", "bias"))
    sums = bound.compute(x, *constants)

    def value(*i: Any) -> Any:
        number = tirx.max(sums(*i).astype("float32") * scale[i[-1]] + bias[i[-1]], tirx.const(0.0, "float32"))
        return tirx.min(tirx.round(number * tirx.const(25.0, "float32")), tirx.const(255.0, "float32")).astype("uint8")

    made = te.create_prim_func([x, *constants, scale, bias, te.compute(sums.shape, value, "quantized")]).with_attr("global_symbol", name)
    backend = backend_of(kernel.target)
    return ApplySchedules(backend.rules, kernel.target, strict=True)(tvm.IRModule({name: made}))[name]


def rows_of(target: GpuTarget, batch: int, patterns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is known of each layer of a batch, compiled for one architecture."""
    arch, workloads = target.archs[0], layers(batch, patterns)
    kernels = {f"layer{i}": choose_byte_convolution(workload, target) for i, workload in enumerate(workloads.values())}
    functions = [(tvm.ir.GlobalVar(name), function_of(kernel, name)) for name, kernel in kernels.items() if kernel is not None]
    source, routines = generate(functions, backend_of(target))
    with tempfile.TemporaryDirectory() as folder:
        facts = {fact.kernel: fact for fact in compile_fatbin(source, [arch], False, Path(folder) / "kernels.fatbin")}
        codes = {code.kernel: code for code in kernel_code((Path(folder) / "kernels.fatbin").read_bytes(), arch)}
    for layer, (name, kernel) in zip(workloads, kernels.items(), strict=True):
        assert kernel is not None
        launches = [launch.kernel for launch in routines[name].launches]
        multiplying = max(launches, key=lambda launch: matrix(codes[launch].instructions))
        code = codes[multiplying]
        yield {"name": f"{layer} batch {batch} {arch}", "layer": layer, "batch": batch, "arch": arch, "point": dict(kernel.point),
               "registers": facts[multiplying].registers, "launches": len(launches),
               "spill_bytes": sum(facts[launch].spill_store_bytes + facts[launch].spill_load_bytes for launch in launches),
               "matrix": matrix(code.main_loop), "loop": sum(code.main_loop.values()),
               "modelled_ms": kernel.terms().get("ms"), "peak_ms": kernel.terms().get("compute_ms")}


def matrix(instructions: Any) -> int:
    """How many of some instructions multiply matrices."""
    return sum(count for name, count in instructions.items() if name.split(".")[0] in MATRIX)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, after every row; rows that are there stay")
    parser.add_argument("--arch", action="append", default=[], metavar="ARCH", help=f"default: {', '.join(ARCHS)}")
    parser.add_argument("--batch", action="append", type=int, default=[], metavar="N", help="default: 1 and 32")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="layers of such a name")
    options = parser.parse_args(arguments)
    versions = {name: metadata.version(name) for name in ("tenfold", "apache-tvm")} | {"nvcc": ".".join(map(str, find_nvcc().version))}
    results = Results("cuda-int8", {"versions": versions}, 1, options.json)
    results.resume()
    for arch in options.arch or ARCHS:
        for batch in options.batch or BATCHES:
            if {f"{layer} batch {batch} {arch}" for layer in layers(batch, options.only)} <= results.finished():
                continue
            for row in rows_of(resolve(arch), batch, options.only):
                results.add(row)
                share = f"{row['matrix']} of {row['loop']} in the main loop" if row["loop"] else "no loop"
                print(f"{row['name']:40} {row['registers']:4} registers, {row['spill_bytes']} bytes spilled, {share}", flush=True)


if __name__ == "__main__":
    main()
