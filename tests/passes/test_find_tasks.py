"""Tasks of networks: each is found again, with its cut, in the network that is made of it alone."""
from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from tenfold.factorization.plan import Plan
from tenfold.frontends import load
from tenfold.passes import find_tasks as find_tasks_module
from tenfold.passes.find_tasks import find_tasks
from tenfold.passes.inventory import inventory, weights
from tenfold.passes.task_module import task_module
from tenfold.runner.build import make_variant
from tenfold.schedules.backend import KernelChoices, backend_of, kernels_of
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.schedules.task import RESIDUAL, Task, TaskLayer
from tenfold.targets import CpuTarget, resolve
from tenfold.tuning.candidates import Candidates
from torch import nn

ROOT = Path(__file__).parents[2]
PRESETS = ["zen3", "zen4", "cortex-a72", "sm_80"]


class Residual(nn.Module):
    """What stands around layers in networks: residuals, activations, poolings, groups, a transposed convolution, two dense layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.a, self.b = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.wide, self.depthwise, self.narrow = nn.Conv2d(16, 96, 1), nn.Conv2d(96, 96, 3, padding=1, groups=96), nn.Conv2d(96, 16, 1)
        self.up = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(torch.relu(self.stem(x)), 2)
        x = torch.relu(self.b(torch.relu(self.a(x))) + x)
        x = x + self.narrow(torch.nn.functional.relu6(self.depthwise(torch.nn.functional.relu6(self.wide(x)))))
        x = torch.sigmoid(self.up(x)).mean((2, 3))
        return self.second(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def network():
    return load(Residual().eval(), example_inputs=(torch.zeros(1, 3, 32, 32),))


def again(task, target):
    """The tasks of a task's own network, its run cut as the task says."""
    backend = backend_of(target)
    run = backend.run([layer.workload for layer in task.layers], task.source_nchw, task.result_nchw) if task.cut else None
    cut = {f"layer{i}": kind for i, kind in enumerate(task.cut)}
    return find_tasks(task_module(task), backend_of(target, KernelChoices({} if run is None else {run.workload: cut})))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_task_is_found_again_in_its_own_network(network, preset):
    target = resolve(preset)
    tasks = find_tasks(network.mod, backend_of(target))
    assert sum(tasks.values()) >= 5
    for task in tasks:
        assert again(task, target) == {task: 1}
    steps = {step for task in tasks for layer in task.layers for step in layer.steps}
    assert {RESIDUAL, "relax.nn.relu", "relax.clip 0 6", "relax.sigmoid", "relax.add"} <= steps


@pytest.mark.slow
@pytest.mark.parametrize("method", [
    "spatial_svd", *(pytest.param(method, marks=pytest.mark.long) for method in ("tucker2", "biclustering_svd", "flattened")),
])  # fmt: skip
def test_so_it_is_for_a_network_that_is_factored(method):
    network = load(ROOT / "examples" / "models" / "cifar10_jin_baseline.onnx")
    plan = Plan.by_energy(inventory(network.mod), weights(network.mod), network.sha256, "zen3", method, 0.6, multiple=16)
    mod = make_variant(network, plan).mod
    for preset in PRESETS[:3]:
        target = resolve(preset)
        for task in find_tasks(mod, backend_of(target)):
            assert again(task, target) == {task: 1}


@pytest.mark.parametrize("preset", PRESETS)
def test_neighbours_that_one_kernel_could_replace_are_one_task(monkeypatch, preset):
    """Whatever is near, each layer is in as many tasks as before, and each such task can be cut as one kernel."""
    target, mod = resolve(preset), load(ROOT / "examples" / "models" / "cifar10_jin_baseline.onnx").mod
    backend = backend_of(target)
    monkeypatch.setattr(find_tasks_module, "NEAR", 0.0)
    alone = find_tasks(mod, backend)
    monkeypatch.setattr(find_tasks_module, "NEAR", 100.0)
    near = find_tasks(mod, backend)
    assert all(len(kernels_of(cut_of(task))) == 1 for task in alone if task.cut)
    together = [task for task in near if task.cut and len(kernels_of(cut_of(task))) == 2]
    assert together or not isinstance(target, CpuTarget)  # the layers of this network are no stages on a GPU
    for task in together:
        assert any(len(kernels_of(way.cut[run])) == 1 for way in Candidates(task, target).ways for run in way.cut)

    def convolutions(tasks):
        return Counter(str(layer.workload) for task, count in tasks.items() for layer in task.layers for _ in range(count)
                       if not isinstance(layer.workload, DenseWorkload) and not layer.workload.pools)

    assert convolutions(near) == convolutions(alone)


def cut_of(task):
    return {f"layer{i}": kind for i, kind in enumerate(task.cut)}


def test_what_a_task_computes_and_moves():
    conv = TaskLayer(ConvWorkload(ConvGeometry(8, (3, 3), padding=(1, 1, 1, 1)), (5, 6), 4, 2), ("relax.add", RESIDUAL))
    task = Task((conv,))
    assert task.macs == 2 * 5 * 6 * 8 * 4 * 9
    assert task.bytes == 4 * (2 * 5 * 6 * (4 + 8 + 8) + 8 * 4 * 9)
    assert Task((TaskLayer(DenseWorkload(1, 30, 20)),)).macs == 600 and task.operator == "conv2d" and task.epilogue == "add, residual"
