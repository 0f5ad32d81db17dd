"""Modules of a search, timed on a GPU: what is refused where there is none, and what is called where there is one (a stand-in)."""
from __future__ import annotations

from pathlib import Path

import pytest
from cuda_standin import StandIn
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.frontends import load
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices.choose import device_of
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve


def test_no_gpu(standin: StandIn):
    message = r"^target cuda:sm_80: it is for a GPU: .* no CUDA-capable device is detected: candidates can't be timed here"
    with pytest.raises(TenfoldError, match=message):
        TimedModules(resolve("cuda:sm_80"), device_of("here"))


def test_emulation_has_no_times():
    message = "^device emulated:cuda: times under emulation say nothing of a GPU: give here, cuda:N or HOST:PORT, with a GPU$"
    with pytest.raises(TenfoldError, match=message):
        TimedModules(resolve("cuda:sm_80"), device_of("emulated:cuda"))


@pytest.mark.slow
@pytest.mark.skipif(not finds_nvcc(), reason="no nvcc of CUDA 13: pip install tenfold[cuda]")
@pytest.mark.parametrize("part", ["kernels", "network"])
def test_a_module_runs_by_the_clock_of_the_gpu(standin: StandIn, tiny_file: Path, monkeypatch: pytest.MonkeyPatch, part: str):
    standin.gpu()
    standin.follow(monkeypatch)
    timed = getattr(TimedModules(resolve("cuda:sm_80"), device_of("here")), part)(load(tiny_file).mod)
    standin.launched.clear()
    assert timed() > 0
    assert len(standin.launched) % 4 == 0 and len(standin.launched) >= 40  # all kernels, in each of some runs
