"""Profiles: every kernel with its layers, and numbers that fit together."""
from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tenfold
from tenfold.runner.bench.peak import ACCUMULATORS, peak_kernel
from tenfold.runner.bench.profile import profile
from tenfold.runner.bench.profile_report import profile_table
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve


@pytest.fixture(scope="module")
def net(tiny_artifact):
    return tenfold.load(tiny_artifact)


@pytest.fixture
def measured(net, image):
    return profile(net, {"image": image}, runs=5, peak_gflops=100.0)


def test_every_kernel_is_there_with_its_layers_and_work(net, measured):
    assert [kernel.layers for kernel in measured.kernels if kernel.layers] == [("conv",), ("fc",)]
    assert any("pool" in kernel.function or kernel.output == (1, 4, 4, 8) for kernel in measured.kernels)  # by itself, or within the chain
    assert sum(fact["macs"] for fact in net.manifest.kernels) == net.manifest.macs
    assert measured.kernels[-1].output[-1] == 5


def test_the_numbers_fit_together(net, measured):
    assert measured.kernels_ms == sum(kernel.ms for kernel in measured.kernels) > 0 < measured.total_ms
    for fact, kernel in zip(net.manifest.kernels, measured.kernels, strict=True):
        assert kernel.share == pytest.approx(kernel.ms / measured.total_ms)
        if fact["macs"]:
            assert kernel.gflops == pytest.approx(2 * fact["macs"] / (kernel.ms * 1e-3) / 1e9)
            assert kernel.peak_share == pytest.approx(kernel.gflops / 100)
        else:
            assert kernel.gflops is kernel.peak_share is None


def test_profiling_leaves_the_artifact_as_it_is(net, image):
    before = net(image)
    profile(net, {"image": -image}, runs=2)
    np.testing.assert_array_equal(net(image), before)


def test_without_a_peak_there_is_no_share_of_it(net, image):
    assert all(kernel.peak_share is None for kernel in profile(net, {"image": image}, runs=2).kernels)


def test_a_manifest_of_another_library_is_refused(tiny_artifact, tmp_path, image):
    import shutil

    copy = shutil.copytree(tiny_artifact, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["kernels"].append(manifest["kernels"][0])
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TenfoldError, match="kernels"):
        profile(tenfold.load(copy), {"image": image}, runs=1)


def test_the_table_ends_in_the_sum(measured):
    from rich.console import Console

    console = Console(width=160)
    with console.capture() as capture:
        console.print(profile_table(measured, "net"))
    text = capture.get()
    assert re.search(r"conv .*1x(8x8|4x4)x8", text) and re.search(r"\d+ calls", text)
    assert "whole call" in text and "Peak: 100 GFLOP/s" in text


def test_comparisons_carry_profiles_where_asked_for(tiny_artifact):
    row = tenfold.bench(tiny_artifact, runs=2, profile=True).rows[0]
    assert [kernel.layers for kernel in row.profile.kernels if kernel.layers] == [("conv",), ("fc",)]
    assert row.profile.peak_gflops > 0
    result = tenfold.bench(tiny_artifact, runs=2)
    assert result.rows[0].profile is None and "profile" not in json.loads(result.to_json())["rows"][0]


def test_the_peak_kernel_does_nothing_but_multiply_adds_on_registers():
    """In its innermost loop: as many multiply-adds as accumulators, and no access to memory."""
    target = resolve("host")
    library = peak_kernel(target, 2)
    assembly = library.mod.inspect_source("asm")
    loops = re.findall(r"(?m)^(\.LBB\S+):.*\n((?:(?!\.LBB|\1).*\n)*?)\s+j\w+\s+\1$", assembly)
    busiest = max((body for _, body in loops), key=lambda body: body.count("vfmadd"))
    assert busiest.count("vfmadd") % ACCUMULATORS == 0 and busiest.count("vfmadd") > 0
    assert "(" not in re.sub(r"#.*", "", busiest)
