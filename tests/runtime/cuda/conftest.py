"""A driver that stands in for NVIDIA's, and networks that were compiled for GPUs."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import tiny_network
from cuda_standin import StandIn, build
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.targets import cuda_driver


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("standin"))


@pytest.fixture
def standin(standin_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The driver of this machine, without a GPU so far."""
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(standin_library))
    cuda_driver.driver.cache_clear()
    yield StandIn(standin_library)
    cuda_driver.driver.cache_clear()


@pytest.fixture(scope="session")
def gpu_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_network` for GPUs, verified under emulation. Not to be changed: copy it."""
    return _compiled(tmp_path_factory.mktemp("gpu") / "tiny", 8)


@pytest.fixture(scope="session")
def other_gpu_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with other kernels."""
    return _compiled(tmp_path_factory.mktemp("gpu") / "other", 12)


def _compiled(folder: Path, features: int) -> Path:
    import onnx
    import tenfold

    if not finds_nvcc():
        pytest.skip("no nvcc of CUDA 13: pip install tenfold[cuda]")
    onnx.save(tiny_network(features), folder.with_suffix(".onnx"))
    tenfold.compile(folder.with_suffix(".onnx"), "cuda:sm_80", folder, device="emulated:cuda")
    return folder
