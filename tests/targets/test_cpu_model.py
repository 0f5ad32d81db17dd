"""The model of a CPU: what presets and files say of it, and whose this machine takes."""
from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.targets import cpu_presets, detection, host, measured_model, resolve
from tenfold.targets.cpu_model import FIGURES, CpuModel
from tenfold.targets.cpu_registry import preset_of
from tenfold.targets.detection import CpuId
from tenfold.targets.preset_files import FOLDER, tomllib
from tenfold.targets.toml_target import checked_model

TVM = '[tvm]\nkind = "llvm"\nmcpu = "znver4"\n'
AMD, INTEL = "AuthenticAMD", "GenuineIntel"


CPUS = [preset for preset in cpu_presets() if not any(FOLDER.glob(f"boards/{preset.name}.toml"))]


@pytest.mark.parametrize("preset", CPUS, ids=lambda preset: preset.name)
def test_a_preset_says_every_figure_and_where_it_comes_from(preset):
    text = next(FOLDER.glob(f"*/{preset.name}.toml")).read_text()
    table = tomllib.loads(text)["model"]
    assert set(table) == set(FIGURES)
    assert checked_model(table, CpuModel()) == preset.model
    assert preset.model.memory_operand == (preset.vector_bits == 512)
    assert preset.l1_bytes % preset.model.way_bytes == 0
    own, carried = text.partition("[model]")[2].partition("[tvm]")[0].split("\n# carried over", 1)
    assert all("  # " in line for line in own.splitlines() if " = " in line)
    assert carried.count(" = ") >= 9


def test_at_another_clock_memory_and_threads_keep_their_own_time():
    model = CpuModel(clock_ghz=4.0)
    slow = model.at_clock(2.0)
    assert slow.memory_bytes_per_cycle == 2 * model.memory_bytes_per_cycle and slow.launch_cycles == model.launch_cycles / 2
    assert (slow.l2_bytes_per_cycle, slow.fma_latency, slow.task_cycles) == (model.l2_bytes_per_cycle, model.fma_latency, model.task_cycles)
    assert slow.at_clock(4.0) == model


@pytest.fixture
def board(tmp_path):
    """A function that writes a target's file and reads it."""

    def read(text):
        (tmp_path / "board.toml").write_text(text)
        return resolve(tmp_path / "board.toml")

    return read


def test_what_a_file_says_of_the_model_counts_and_the_rest_is_the_presets(board):
    zen4 = resolve("zen4").model
    assert board(TVM).model == zen4
    assert board("[model]\nfma_latency = 5\n" + TVM).model == replace(zen4, fma_latency=5.0)
    assert board('[tvm]\nkind = "llvm"\nmcpu = "haswell"').model == CpuModel()
    assert board("[model]\nclock_ghz = 1.85\nlaunch_cycles = 3000\n" + TVM).model == replace(zen4.at_clock(1.85), launch_cycles=3000.0)


def test_a_presets_own_file_is_a_target_of_the_same_model(board):
    for preset in CPUS:
        assert board(next(FOLDER.glob(f"*/{preset.name}.toml")).read_text()).model == preset.model


def test_code_without_avx512_does_not_broadcast_from_memory():
    assert resolve({"kind": "llvm", "mcpu": "znver4"}).model == resolve("zen4").model
    narrow = resolve({"kind": "llvm", "mcpu": "znver4", "mattr": ["-avx512f"]})
    assert narrow.model == replace(resolve("zen4").model, memory_operand=False)


@pytest.mark.parametrize(("line", "words"), [
    ("fma_latencies = 4", ["'fma_latencies'", "did you mean fma_latency"]),
    ('fma_latency = "4"', ["fma_latency", "'4'", "a number from 1 to 64"]),
    ("fma_latency = true", ["fma_latency", "True"]),
    ("fma_latency = 0", ["fma_latency", "0"]),
    ("l2_bytes_per_cycle = nan", ["l2_bytes_per_cycle", "nan"]),
    ("l2_bytes_per_cycle = inf", ["l2_bytes_per_cycle", "inf"]),
    ("line_bytes = 64.5", ["line_bytes", "64.5", "a whole number from 16 to 1024"]),
    ("line_bytes = -64", ["line_bytes", "-64"]),
    ("memory_operand = 1", ["memory_operand", "true or false"]),
    ("launch_cycles = [1]", ["launch_cycles", "a list"]),
])
def test_a_figure_that_can_not_be_is_refused_in_one_line(board, line, words):
    with pytest.raises(TenfoldError) as caught:
        board(f"[model]\n{line}\n{TVM}")
    message = str(caught.value)
    assert "board.toml: " in message and "\n" not in message
    for word in words:
        assert word in message


def test_a_model_is_a_table(board):
    with pytest.raises(TenfoldError, match=r"model is 3: it must be a table"):
        board("model = 3\n" + TVM)


@pytest.mark.parametrize(("cpu", "flags", "name"), [
    (CpuId(AMD, 25, 0x11), (), "zen4"),
    (CpuId(AMD, 25, 0x61), (), "zen4"),
    (CpuId(AMD, 25, 0x01), (), "zen3"),
    (CpuId(AMD, 25, 0x21), (), "zen3"),
    (CpuId(AMD, 26, 0x02), (), "zen4"),  # Zen 5
    (CpuId(INTEL, 6, 85), ("avx512f",), "skylake-avx512"),
    (CpuId(INTEL, 6, 85), ("avx512f", "avx512_vnni"), "cascadelake"),
    (CpuId(INTEL, 6, 106), (), "icelake-server"),
    (CpuId(INTEL, 6, 143), (), "sapphirerapids"),
    (CpuId(INTEL, 6, 154), (), "alderlake"),
    (CpuId(INTEL, 6, 60), (), None),  # Haswell
    (CpuId(AMD, 23, 0x31), (), None),  # Zen 2
    (CpuId(INTEL, 25, 0x11), (), None),
])
def test_a_preset_is_found_by_family_and_model(cpu, flags, name):
    found = preset_of(cpu, flags)
    assert (found and found.name) == name


def cpuinfo(vendor: str, family: int, model: int, name: str) -> str:
    one = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\nflags\t\t: {' '.join(FLAGS)}\n"
    return f"processor\t: 0\n{one}\nprocessor\t: 1\n{one.replace(name, 'another')}\n"


FLAGS = sorted(detection.cpu_flags())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes this machine another CPU, and an empty cache."""
    if platform.machine() != "x86_64":
        pytest.skip("only x86-64 machines are detected")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))

    def become(vendor, family, model, name):
        (tmp_path / "cpuinfo").write_text(cpuinfo(vendor, family, model, name))
        monkeypatch.setattr(detection, "CPUINFO", tmp_path / "cpuinfo")

    return become


def test_this_machine_takes_the_model_of_its_preset(machine, tmp_path):
    machine(AMD, 25, 0x01, "EPYC 7763")
    target = host.detect_host()
    assert target.description == "EPYC 7763"
    assert target.model == replace(resolve("zen3").model, memory_operand=target.vector_registers == 32)
    assert not (tmp_path / "cache").exists()  # nothing was measured


def test_a_cpu_without_a_preset_is_measured_once(machine, tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(measured_model, "measure", lambda target: runs.append(target) or {"l2_bytes_per_cycle": 33.0, "clock_ghz": 1e9})
    machine(AMD, 23, 0x31, "EPYC 7742")
    first, second = host.detect_host().model, host.detect_host().model
    assert first == second and len(runs) == 1
    assert first == replace(CpuModel(), l2_bytes_per_cycle=33.0, memory_operand=first.memory_operand)  # such a clock is no clock
    (file,) = (tmp_path / "cache" / "cpu_models").iterdir()
    assert "EPYC-7742" in file.name
    machine(AMD, 23, 0x71, "Ryzen 3700X")
    host.detect_host()
    assert len(runs) == 2


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", "\0", "[" * 100_000, '{"cpu": "another", "model": {}}', '{"cpu": "EPYC 7742", "model": {"fma_latency": -1}}',
    '{"cpu": "EPYC 7742", "model": {"colour": 1}}',
], ids=range(9))
def test_a_broken_file_in_the_cache_is_replaced(machine, tmp_path, monkeypatch, text):
    monkeypatch.setattr(measured_model, "measure", lambda target: {"l2_bytes_per_cycle": 33.0})
    machine(AMD, 23, 0x31, "EPYC 7742")
    host.detect_host()
    (file,) = (tmp_path / "cache" / "cpu_models").iterdir()
    file.write_text(text)
    assert host.detect_host().model.l2_bytes_per_cycle == 33.0
    assert json.loads(file.read_text())["model"]["l2_bytes_per_cycle"] == 33.0


def test_a_cache_that_can_not_be_written_is_no_error(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(measured_model, "measure", lambda target: {"l2_bytes_per_cycle": 33.0})
    (tmp_path / "cache").write_text("a file")
    machine(AMD, 23, 0x31, "EPYC 7742")
    assert host.detect_host().model.l2_bytes_per_cycle == 33.0


def test_what_is_measured_here_is_possible():
    """Of rates only what no CPU exceeds or falls short of: this machine may do anything else beside."""
    target = host.detect_host()
    found = measured_model._sound(measured_model.measure(target))
    assert {"clock_ghz", "fma_per_cycle", "memory_bytes_per_cycle"} <= set(found)
    assert 0.3 < found["clock_ghz"] < 7 and 0.3 < found["fma_per_cycle"] < 5
    assert checked_model(found, target.model).fma_latency == target.model.fma_latency


def test_a_device_tells_its_model_as_a_dict():
    """As a session with another machine sends it."""
    model = resolve("zen3").model
    assert CpuModel(**json.loads(json.dumps(asdict(model)))) == model
