"""A backend is a folder and a preset: one with plain loop nests compiles a network, and no pass knows of it."""
from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tenfold
import tvm
from fusion_checks import bottleneck
from host_model import named
from tenfold.passes.pipeline import lower
from tenfold.schedules import backend as backends
from tenfold.schedules.backend import Backend, BoundKernel, Kernel, KernelChoices, backend_of
from tenfold.schedules.space import Knobs, Space
from tenfold.schedules.tir.bound_loops import lower_blocks
from tvm import relax, te
from tvm.s_tir import Schedule

ROOT = Path(tenfold.__file__).parent


class PlainConvolution(Kernel):
    """A loop nest as the definition has it."""

    name = "plain_conv2d"

    def __init__(self, convolution, parallel=False):
        self.convolution, self.parallel = convolution, parallel

    @property
    def workload(self):
        return str(self.convolution)

    @property
    def point(self):
        return {"parallel": self.parallel}

    def space(self):
        return Space(self.point, (Knobs({"parallel": (False, True)}),))

    def at(self, point):
        return PlainConvolution(self.convolution, bool(self.space().check(point, self.workload)["parallel"]))

    def bind(self, *layers):
        geometry, (height, width) = self.convolution.geometry, self.convolution.output
        top, left = geometry.padding[:2]
        per_group, channels = geometry.filters // geometry.groups, self.convolution.channels // geometry.groups
        rows, columns = self.convolution.size

        def compute(x, w):
            axes = [te.reduce_axis((0, extent)) for extent in (channels, *geometry.kernel)]

            def product(n, y, x_, f):
                c, ky, kx = axes
                row = y * geometry.stride[0] + ky * geometry.dilation[0] - top
                column = x_ * geometry.stride[1] + kx * geometry.dilation[1] - left
                inside = tvm.tirx.all(row >= 0, row < rows, column >= 0, column < columns)
                value = tvm.tirx.if_then_else(inside, x[n, row, column, f // per_group * channels + c], tvm.tirx.const(0, "float32"))
                return te.sum(value * w[f, c, ky, kx], axis=axes)

            return te.compute((self.convolution.batch, height, width, geometry.filters), product, name="plain")

        return BoundKernel([layers[0].weight], compute)


class PlainBackend(Backend):
    """Plain loop nests."""

    rules = (lambda func, target: Schedule(func),)

    def convolution(self, workload):
        return self.choices.apply(PlainConvolution(workload))

    def batch_pieces(self, traffic):
        return 1

    def lower_loops(self, mod):
        return lower_blocks(mod)


@pytest.fixture
def plain(monkeypatch):
    """A target with a backend of its own."""
    module = ModuleType("tenfold.schedules.plain.backend")
    module.BACKEND = PlainBackend
    monkeypatch.setitem(sys.modules, "tenfold.schedules.plain", ModuleType("tenfold.schedules.plain"))
    monkeypatch.setitem(sys.modules, "tenfold.schedules.plain.backend", module)
    monkeypatch.setitem(backends.FOLDERS, "llvm", "plain")
    return named("zen3")


def test_a_network_is_compiled_with_plain_loops(plain):
    assert isinstance(backend_of(plain), PlainBackend)
    net, choices = bottleneck(), KernelChoices()
    mod = lower(net.mod, backend_of(plain, choices))
    names = [var.name_hint for var, func in mod.functions_items() if isinstance(func, tvm.tirx.PrimFunc)]
    assert sum("plain_conv2d" in name for name in names) == 3
    assert list(choices.taken.values()) == [{"parallel": False}] * 3
    built = tvm.compile(mod, target=plain.tvm_target(), relax_pipeline=None)
    x = np.random.default_rng(0).standard_normal(net.inputs[0].shape, "float32")
    found = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    [expected] = net.run_reference({net.inputs[0].name: x})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_record_reaches_the_kernel(plain):
    first = KernelChoices()
    lower(bottleneck().mod, backend_of(plain, first))
    wanted = {workload: {"parallel": True} for workload in first.taken}
    again = KernelChoices(wanted)
    lower(bottleneck().mod, backend_of(plain, again))
    assert again.taken == wanted


def test_a_backend_without_kernels_leaves_everything_to_tvm(plain, monkeypatch):
    monkeypatch.setattr(PlainBackend, "convolution", Backend.convolution)
    mod = lower(bottleneck().mod, backend_of(plain), until="fuse")
    names = [var.name_hint for var, func in mod.functions_items() if isinstance(func, tvm.tirx.PrimFunc)]
    assert any("conv2d" in name for name in names) and not any("chain" in name or "plain" in name for name in names)


def test_no_pass_names_a_backend():
    """Only a backend's own folder imports from it."""
    folders = {folder.parent.name for folder in (ROOT / "schedules").glob("*/backend.py")}
    assert "cpu" in folders
    for path in [*(ROOT / "passes").rglob("*.py"), *(ROOT / "codegen").rglob("*.py"), *(ROOT / "schedules").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and ("schedules" in node.module or path.parent.name == "schedules"):
                assert not folders & set(node.module.split(".")), f"{path} imports {node.module}"


def test_cores_are_part_of_a_target():
    assert backend_of(replace(named("zen3"), cores=3)).target.cores == 3
