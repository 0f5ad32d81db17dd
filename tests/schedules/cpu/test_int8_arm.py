"""Kernels of bytes for AArch64: their machine code, wherever it is compiled, and exact sums under emulation, where that is installed.

All layers of a CPU are one network, which is compiled once and run once.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tvm
from byte_checks import expected
from host_model import named
from tenfold.passes.legalize import call_kernel
from tenfold.runner.abilities import ability
from tenfold.runner.build import build_library, describe_target
from tenfold.runner.devices.choose import find_device
from tenfold.runner.devices.device import Program
from tenfold.runtime.manifest import Port
from tenfold.schedules.backend import Kernel, LayerConstants, backend_of
from tenfold.schedules.cpu import RULES
from tenfold.schedules.cpu.int8.instructions import Neon, NeonDot
from tenfold.schedules.cpu.int8.isa import dot_of
from tenfold.schedules.driver import schedule_function
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.targets import CpuTarget
from tvm import relax, te

CPUS = ("cortex-a72", "neoverse-n1")  # without and with the dot product extension
LABEL, BACK = re.compile(r"(\.LBB\w+):"), re.compile(r"\s+(?:b|b\.\w+|cbn?z|tbn?z)\s.*?(\.LBB\w+)$")


@dataclass
class Case:
    """A layer: its kernel, what it reads, and the sums that are expected."""

    kernel: Kernel
    x: np.ndarray
    constants: LayerConstants
    sums: np.ndarray


def convolution(target: CpuTarget, geometry: ConvGeometry, x: np.ndarray, weight: np.ndarray, zero: int) -> Case:
    kernel = backend_of(target).byte_convolution(ConvWorkload(geometry, x.shape[1:3], x.shape[3], x.shape[0]))
    assert kernel is not None, geometry
    return Case(kernel, x, LayerConstants(weight, zero=zero), expected(x, weight, zero, geometry))


def dense(target: CpuTarget, x: np.ndarray, weight: np.ndarray, zero: int) -> Case:
    kernel = backend_of(target).byte_dense(DenseWorkload(int(np.prod(x.shape[:-1])), x.shape[-1], len(weight)))
    return Case(kernel, x, LayerConstants(weight, zero=zero), (x.astype(np.int64) - zero) @ weight.T.astype(np.int64))


def bytes_like(rng: np.random.Generator, shape: tuple[int, ...], least: int = -128) -> np.ndarray:
    return rng.integers(least, 128, shape).astype(np.int8)


def random_layer(target: CpuTarget, rng: np.random.Generator) -> Case:
    """Any kernel, stride, padding, dilation, groups, odd sizes."""
    groups = int(rng.choice([1, 1, 2, 4]))
    channels, filters = groups * int(rng.integers(1, 21)), groups * int(rng.integers(1, 41))
    kernel = tuple(rng.choice([1, 1, 2, 3, 5], 2).tolist())
    padding, dilation, stride = (tuple(rng.integers(low, high, count).tolist()) for low, high, count in ((0, 3, 4), (1, 3, 2), (1, 4, 2)))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [span + int(rng.integers(0, 10)) for span in spans]
    geometry = ConvGeometry(filters, kernel, stride, padding, dilation, groups)
    weight = bytes_like(rng, (filters, channels // groups, *kernel), int(rng.choice([-128, -127])))
    return convolution(target, geometry, bytes_like(rng, (int(rng.integers(1, 3)), *size, channels)), weight, int(rng.integers(-128, 128)))


def cases_of(target: CpuTarget) -> list[Case]:
    rng = np.random.default_rng(0)
    found = [random_layer(target, rng) for _ in range(12)]
    for filters, channels, width in ((16, 64, 12), (32, 24, 9), (40, 20, 7), (8, 3, 16)):  # all fours that are loaded at once, and fewer
        geometry = ConvGeometry(filters, (3, 3), padding=(1,) * 4)
        found.append(convolution(target, geometry, bytes_like(rng, (1, 5, width, channels)), bytes_like(rng, (filters, channels, 3, 3)), 3))
    for weight in (-128, -127, 127):  # pairs of products that leave 16 bits, and sums as large as they get
        for value in (-128, 127):
            x, factors = np.full((1, 4, 5, 256), value, np.int8), np.full((8, 256, 3, 3), weight, np.int8)
            found.append(convolution(target, ConvGeometry(8, (3, 3), padding=(1,) * 4), x, factors, -value - 1))
    for shape in ((1, 9), (1, 64), (5, 30), (2, 3, 16)):
        found.append(dense(target, bytes_like(rng, shape), bytes_like(rng, (37, shape[-1])), -5))
    depthwise = [(16, 1, 1, (3, 3), 0), (40, 2, 1, (5, 5), -128), (7, 1, 2, (3, 2), 127), (24, 2, 1, (1, 3), 5)]
    for channels, stride, dilation, kernel, zero in depthwise:
        geometry = ConvGeometry(channels, kernel, (stride, stride), (2, 1, 1, 2), (dilation, dilation), channels)
        found.append(convolution(target, geometry, bytes_like(rng, (2, 11, 13, channels)), bytes_like(rng, (channels, 1, *kernel)), zero))
    for value, weight in ((-128, -128), (127, -128)):
        x, factors = np.full((1, 6, 7, 16), value, np.int8), np.full((16, 1, 3, 3), weight, np.int8)
        found.append(convolution(target, ConvGeometry(16, (3, 3), padding=(1,) * 4, groups=16), x, factors, -value - 1))
    return found


def network_of(cases: list[Case]) -> tvm.IRModule:
    """A network that gives the sums of all layers."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(case.x.shape, "int8")) for i, case in enumerate(cases)]
    with builder.function("main", inputs):
        with builder.dataflow():
            calls = [call_kernel(builder, case.kernel, x, case.constants) for case, x in zip(cases, inputs, strict=True)]
            results = [builder.emit_output(call) for call in calls]
        builder.emit_func_output(relax.Tuple(results))
    return builder.get()


@pytest.mark.parametrize("name", CPUS)
def test_sums_are_exact(name, tmp_path):
    target = named(name)
    if not ability(target).compile:
        pytest.skip("no C++ compiler for AArch64 is installed")
    device, why = find_device(describe_target(target))
    if device is None:
        pytest.skip(f"{why}, and no emulator is installed")
    cases = cases_of(target)
    build_library(network_of(cases), target, tmp_path)
    inputs = tuple(Port(f"x{i}", case.x.shape, "int8") for i, case in enumerate(cases))
    outputs = tuple(Port(f"y{i}", case.sums.shape, "int32") for i, case in enumerate(cases))
    with device:
        handle = device.load(Program(tmp_path, inputs, outputs, 2))
        found = device.run(handle, {f"x{i}": case.x for i, case in enumerate(cases)})
    for i, case in enumerate(cases):
        np.testing.assert_array_equal(found[f"y{i}"], case.sums, case.kernel.workload)


def code_of(case: Case, target: CpuTarget) -> str:
    """The machine code of a kernel."""
    bound = case.kernel.bind(case.constants)
    arrays = [case.x, *bound.constants]
    placeholders = [te.placeholder(array.shape, str(array.dtype), name=f"p{i}") for i, array in enumerate(arrays)]
    schedule = schedule_function(te.create_prim_func([*placeholders, bound.compute(*placeholders)]), RULES, target)
    assert schedule is not None
    return tvm.compile(backend_of(target).lower_loops(schedule.mod), target=target.tvm_target()).mod.inspect_source("asm")


def main_loop(code: str) -> list[str]:
    """The instructions of the loop that multiplies most, of those that have no loop in them."""
    lines = [line.split("//")[0].rstrip() for line in code.splitlines()]
    labels = {found[1]: at for at, line in enumerate(lines) if (found := LABEL.match(line))}
    spans = [(labels[found[1]], at) for at, line in enumerate(lines) if (found := BACK.match(line)) and labels.get(found[1], at) < at]
    inner = [(begin, end) for begin, end in spans if not any(begin < first and last < end for first, last in spans)]
    bodies = [[line.strip() for line in lines[begin:end] if re.match(r"\s+[a-z]", line)] for begin, end in inner]
    return max(bodies, key=lambda body: count(body, "sdot", "smull", "smull2"))


def count(body: list[str], *names: str) -> int:
    return sum(line.split()[0] in names for line in body)


@pytest.mark.parametrize(("name", "least", "products"), [
    ("neoverse-n1", -128, {"sdot": 1}), ("neoverse-v1", -127, {"sdot": 1}), ("raspberry-pi-5", -128, {"sdot": 1}),
    ("cortex-a72", -127, {"smull": 0.5, "smlal": 0.5, "sadalp": 0.5}), ("raspberry-pi-4", -128, {"smull": 1, "sadalp": 1})])
def test_the_main_loop_is_made_of_the_instruction(name, least, products):
    target, rng = named(name), np.random.default_rng(0)
    weight = np.maximum(bytes_like(rng, (64, 64, 3, 3)), least)
    weight[0, 0, 0, 0] = least
    case = convolution(target, ConvGeometry(64, (3, 3), padding=(1,) * 4), bytes_like(rng, (1, 15, 15, 64)), weight, 3)
    tile = case.kernel.tile
    body = main_loop(code_of(case, target))
    fours = 4 if "sdot" in products else 2  # of the channels of a step; or the halves of a vector
    for instruction, share in products.items():
        assert count(body, instruction, f"{instruction}2") == share * fours * tile.pixels * tile.vectors
    assert all(".4b[" in line for line in body if line.startswith("sdot"))  # by lane: no broadcast
    # Nothing by itself but addresses; sums stay in registers.
    assert not count(body, "mul", "madd", "ldrsb", "ldrb", "strb", "smov", "umov", "st1", "stp")
    assert count(body, "str") <= 1 and len(body) <= 1.5 * sum(products.values()) * fours * tile.pixels * tile.vectors


@pytest.mark.parametrize(("name", "least"), [("cortex-a72", -127), ("neoverse-n1", -128)])
def test_depthwise_multiplies_bytes(name, least):
    target, rng = named(name), np.random.default_rng(0)
    weight = np.maximum(bytes_like(rng, (96, 1, 3, 3)), least)
    weight[0, 0, 0, 0] = least
    case = convolution(target, ConvGeometry(96, (3, 3), padding=(1,) * 4, groups=96), bytes_like(rng, (1, 14, 14, 96)), weight, 3)
    body, pixels = main_loop(code_of(case, target)), case.kernel.tile.pixels
    products = count(body, "smull", "smlal", "mul")  # of eight channels: one for a pixel and tap
    assert 9 * pixels <= products <= 10 * pixels
    assert count(body, "smlal") >= 4 * pixels if least == -127 else not count(body, "smlal")  # two products in 16 bits, or each widened
    assert not count(body, "fmla", "scvtf", "madd", "ldrsb", "ldrb")


def test_a_cpu_that_hides_dot_products_does_without():
    target = named("cortex-a76")
    hidden = replace(target, features=("fp", "asimd"))
    assert [type(dot_of(each)) for each in (target, hidden)] == [NeonDot, Neon]
    assert backend_of(hidden).byte_dtype == "int8" and backend_of(named("zen4")).byte_dtype == "uint8"


@pytest.mark.parametrize(("name", "channels", "quicker"), [
    ("cortex-a72", 128, True), ("neoverse-n1", 128, False), ("x86-64-v3", 128, True), ("zen4", 128, False)])
def test_winograd_in_float32_is_quicker_where_no_instruction_is_for_dot_products(name, channels, quicker):
    backend = backend_of(named(name))
    three, one = (ConvWorkload(ConvGeometry(channels, (k, k), padding=(k // 2,) * 4), (28, 28), channels, 1) for k in (3, 1))
    assert backend.quicker_in_float32(three) == quicker and not backend.quicker_in_float32(one)
