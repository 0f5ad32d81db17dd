"""Kernels for GPUs without a GPU: what the assembler, an emulator and a model say of each layer of the lists of shapes.

    python tests/benchmarks/cuda/static.py --box DIR --json FILE [--only PATTERN]... [--blocks 12]

DIR is a box that `python tests/gpu/run.py --pack DIR` made: its layers and chains at batch 1 are looked at, whatever of them is in it.
Registers and spills are ptxas's. Bank conflicts and sectors are counted by the emulator, from the addresses of some blocks of each launch.
Cycles are those of the model that chose the kernel. Nothing is timed.
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

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "gpu")]

from box.case import CASES, Case, read_cases, unpack_files  # noqa: E402
from cuda.modelled import modelled  # noqa: E402
from results import Results  # noqa: E402
from tenfold.codegen.cuda.nvcc import find_nvcc  # noqa: E402
from tenfold.runner.bench.engines import describe  # noqa: E402
from tenfold.runner.devices.cuda.program import CudaProgram, sampled_blocks  # noqa: E402
from tenfold.runtime.cuda.code_file import CudaCode  # noqa: E402
from tenfold.runtime.memory_plan import arena_bytes  # noqa: E402
from tenfold.runtime.weights import Contents, map_weights, view  # noqa: E402

STEPS = ("layers", "chains")
BLOCKS = 12  # of a launch, that are emulated


def row_of(case: Case, root: Path, blocks: int) -> dict[str, Any]:
    """What a row says of a case."""
    with tempfile.TemporaryDirectory() as name:
        unpack_files(root / CASES / case.folder, Path(name))
        code, contents = CudaCode.read(Path(name) / "model.cuda"), map_weights(Path(name) / "weights.bin")
        launches = list(counted_launches(case, code, contents, blocks))
    return {"name": case.name, "lists": list(case.lists), "step": case.step, "macs": sum(case.macs.values()), "launches": launches,
            "modelled": modelled(case)}


def counted_launches(case: Case, code: CudaCode, contents: Contents, blocks: int) -> Iterator[dict[str, Any]]:
    """Each launch of a function that multiplies, with its facts and counts."""
    program, tensors = CudaProgram(code.source), tensors_of(case, contents)
    for step in contents.steps:
        routine = code.routines[step.kernel]
        if not case.macs.get(step.kernel):
            continue
        operands = [tensors[operand.position] for operand in step.operands] + [np.zeros(size, np.uint8) for size in routine.scratch]
        for launch in routine.launches:
            found = program.launch(launch, operands, blocks=sampled_blocks(launch, blocks), counting=True)
            facts = {fact["architecture"]: fact for fact in code.facts if fact["kernel"] == launch.kernel}
            shared = launch.shared_bytes + max(fact["shared_bytes"] for fact in facts.values())
            yield {"kernel": launch.kernel, "grid": launch.grid, "block": launch.block, "shared_bytes": shared,
                   "registers": {arch: fact["registers"] for arch, fact in facts.items()},
                   "spill_bytes": {arch: fact["spill_store_bytes"] + fact["spill_load_bytes"] for arch, fact in facts.items()},
                   "wavefronts": found.shared_wavefronts, "least_wavefronts": found.least_wavefronts,
                   "sectors": found.global_sectors, "least_sectors": found.least_sectors}


def tensors_of(case: Case, contents: Contents) -> list[np.ndarray]:
    """What the steps of a network read and write: zeros, but the weights. Addresses depend on no value."""
    ports = [np.zeros(shape, dtype) for _, shape, dtype in (*case.inputs, *case.outputs)]
    arena = np.zeros(arena_bytes(contents.places) + 64, np.uint8)
    return [*ports, *map(np.array, contents.weights), *(view(arena, place) for place in contents.places)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=Path, required=True, metavar="DIR", help="a box of tests/gpu/run.py --pack")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, after every row; rows that are there stay")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="layers of such a name, or of this list of shapes")
    parser.add_argument("--blocks", type=int, default=BLOCKS, metavar="N", help=f"of each launch, to emulate; default: {BLOCKS}")
    options = parser.parse_args(arguments)
    versions = {name: metadata.version(name) for name in ("tenfold", "apache-tvm")} | {"nvcc": ".".join(map(str, find_nvcc().version))}
    results = Results("cuda-static", {"versions": versions, "blocks": options.blocks}, 1, options.json)
    results.resume()
    for case in read_cases(options.box):
        wanted = not options.only or any(fnmatch(name, pattern) for pattern in options.only for name in (case.name, *case.lists))
        if case.step not in STEPS or case.batch != 1 or not wanted or case.name in results.finished():
            continue
        try:
            row = row_of(case, options.box, options.blocks)
        except Exception as error:
            row = {"name": case.name, "lists": list(case.lists), "error": describe(error)}
        results.add(row)
        print(case.name, row.get("error", f"{len(row.get('launches', []))} launches"), flush=True)


if __name__ == "__main__":
    main()
