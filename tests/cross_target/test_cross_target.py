"""One network compiled for every target: each that can run or be emulated here gives the same outputs; one table of them all.

    python -m pytest tests/cross_target -n 0 -s         # shows the table
"""
from __future__ import annotations

import numpy as np
import pytest
import tenfold
from tenfold.frontends import load
from tenfold.runner.abilities import ability
from tenfold.runner.devices.artifacts import load_on
from tenfold.runner.devices.choose import find_device
from tenfold.runner.report import console
from tenfold.support.errors import TenfoldError
from tenfold.support.listing import Listing
from tenfold.targets import CpuTarget, cpu_presets

CPUS = [preset for preset in cpu_presets() if not preset.description.endswith(f"({preset.tvm['mcpu']})")]  # boards are names for them
rows: dict[str, tuple[str, str, str]] = {}


@pytest.fixture(scope="module")
def expected(tiny_file):
    """An input, and what the reference makes of it."""
    network = load(tiny_file)
    [spec] = network.inputs
    x = np.random.default_rng(0).standard_normal(spec.shape, "float32")
    return x, network.reference({spec.name: x})[0]


@pytest.fixture(scope="module", autouse=True)
def table():
    """What was verified how, and how large it is; shown at the end."""
    yield
    listing = Listing(["target", "kB", "error", "verified on"], remark=True)
    for name, (where, error, size) in sorted(rows.items()):
        listing.add_row(name, size, error, where)
    console().print(listing)


@pytest.mark.quick(2)
@pytest.mark.parametrize("target", CPUS, ids=lambda target: target.name)
def test_outputs_agree(target: CpuTarget, tiny_file, tmp_path, expected):
    can = ability(target)
    if not can.compile:
        pytest.skip(f"no C++ compiler for {target.architecture.title} is installed")
    net = tenfold.compile(tiny_file, target.name, tmp_path / "net", threads=2)
    found, size = net.manifest.verification, f"{net.manifest.bytes / 1000:.0f}"
    rows[target.name] = ("nothing here", "", size) if found is None else (found["device"], f"{found['max_rel_error']:.0e}", size)
    if found is None:
        assert not can.run and net.manifest.reference is not None
        with pytest.raises(TenfoldError, match="it can't run here"):
            net(expected[0])
        pytest.skip("neither this machine nor an emulator that is installed can run it")
    assert found["max_rel_error"] < 1e-4 and (found["device"] == "here") == can.run
    device, _ = find_device(net.manifest.target)
    assert device is not None
    with device:
        result = load_on(device, tmp_path / "net")(expected[0])
    np.testing.assert_allclose(result, expected[1], rtol=1e-4, atol=1e-4)


def test_every_architecture_is_among_them():
    assert {target.architecture.name for target in CPUS} == {"x86_64", "aarch64"}
