"""Which CUDA compiler is taken. The compilers are scripts that only tell their version."""
from __future__ import annotations

import pytest
from tenfold.codegen.cuda import nvcc
from tenfold.codegen.cuda.nvcc import find_nvcc, finds_nvcc
from tenfold.support.errors import TenfoldError


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch, tmp_path):
    """A machine without CUDA."""
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(nvcc, "INSTALLED", tmp_path / "none")
    monkeypatch.setattr(nvcc, "_wheels", lambda: [])


def compiler(folder, version):
    path = folder / "bin" / "nvcc"
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\necho "Cuda compilation tools, release {version}, V{version}.88"\n')
    path.chmod(0o755)
    return path


def test_there_is_none():
    install = r"pip install \"tenfold\[cuda\]\", or name an installed CUDA in CUDA_HOME$"
    with pytest.raises(TenfoldError, match=f"no nvcc was found; install it with {install}"):
        find_nvcc()
    assert not finds_nvcc()


def test_an_older_one_is_refused(monkeypatch, tmp_path):
    path = compiler(tmp_path / "cuda-12", "12.8")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda-12"))
    with pytest.raises(TenfoldError, match=rf"{path} is of CUDA 12.8, and 13.0 or newer is needed; install it with"):
        find_nvcc()


def test_wheels_come_first_and_older_ones_are_passed_over(monkeypatch, tmp_path):
    installed = compiler(tmp_path / "cuda-13.1", "13.1")
    on_path = compiler(tmp_path / "path", "14.0")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_nvcc().path == on_path
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda-13.1"))
    assert find_nvcc() == nvcc.Nvcc(installed, (13, 1))
    wheel = compiler(tmp_path / "cu12", "12.9")
    monkeypatch.setattr(nvcc, "_wheels", lambda: [tmp_path / "cu12"])
    assert find_nvcc().path == installed != wheel
    wheel = compiler(tmp_path / "cu13", "13.0")
    monkeypatch.setattr(nvcc, "_wheels", lambda: [tmp_path / "cu13", tmp_path / "cu12"])
    assert find_nvcc() == nvcc.Nvcc(wheel, (13, 0))


def test_one_that_can_not_be_run_is_passed_over(monkeypatch, tmp_path):
    path = compiler(tmp_path / "cuda", "13.0")
    path.chmod(0o644)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    with pytest.raises(TenfoldError, match="no nvcc was found"):
        find_nvcc()
