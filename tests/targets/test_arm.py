"""Arm machines, as files that the tests write: which core, how many, and what is compiled for."""
from __future__ import annotations

import os

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.targets import architectures, cpu_presets, detection, host, resolve
from tenfold.targets.architectures import AARCH64, X86_64, architecture_of

FLAGS = "fp asimd evtstrm crc32 cpuid"


def cpus(*parts: str) -> str:
    """What /proc/cpuinfo says of cores, by their part numbers."""
    lines = "processor\t: {}\nFeatures\t: {}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {}\nCPU revision\t: 3"
    return "\n\n".join(lines.format(i, FLAGS, part) for i, part in enumerate(parts))


PI4 = cpus(*["0xd08"] * 4)
RK3399 = cpus(*["0xd03"] * 4, *["0xd08"] * 2)  # four small cores (A53) before two large ones (A72)


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A function that makes this machine a board: its /proc/cpuinfo, and the capacities of its CPUs."""
    def become(cpuinfo, capacities):
        (tmp_path / "cpuinfo").write_text(cpuinfo + "\n")
        for cpu, capacity in enumerate(capacities):
            folder = tmp_path / "cpu" / f"cpu{cpu}"
            (folder / "topology").mkdir(parents=True)
            (folder / "topology" / "thread_siblings_list").write_text(f"{cpu}\n")
            if capacity:
                (folder / "cpu_capacity").write_text(f"{capacity}\n")
        monkeypatch.setattr(detection, "CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(detection, "SYSTEM", tmp_path / "cpu")
        monkeypatch.setattr(detection, "_cgroup_quota", lambda: None)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(len(capacities))))
        monkeypatch.setattr(architectures.platform, "machine", lambda: "aarch64")
        monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))

    return become


def test_a_raspberry_pi_4_is_a_cortex_a72(board):
    board(PI4, [0, 0, 0, 0])
    found, preset = host.detect_host(), resolve("cortex-a72")
    assert found.tvm["mcpu"] == "cortex-a72" and found.tvm["mtriple"] == "aarch64-linux-gnu" and found.cores == 4
    assert found.model == preset.model and set(found.features) <= set(FLAGS.split())
    assert (found.vector_bits, found.vector_registers) == (128, 32) and found.architecture is AARCH64
    assert (found.l1_bytes, found.l2_bytes) == (preset.l1_bytes, preset.l2_bytes)  # it does not show its caches


def test_threads_go_to_the_large_cores(board):
    board(RK3399, [485, 485, 485, 485, 1024, 1024])
    found = host.detect_host()
    assert found.tvm["mcpu"] == "cortex-a72" and found.cores == 2 == detection.physical_cores()


def test_without_capacities_all_cores_count(board):
    board(RK3399, [0] * 6)
    assert host.detect_host().cores == 6


def test_what_a_core_hides_is_switched_off(board):
    board(PI4.replace("0xd08", "0xd0b"), [0] * 4)  # an A76 without half precision and dot products
    found = host.detect_host()
    assert {"-fullfp16", "-dotprod"} <= set(found.tvm["mattr"])
    assert "asimddp" not in found.features


def test_boards_are_names_for_their_cpus():
    board_, cpu = resolve("raspberry-pi-4"), resolve("cortex-a72")
    assert board_.model == cpu.model and board_.tvm["mcpu"] == "cortex-a72" and board_.cores == 4 and board_.name == "raspberry-pi-4"
    assert {preset.architecture.name for preset in cpu_presets()} == {"x86_64", "aarch64"}


def test_an_unknown_board_is_refused_with_the_nearest_name():
    with pytest.raises(TenfoldError, match="did you mean raspberry-pi-4"):
        resolve("raspberry-pi4")


@pytest.mark.parametrize(("triple", "expected"), [
    ("aarch64-linux-gnu", AARCH64), ("aarch64-unknown-linux-gnu", AARCH64), ("arm64-linux-gnu", AARCH64), ("x86_64-linux-gnu", X86_64)])
def test_the_triple_says_the_architecture(triple, expected):
    assert architecture_of({"kind": "llvm", "mtriple": triple}) is expected


def test_a_cpu_that_no_preset_describes():
    target = resolve({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a55"})
    assert target.model.lane_operand and not target.model.memory_operand and target.vector_bits == 128
