"""Networks on a GPU, through a driver that stands in for NVIDIA's: it runs the kernels on the CPU, and only when they are waited for."""
from __future__ import annotations

import gc
import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tenfold
from cuda_standin import StandIn
from tenfold.runner.devices.choose import device_of
from tenfold.runner.devices.device import Program
from tenfold.runtime.cuda.machine import GpuMachine
from tenfold.runtime.manifest import Manifest, sha256_of
from tenfold.support.errors import TenfoldError


def expected(folder: Path, x: np.ndarray) -> np.ndarray:
    """By the emulator's own way through the network, which knows no driver."""
    with device_of("emulated:cuda") as device:
        handle = device.load(Program.of_artifact(folder, Manifest.read(folder / "manifest.json")))
        return device.run(handle, {"image": x})["scores"]


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(7).standard_normal((count, 1, 3, 8, 8)).astype("float32"))


@pytest.fixture
def gpu(standin: StandIn, gpu_artifact: Path) -> StandIn:
    """One GPU that knows the kernels of `gpu_artifact`."""
    standin.gpu()
    standin.knows(gpu_artifact)
    return standin


def changed(folder: Path, to: Path, **code: object) -> Path:
    """A copy of an artifact with another model.cuda, which its manifest names."""
    shutil.copytree(folder, to)
    content = json.loads((to / "model.cuda").read_text())
    (to / "model.cuda").write_text(json.dumps({**content, **code}))
    manifest = json.loads((to / "manifest.json").read_text())
    (to / "manifest.json").write_text(json.dumps({**manifest, "library_sha256": sha256_of(to / "model.cuda")}))
    return to


def test_results_of_several_calls(gpu: StandIn, gpu_artifact: Path):
    network = tenfold.load(gpu_artifact)
    for x in images(3):
        np.testing.assert_array_equal(network(x), expected(gpu_artifact, x))


def test_an_input_in_another_order_of_memory(gpu: StandIn, gpu_artifact: Path):
    (x,) = images(1)
    turned = np.asfortranarray(x)
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(tenfold.load(gpu_artifact)(turned), expected(gpu_artifact, x))


def test_two_networks_and_two_threads_at_once(gpu: StandIn, gpu_artifact: Path, other_gpu_artifact: Path):
    gpu.knows(other_gpu_artifact)
    folders, found = [gpu_artifact, other_gpu_artifact], {}
    networks = {folder: tenfold.load(folder) for folder in folders}

    def work(number: int) -> None:
        for turn, x in enumerate(images(3)):
            found[number, turn] = networks[folders[number % 2]](x)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (number, turn), result in found.items():
        np.testing.assert_array_equal(result, expected(folders[number % 2], images(3)[turn]))
    assert len(found) == 12


def test_threads_that_call_one_network_take_turns(gpu: StandIn, gpu_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    """Each stops between its copies and its kernels, so that another would come in between."""
    copy_in = GpuMachine.copy_in

    def slowly(machine: GpuMachine, arrays: list[np.ndarray]) -> None:
        copy_in(machine, arrays)
        time.sleep(0.02)

    network, found = tenfold.load(gpu_artifact), {}
    monkeypatch.setattr(GpuMachine, "copy_in", slowly)
    threads = [threading.Thread(target=lambda number=number, x=x: found.update({number: network(x)})) for number, x in enumerate(images(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, x in enumerate(images(4)):
        np.testing.assert_array_equal(found[number], expected(gpu_artifact, x))


def test_everything_is_given_back(gpu: StandIn, gpu_artifact: Path):
    first, second = tenfold.load(gpu_artifact), tenfold.load(gpu_artifact)
    first(images(1)[0])
    there = gpu.counts
    assert (there.blocks, there.modules, there.streams, there.executables, there.contexts) == (2, 2, 2, 2, 2)
    assert there.current == 0  # the thread's context is as it was
    del first
    gc.collect()
    assert gpu.counts.blocks == 1 and gpu.counts.bytes == there.bytes // 2
    np.testing.assert_array_equal(second(images(1)[0]), expected(gpu_artifact, images(1)[0]))
    del second
    gc.collect()
    assert gpu.counts.all == 0


def test_the_first_run_is_at_loading(gpu: StandIn, gpu_artifact: Path):
    tenfold.load(gpu_artifact)
    assert len(gpu.launched) == len(Manifest.read(gpu_artifact / "manifest.json").kernels)


def test_nan_is_refused(gpu: StandIn, gpu_artifact: Path):
    x = images(1)[0]
    x[0, 1, 2, 3] = np.nan
    network = tenfold.load(gpu_artifact)
    with pytest.raises(TenfoldError, match="input 'image' holds NaN or infinity"):
        network(x)


FUNCTIONS = ["cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuModuleLoadData", "cuStreamCreate", "cuMemAlloc_v2",
             "cuMemsetD8Async", "cuMemcpyHtoDAsync_v2", "cuModuleGetFunction", "cuGraphCreate", "cuGraphAddKernelNode_v2",
             "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuStreamSynchronize", "kernel"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_any_failure_while_loading_is_one_line(gpu: StandIn, gpu_artifact: Path, function: str):
    gpu.fail(function, 719)
    with pytest.raises(TenfoldError, match="unspecified launch failure") as caught:
        tenfold.load(gpu_artifact)
    assert "\n" not in str(caught.value)
    gpu.heal()
    del caught
    gc.collect()
    assert gpu.counts.all == 0


CALLED = ["cuCtxPushCurrent_v2", "cuMemcpyHtoDAsync_v2", "cuGraphLaunch", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]


@pytest.mark.parametrize("function", CALLED)
def test_a_failure_of_one_call_is_one_line_and_the_next_call_works(gpu: StandIn, gpu_artifact: Path, function: str):
    network, x = tenfold.load(gpu_artifact), images(1)[0]
    gpu.fail(function, 719)
    with pytest.raises(TenfoldError, match=f"^the NVIDIA driver: {function}: unspecified launch failure$"):
        network(x)
    gpu.heal()
    assert gpu.counts.current == 0
    np.testing.assert_array_equal(network(x), expected(gpu_artifact, x))


def test_a_kernel_that_fails_leaves_one_line_in_every_call_behind_it(gpu: StandIn, gpu_artifact: Path):
    network = tenfold.load(gpu_artifact)
    gpu.fail("kernel", 700)
    for _ in range(2):
        with pytest.raises(TenfoldError, match="an illegal memory access was encountered$"):
            network(images(1)[0])


def test_too_little_memory(standin: StandIn, gpu_artifact: Path):
    standin.gpu(memory=4000)
    with pytest.raises(TenfoldError, match=r"^GPU 0 has too little memory free: 0\.\d MB are needed at once$"):
        tenfold.load(gpu_artifact)


def test_no_code_for_this_gpu(gpu: StandIn, gpu_artifact: Path):
    gpu.fail("cuModuleLoadData", 209)
    message = r"model\.cuda: GPU 0 refuses the code: .* no kernel image is available .*; compile the network for it"
    with pytest.raises(TenfoldError, match=message):
        tenfold.load(gpu_artifact)


def test_a_kernel_that_the_machine_code_lacks(standin: StandIn, gpu_artifact: Path):
    standin.gpu()
    standin.knows(gpu_artifact, leave_out="max_pool2d_kernel")
    with pytest.raises(TenfoldError, match="cuModuleGetFunction: named symbol not found"):
        tenfold.load(gpu_artifact)


def test_a_changed_file_of_code_is_refused(gpu: StandIn, gpu_artifact: Path, tmp_path: Path):
    folder = changed(gpu_artifact, tmp_path / "changed")
    with open(folder / "model.cuda", "a") as file:
        file.write(" ")
    with pytest.raises(TenfoldError, match=r"model\.cuda: does not match its manifest \(the SHA-256 differs\)"):
        tenfold.load(folder)


@pytest.mark.parametrize(("code", "message"), [
    ({"routines": {}}, "it has no kernel 'transpose'"),
    ({"fatbin": ""}, "it holds no machine code"),
    ({"fatbin": "bm90aGluZw=="}, "GPU 0 refuses the code: .* device kernel image is invalid"),
    ({"fatbin": "*"}, "no code for GPUs"),
    ({"format": 99}, "no code for GPUs that this Tenfold reads"),
])
def test_code_that_does_not_fit(gpu: StandIn, gpu_artifact: Path, tmp_path: Path, code: dict[str, object], message: str):
    with pytest.raises(TenfoldError, match=message) as caught:
        tenfold.load(changed(gpu_artifact, tmp_path / "changed", **code))
    assert "\n" not in str(caught.value)


def test_a_launch_that_takes_more_than_it_is_given(gpu: StandIn, gpu_artifact: Path, tmp_path: Path):
    routines = json.loads((gpu_artifact / "model.cuda").read_text())["routines"]
    routines["transpose"]["launches"][0]["arguments"] = [1, 9]
    with pytest.raises(TenfoldError, match="kernel 'transpose' takes more than the network gives it"):
        tenfold.load(changed(gpu_artifact, tmp_path / "changed", routines=routines))


def test_a_fork_says_that_it_can_not_use_the_gpu(gpu: StandIn, gpu_artifact: Path, tmp_path: Path):
    network, said = tenfold.load(gpu_artifact), tmp_path / "said"
    child = os.fork()
    if child == 0:
        try:
            network(images(1)[0])
        except TenfoldError as error:
            said.write_text(str(error))
        del network
        os._exit(0)
    os.waitpid(child, 0)
    assert said.read_text() == "a GPU can't be used in a fork of a process that used it: start the process with method 'spawn'"
    np.testing.assert_array_equal(network(images(1)[0]), expected(gpu_artifact, images(1)[0]))  # the child gave nothing back
