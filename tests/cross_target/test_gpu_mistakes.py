"""What users get wrong with GPUs: one line, exit code 2, nothing written. The driver is a stand-in."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_checks import tenfold
from cuda_standin import StandIn, set_up_file
from tenfold.codegen.cuda import nvcc


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), "float32"))
    return tmp_path


def refused(*arguments: object) -> str:
    """What a command says that ends with code 2."""
    done = tenfold(*arguments)
    assert done.code == 2 and done.complaint is None, done
    return done.err


def test_no_nvcc(tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nvcc, "_candidates", lambda: iter(()))
    said = refused("compile", tiny_file, "-o", tmp_path / "out", "--target", "cuda:sm_80")
    assert 'pip install "tenfold[cuda]"' in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("target", "words"), [
    ("cuda:sm_99", "unknown architecture 'sm_99': it is one of sm_75"), ("cuda:sm_70", "unknown architecture 'sm_70'"),
])
def test_architectures_that_are_none(tiny_file: Path, tmp_path: Path, target: str, words: str):
    assert words in refused("compile", tiny_file, "-o", tmp_path / "out", "--target", target)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_old_gpu(standin: StandIn, tiny_file: Path, tmp_path: Path):
    standin.gpu("Old", (7, 0))
    assert "Old is sm_70: the oldest architecture that CUDA 13 compiles for is sm_75" in refused(
        "compile", tiny_file, "-o", tmp_path / "out", "--target", "cuda")


def test_threads_for_a_gpu(standin: StandIn, tiny_file: Path, gpu_artifact: Path, files: Path):
    standin.gpu()
    assert "threads are for CPUs" in refused("compile", tiny_file, "-o", files / "out", "--target", "cuda:sm_80", "--threads", 2)
    assert "threads are for CPUs" in refused("run", gpu_artifact, "--input", files / "x.npy", "--threads", 2)
    assert "threads are for CPUs" in refused("bench", gpu_artifact, "--threads", 2)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("prepare", "options", "words"), [
    (lambda s: s.version(12040), [], "this NVIDIA driver is for CUDA 12, the code needs 13: update the driver"),
    (lambda s: s.gpu("Small", (8, 0), 1000), ["--device", "cuda:1"], "GPU 1 has too little memory free"),
    (lambda s: None, ["--device", "cuda:3"], "there is no GPU 3: this machine has 0 (Stand-in)"),
    (lambda s: s.gpu("Old", (7, 5)), ["--device", "cuda:1"], "it holds code for sm_80, compute_80, and Old is sm_75"),
    (lambda s: s.fail("cuModuleLoadData", 209), [], "refuses the code"),
    (lambda s: s.fail("kernel", 700), [], "an illegal memory access was encountered"),
    (lambda s: None, ["--device", "cuda:one"], "name a GPU as cuda:N"),
])
def test_a_network_that_can_not_run(standin: StandIn, gpu_artifact: Path, files: Path, prepare, options: list[str], words: str):
    standin.gpu()
    standin.knows(gpu_artifact)
    prepare(standin)
    assert words.lower() in refused("run", gpu_artifact, "--input", files / "x.npy", "-o", files / "y.npz", *options).lower()
    assert not (files / "y.npz").exists()


def test_one_that_can(standin_library: Path, gpu_artifact: Path, files: Path):
    """In a process of its own, which has the room that the emulator takes."""
    environment = {**os.environ, **set_up_file(gpu_artifact, files / "standin"), "LD_LIBRARY_PATH": str(standin_library.parent)}
    command = [sys.executable, "-m", "tenfold", "run", gpu_artifact, "--input", files / "x.npy", "-o", files / "y.npz", "--device", "cuda"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert np.load(files / "y.npz")["scores"].shape == (1, 5)
