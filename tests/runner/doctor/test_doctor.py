"""What `doctor` says of machines, with and without what Tenfold needs."""
from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import tenfold
from command_checks import tenfold as command
from device_checks import device_server, ended_after
from tenfold.codegen.cuda import nvcc
from tenfold.runner.bench import mca
from tenfold.runner.devices.tracker import Tracker
from tenfold.runner.doctor import checks
from tenfold.runner.doctor.doctor import _cache, doctor
from tenfold.runner.doctor.health import Cache, Finding, Health
from tenfold.runner.doctor.table import health_lines
from tenfold.support.errors import TenfoldError
from tracker_checks import free_port

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(tenfold.__file__).parent / "pyproject.toml"


def of(findings, area):
    return {finding.what: finding for finding in findings if finding.area == area}


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with no programs, no CUDA, no driver and no packages."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    for name in ("CXX", "CC", "TENFOLD_CXX_AARCH64", "CUDA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(nvcc, "cuda_folders", lambda: [tmp_path / "cuda"])
    monkeypatch.setattr("tenfold.targets.cuda_driver.LIBRARY", "libnone.so.1")
    monkeypatch.setattr(checks, "version_of_package", lambda name: None)
    caches = (mca._tool, mca.llvm_version)
    for each in caches:
        each.cache_clear()
    yield monkeypatch
    for each in caches:
        each.cache_clear()


def test_a_bare_machine_is_told_what_to_install(bare, monkeypatch):
    monkeypatch.setattr("tenfold.targets.architectures.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("tenfold.runner.doctor.doctor._peak", lambda: None)
    found = doctor()
    compiles, emulates = of(found.findings, "compile"), of(found.findings, "emulate")
    assert {what: finding.install for what, finding in compiles.items()} == {
        "for x86-64": "apt install g++", "for AArch64": "apt install g++-aarch64-linux-gnu", "for CUDA": 'pip install "tenfold[cuda]"',
    }  # fmt: skip
    assert {what: finding.install for what, finding in emulates.items()} == {
        "x86-64": "apt install qemu-user", "AArch64": "apt install qemu-user", "counted instructions": "",
        "modelled cycles": "apt install llvm-19", "CUDA": "apt install g++",
    }  # fmt: skip
    assert not any(finding.ok for finding in (*compiles.values(), *emulates.values()))
    assert of(found.findings, "packages")["tenfold[torch]"].detail.startswith("not installed: torch, pillow")
    assert "apt install g++-aarch64-linux-gnu" in "\n".join(health_lines(found))
    assert "peak      could not be measured" in list(health_lines(found))


def test_this_machine():
    found = doctor()
    assert {finding.area for finding in found.findings} == {"compile", "run", "emulate", "packages"}
    assert of(found.findings, "run")["on this CPU"].ok and found.peak_gflops > 1
    assert found.versions["Python"] == sys.version.split()[0] and found.versions["tenfold"] == tenfold.__version__
    assert found.machine["physical_cores"] >= 1 and "\n" not in found.line and found.line in list(health_lines(found))
    assert not any(finding.detail.startswith("unforeseen") for finding in found.findings)
    for finding in found.findings:
        assert bool(finding.tool) == bool(finding.version) and (finding.ok or finding.detail)


def test_gpus_are_named(standin):
    lacking = of(checks.running(), "run")["on a GPU"]
    assert not lacking.ok and "no CUDA-capable device" in lacking.detail
    standin.gpu()
    found = of(checks.running(), "run")["on a GPU"]
    assert found.ok and found.detail.startswith("cuda:0 ") and found.tool == "CUDA driver" and int(found.version) >= 13


def test_the_command(tmp_path):
    outcome = command("doctor", "--json", tmp_path / "d.json")
    content = json.loads((tmp_path / "d.json").read_text())
    assert outcome.code == 0, outcome.err
    assert content["line"] in outcome.out and "for AArch64" in outcome.out and content["findings"][0]["area"] == "compile"


@pytest.mark.parametrize("error", [ImportError("no tvm"), OSError(5, "Input/output error"), RuntimeError("LLVM"), ValueError("?")])
def test_a_fault_of_the_machine_is_a_finding(error):
    def ask():
        raise error

    found = checks.check("run", "something", ask)
    assert not found.ok and type(error).__name__ in found.detail and not found.install


@pytest.mark.parametrize(("said", "install"), [
    ("no compiler: install g++ (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++), or name one", "apt install g++"),
    ('no nvcc: install it with pip install "tenfold[cuda]", or name one', 'pip install "tenfold[cuda]"'),
    ("there is no llvm-mca: install LLVM 19 (Debian: apt install llvm-19)", "apt install llvm-19"),
    ("this machine has no GPU", ""),
])
def test_the_package_comes_from_the_refusal(said, install):
    def ask():
        raise TenfoldError(said)

    assert checks.check("compile", "x", ask) == Finding("compile", "x", False, said, install)


def test_the_extras_are_those_of_the_project(monkeypatch):
    """From metadata as setuptools writes them, and not from those that were installed: they may be older."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    lines = list(project["dependencies"])
    for extra, needed in project["optional-dependencies"].items():
        for package, _, marker in (each.partition(";") for each in needed):
            lines.append(f'{package}; {f"({marker.strip()}) and " if marker else ""}extra == "{extra}"')
    monkeypatch.setattr(checks.metadata, "requires", lambda name: lines)

    def names(needed):
        return {re.match(r"[\w.-]+", each)[0] for each in needed}

    expected = {extra: names(needed) for extra, needed in project["optional-dependencies"].items() if extra not in ("docs", "test")}
    found = {extra: set(packages) for extra, packages in checks.extras().items()}
    assert found == {**expected, "": names(each for each in project["dependencies"] if ";" not in each)}


def test_an_extra_that_is_partly_there(monkeypatch):
    monkeypatch.setattr(checks, "extras", lambda: {"": ("numpy",), "made-up": ("numpy", "no-such-package")})
    base, extra = checks.packages()
    assert base.ok and not extra.ok and extra.install == 'pip install "tenfold[made-up]"' and "no-such-package" in extra.detail


def test_a_static_emulator_takes_no_plugin(monkeypatch):
    monkeypatch.setattr("tenfold.runner.devices.counted.counting_plugin", lambda: Path("plugin.so"))
    monkeypatch.setattr("tenfold.runner.devices.emulated.emulator_for", lambda name: f"/usr/bin/qemu-{name}-static")
    found = of(checks.emulating(), "emulate")["counted instructions"]
    assert not found.ok and found.install == "apt install qemu-user"


@pytest.mark.parametrize("device", ["board:x", "127.0.0.1:1", "tracker:127.0.0.1:1/rpi", "tracker:nonsense"])
def test_a_device_that_can_not_be_reached_is_a_finding(device):
    found = checks.reaching(device)
    assert found.area == "reach" and not found.ok and found.detail and "unforeseen" not in found.detail


@pytest.mark.slow
def test_a_device_that_answers():
    with ended_after(device_server()) as server:
        found = checks.reaching(server.address)
    assert found.ok and found.detail


def test_a_tracker_is_asked_and_no_device_is_taken(monkeypatch):
    infos = [
        {"key": f"server:{key}", "addr": [f"10.0.0.{last}", 9190], "tenfold": {"beat": 1, "user": user}}
        for key, last, user in (("rpi", 8, None), ("rpi", 9, "ada"), ("tx2", 7, None))
    ]
    monkeypatch.setattr(Tracker, "__init__", lambda self, place, silence: None)
    monkeypatch.setattr(Tracker, "close", lambda self: None)
    monkeypatch.setattr(Tracker, "summary", lambda self: {"server_info": infos, "queue_info": {}})
    monkeypatch.setattr(Tracker, "request", lambda self, key: pytest.fail("a device was taken"))
    found = checks.reaching(f"tracker:127.0.0.1:{free_port()}/rpi")
    assert found.ok and found.detail == "the tracker has 10.0.0.8:9190 (free), 10.0.0.9:9190 (works for ada)"
    assert "rpi, tx2" in checks.reaching("tracker:127.0.0.1:9/nano").detail


def test_the_size_of_the_cache(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(bytes(1000))
    (tmp_path / "a" / "b" / "two").write_bytes(bytes(234))
    with suppress(OSError):
        (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
        (tmp_path / "gone").unlink()
    assert _cache(tmp_path) == Cache(str(tmp_path), 2, 1234)
    assert _cache(tmp_path / "none") == Cache(str(tmp_path / "none"), 0, 0)
    monkeypatch.setattr("tenfold.runner.doctor.doctor.CACHE_SECONDS", -1.0)
    assert not _cache(tmp_path).whole


def test_the_line_says_what_is_missing():
    lacking = Finding("compile", "for CUDA", False, "no nvcc", 'pip install "tenfold[cuda]"')
    health = Health({}, {"Python": "3.12.1"}, (lacking, Finding("run", "on this CPU", True, "yes")), None, Cache("/c", 0, 0))
    assert health.line.startswith("Python 3.12.1; ") and health.line.endswith("missing: compile for CUDA")
    assert health.missing == (lacking,) and 'pip install "tenfold[cuda]"' in "\n".join(health_lines(health))
