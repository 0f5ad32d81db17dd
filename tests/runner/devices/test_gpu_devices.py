"""Networks for GPUs on devices: this process, and one at the other end of a session. The driver is a stand-in."""
from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tenfold
from cuda_standin import StandIn
from tenfold.runner.devices.bench_session import Bench
from tenfold.runner.devices.choose import device_of, find_device
from tenfold.runner.devices.device import Program
from tenfold.runner.devices.here import Here
from tenfold.runner.devices.remote import Remote
from tenfold.runtime.manifest import Manifest
from tenfold.support.errors import TenfoldError


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype("float32")


@pytest.fixture
def manifest(gpu_artifact: Path) -> Manifest:
    return Manifest.read(gpu_artifact / "manifest.json")


@pytest.fixture
def gpu(standin: StandIn, gpu_artifact: Path) -> StandIn:
    standin.gpu()
    standin.knows(gpu_artifact)
    return standin


def test_this_process_runs_and_times_it(gpu: StandIn, gpu_artifact: Path, manifest: Manifest, x: np.ndarray):
    with device_of("here") as device:
        assert device.check(manifest.target) is None and isinstance(find_device(manifest.target)[0], Here)
        handle = device.load(Program.of_artifact(gpu_artifact, manifest))
        np.testing.assert_array_equal(device.run(handle, {"image": x})["scores"], tenfold.load(gpu_artifact)(x))
        assert len(device.time(handle, 4)) == 4 and min(device.time(handle)) > 0
        with pytest.raises(TenfoldError, match="input 'image' holds NaN or infinity"):
            device.run(handle, {"image": np.full_like(x, np.nan)})


def test_without_a_gpu_it_is_emulated(standin: StandIn, manifest: Manifest):
    device, lack = find_device(manifest.target)
    assert device is not None and device.name == "emulated:cuda" and "no CUDA-capable device" in lack


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_of_this_machine(gpu: StandIn, gpu_artifact: Path, manifest: Manifest, name: str, index: int):
    gpu.gpu("Second")
    with device_of(name) as device:
        assert device.describe() == f"cuda:{index}" and device.check(manifest.target) is None
        handle = device.load(Program.of_artifact(gpu_artifact, manifest))
        assert device._of(handle).machine.gpu.index == index


def test_a_gpu_runs_nothing_for_cpus(gpu: StandIn, tiny_artifact: Path):
    manifest = Manifest.read(tiny_artifact / "manifest.json")
    with device_of("cuda:0") as device:
        assert device.check(manifest.target).endswith("no GPU")


def test_a_session_loads_runs_and_times_it(gpu: StandIn, gpu_artifact: Path, manifest: Manifest, x: np.ndarray, tmp_path: Path):
    """Client and bench, without the wire between them."""
    bench = Bench(tmp_path)

    def ask(do: str, **options):
        answer = bench.answer({"do": do, **options})
        if "error" in answer:
            raise TenfoldError(answer["error"])
        return answer["value"]

    def send(path: Path, name: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / name)

    def fetch(do: str, size: int, **options) -> bytes:
        ask(do, **options)
        return b"".join(array.tobytes() for array in bench.results())

    session = SimpleNamespace(ask=ask, send=send, fetch=fetch, address="there:1", cpu="A CPU", gpus=ask("describe")["gpus"],
                              send_bytes=lambda content, name: (tmp_path / name).write_bytes(content), drop=lambda handle: None)
    remote = Remote(session)
    assert remote.describe() == "there:1, A CPU, Stand-in (sm_80)"
    assert ask("check", target=manifest.target) is None
    handle = remote.load(Program.of_artifact(gpu_artifact, manifest))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []  # both are taken
    np.testing.assert_array_equal(remote.run(handle, {"image": x})["scores"], tenfold.load(gpu_artifact)(x))
    assert len(remote.time(handle, 3)) == 3


def test_a_session_without_a_gpu_says_so(standin: StandIn, manifest: Manifest, tmp_path: Path):
    answer = Bench(tmp_path).answer({"do": "check", "target": manifest.target})
    assert "it is for a GPU: the NVIDIA driver: cuInit: no CUDA-capable device is detected" in answer["error"]
