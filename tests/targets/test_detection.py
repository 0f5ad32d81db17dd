"""What this machine is, read from files that the tests write."""
from __future__ import annotations

import os

import pytest
from tenfold.targets import detection
from tenfold.targets.architectures import X86_64
from tenfold.targets.host import choose

AVX2 = {"pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "avx", "avx2", "fma", "bmi1", "bmi2", "movbe", "f16c", "abm"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd"}
FEATURES_OF_ZEN4 = {"avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd", "fast-lzcnt"}


@pytest.mark.parametrize(
    ("flags", "unit"),
    [(AVX512, (512, 32)), (AVX2, (256, 16)), (AVX512 - {"avx512vl"}, (256, 16)), (AVX2 - {"fma"}, (128, 16)), (set(), (128, 16))],
)
def test_the_vector_unit_is_what_the_flags_say(flags, unit):
    assert X86_64.vectors(flags) == unit


def test_a_cpu_that_shows_all_its_features_is_taken_by_its_name():
    assert choose("znver4", FEATURES_OF_ZEN4, AVX512) == ("znver4", [])


def test_what_a_virtual_machine_hides_is_switched_off():
    mcpu, mattr = choose("znver4", FEATURES_OF_ZEN4, AVX2)
    assert mcpu == "znver4"
    assert set(mattr) == {"-avx512f", "-avx512bw", "-avx512vl", "-avx512dq", "-avx512cd"}


def test_switched_off_features_are_off_for_llvm():
    from tenfold.targets.llvm import cpu_features

    _, mattr = choose("znver4", FEATURES_OF_ZEN4, AVX2)
    left = cpu_features({"kind": "llvm", "mcpu": "znver4", "mattr": mattr})
    assert "avx2" in left
    assert not any(feature.startswith("avx512") for feature in left)


@pytest.mark.parametrize(
    ("flags", "level"), [(AVX512, "x86-64-v4"), (AVX2, "x86-64-v3"), ({"sse4_2", "popcnt", "ssse3"}, "x86-64-v2"), (set(), "x86-64")]
)
def test_a_cpu_unknown_to_llvm_is_taken_by_its_level(flags, level):
    assert choose("generic", set(), flags) == (level, [])


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def four_cpus(tmp_path, monkeypatch):
    """Two cores with two threads each, and no cgroup."""
    write(tmp_path, {f"cpu{i}/topology/thread_siblings_list": f"{i % 2},{i % 2 + 2}\n" for i in range(4)})
    monkeypatch.setattr(detection, "SYSTEM", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(detection, "_cgroup_quota", lambda: None)
    return tmp_path


def test_hyper_threads_of_a_core_count_once(four_cpus):
    assert detection.physical_cores() == 2


def test_affinity_limits_the_cores(four_cpus, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3}, raising=False)
    assert detection.physical_cores() == 1


@pytest.mark.parametrize(("quota", "cores"), [(None, 2), (8.0, 2), (1.5, 1), (0.5, 1)])
def test_the_quota_of_the_cgroup_limits_the_cores(four_cpus, monkeypatch, quota, cores):
    monkeypatch.setattr(detection, "_cgroup_quota", lambda: quota)
    assert detection.physical_cores() == cores


def test_without_topology_psutil_counts(four_cpus, monkeypatch):
    monkeypatch.setattr(detection, "SYSTEM", four_cpus / "nowhere")
    assert 1 <= detection.physical_cores() <= 4


def test_caches_are_read_per_level(four_cpus):
    indices = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K"), ("3", "Unified", "32M")]
    for i, index in enumerate(indices):
        values = dict(zip(("level", "type", "size"), index, strict=True))
        write(four_cpus, {f"cpu0/cache/index{i}/{key}": f"{text}\n" for key, text in values.items()})
    assert detection.caches() == (48 << 10, 2 << 20, 32 << 20)


def test_unknown_caches_are_zero(four_cpus):
    assert detection.caches() == (0, 0, 0)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_is_read_from_either_version_of_cgroups(tmp_path, files, quota):
    write(tmp_path, files)
    assert detection._quota(tmp_path) == quota
