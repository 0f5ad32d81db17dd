"""Presets, and targets as TVM dicts."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.targets import CpuTarget, cpu_presets, detection, host, resolve
from tenfold.targets.architectures import X86_FLAGS


def test_listing_presets_does_not_import_tvm():
    code = "import sys; from tenfold.targets import presets; assert len(presets()) >= 8; assert 'tvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("preset", cpu_presets(), ids=lambda preset: preset.name)
def test_a_preset_says_what_llvm_says(preset):
    from tenfold.targets.llvm import cpu_features, known_cpus

    assert preset.tvm["mcpu"] in [*known_cpus(preset.architecture.llvm), "apple-m1"]  # which is another name for apple-a14
    assert preset.features == preset.architecture.flags_of(cpu_features(preset.tvm))
    assert (preset.vector_bits, preset.vector_registers) == preset.architecture.vectors(preset.features)
    assert preset.lanes == preset.vector_bits // 32 and preset.rank_multiple % preset.lanes == 0
    assert 0 < preset.l1_bytes < preset.l2_bytes


def test_a_preset_compiles_to_vectors_of_its_width():
    """LLVM prefers 256-bit vectors for some CPUs with AVX-512, and must not split the ones it is given."""
    import tvm
    from tvm import te
    from tvm.s_tir import Schedule

    a = te.placeholder((256,), "float32", name="a")
    function = te.create_prim_func([a, te.compute((256,), lambda i: a[i] * a[i], name="b")])
    for name, register in (("zen3", "ymm"), ("skylake-avx512", "zmm"), ("x86-64-v4", "zmm")):
        target, schedule = resolve(name), Schedule(function)
        _, inner = schedule.split(schedule.get_loops(schedule.get_sblock("b"))[0], [None, target.lanes])
        schedule.vectorize(inner)
        library = tvm.compile(schedule.mod, target=target.tvm_target()).mod
        assembly = (library.imports[0] if library.imports else library).inspect_source("asm")
        assert f"%{register}" in assembly
        assert ("%zmm" in assembly) == (register == "zmm")


def test_resolve_takes_names_dicts_json_and_targets():
    zen4 = resolve("zen4")
    assert resolve(zen4) is zen4
    spec = {"kind": "llvm", "mcpu": "znver4", "num-cores": 2}
    for given in (spec, json.dumps(spec), "  " + json.dumps(spec)):
        target = resolve(given)
        assert (target.vector_bits, target.vector_registers, target.cores) == (512, 32, 2)
        assert (target.l1_bytes, target.l2_bytes) == (zen4.l1_bytes, zen4.l2_bytes)
        assert target.tvm == spec
        assert str(target.tvm_target().attrs["mcpu"]) == "znver4"


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("spec", "bits"),
    [
        ({"kind": "llvm"}, 128),
        ({"kind": "llvm", "mcpu": "haswell"}, 256),
        ({"kind": "llvm", "mcpu": "x86-64", "mattr": ["+avx2", "+fma"]}, 256),
        ({"kind": "llvm", "mcpu": "sapphirerapids"}, 512),
        ({"kind": "llvm", "mcpu": "znver4", "mattr": ["-avx512f"]}, 256),
    ],
)
def test_the_vector_width_comes_from_mcpu_and_mattr(spec, bits):
    assert resolve(spec).vector_bits == bits


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("zen44", ["'zen44'", "did you mean zen4", "sapphirerapids", "host", "JSON"]),
        ("", ["unknown target"]),
        ('{"kind": "llvm"', ["looks like JSON"]),
        ('{"kind": "cuda"}', ["'cuda'", "llvm"]),
        ("{}", ["kind", "llvm"]),
        ('{"kind": "llvm", "mcpu": "znver9"}', ["'znver9'", "znver4"]),
        ('{"kind": "llvm", "mcpu": 4}', ["mcpu"]),
        ('{"kind": "llvm", "mattr": ["+avx9"]}', ["'+avx9'"]),
        ('{"kind": "llvm", "mattr": ["avx2"]}', ["'avx2'", "+avx2"]),
        ('{"kind": "llvm", "colour": "red"}', ["colour"]),
        ('{"kind": "llvm", "num-cores": 0}', ["num-cores", "0"]),
        ('{"kind": "llvm", "num-cores": "two"}', ["num-cores"]),
        ('{"kind": "llvm", "mtriple": "riscv64-linux-gnu"}', ["riscv64", "x86-64 or AArch64"]),
        ('{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "znver4"}', ["'znver4'", "cortex-a53"]),
        ('{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+avx2"]}', ["'+avx2'"]),
        ('{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["-neon"]}', ["every AArch64 CPU has neon"]),
        ('{"kind": "llvm", "mtriple": "x86_64; rm"}', ["'x86_64; rm'", "x86_64-linux-gnu"]),
        ('{"kind": "llvm", "mtriple": "x86_64-pc-windows-msvc"}', ["windows", "Linux"]),
        ('{"kind": "llvm", "mtriple": 3}', ["mtriple", "3"]),
        ('{"kind": "llvm", "mcpu": "pentium"}', ["pentium", "LLVM", "64-bit code requested"]),
        ('{"kind": "llvm", "mcpu": "x86-64", "mattr": ["-sse2"]}', ["-sse2", "x86-64"]),
        ('{"kind": "llvm", "mattr": ["+soft-float"]}', ["soft-float"]),
        ('{"kind": "llvm", "mattr": ["+avx2", "-avx2"]}', ["avx2", "both"]),
        ('{"kind": "llvm", "mattr": "+avx2"}', ["mattr", "list"]),
        ('{"kind": "llvm", "mattr": [["+avx2"]]}', ["mattr", "list"]),
        ('{"kind": "llvm", "num-cores": 1e400}', ["not a finite number"]),
        ('{"kind": "llvm", "num-cores": 1025}', ["num-cores", "1024"]),
        ('{"kind": "llvm", "num-cores": %s}' % ("9" * 400), ["num-cores", "many digits"]),
        ('{"kind": "llvm", "num-cores": %s}' % ("9" * 5000), ["looks like JSON"]),
        ('{"kind": "llvm", "num-cores": true}', ["num-cores", "True"]),
        ('{"kind": "llvm", "fast-math": true}', ["'fast-math'", "mattr"]),
        ('{"kind": "llvm", "cl-opt": ["-x=1"]}', ["'cl-opt'"]),
        ('{"kind": "llvm", "host": {"kind": "llvm"}}', ["'host'"]),
        ('{"kind": "llvm", "opt-level": 4}', ["opt-level", "3"]),
        ('{"kind": "llvm", "keys": ["gpu"]}', ["keys", "cpu"]),
        ('{"kind": "llvm", "tag": {}}', ["tag"]),
        ('{"kind": %s}' % ("[" * 900 + "]" * 900), ["kind", "llvm"]),
        ('{"kind": ' * 100_000, ["looks like JSON"]),
        ("[" * 100_000, ["looks like JSON"]),
        ("[1]", ["no JSON object", "mcpu"]),
        (7, ["target", "int"]),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(spec, words):
    with pytest.raises(TenfoldError) as caught:
        resolve(spec)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.slow
def test_instructions_of_few_cpus_are_known_as_flags():
    """Code with them would die of an illegal instruction elsewhere."""
    assert {"fma4", "xop"} <= set(resolve({"kind": "llvm", "mcpu": "bdver4"}).features)
    assert "apx" in resolve({"kind": "llvm", "mcpu": "x86-64-v3", "mattr": ["+egpr"]}).features


def test_the_host_runs_what_it_claims():
    """This machine, whatever model the tests are told to take."""
    found = host.detect_host()
    assert isinstance(found, CpuTarget) and found.name == "host"
    assert set(found.features) <= detection.cpu_flags()
    assert found.cores == found.tvm["num-cores"] == detection.physical_cores() <= (os.cpu_count() or 1)


def test_nothing_named_is_the_host():
    assert resolve(None).tvm == resolve("host").tvm


def test_a_few_cores_have_their_share_of_a_large_cache(monkeypatch):
    """Not all that a virtual machine shows."""
    from tenfold.targets import host

    monkeypatch.setattr(host.detection, "caches", lambda: (48 << 10, 2 << 20, 480 << 20))
    monkeypatch.setattr(host.detection, "physical_cores", lambda: 2)
    assert host.detect_host().l3_bytes == 32 << 20
    monkeypatch.setattr(host.detection, "caches", lambda: (32 << 10, 512 << 10, 16 << 20))
    assert host.detect_host().l3_bytes == 16 << 20


WHOLE = """
description = "a board"
vector_bits = 256
vector_registers = 16
l1_kib = 48
l2_kib = 2048
l3_kib = 0
features = [FEATURES]
[tvm]
kind = "llvm"
mcpu = "x86-64-v3"
num-cores = 3
""".replace("FEATURES", ", ".join(f'"{flag}"' for flag in resolve("x86-64-v3").features))


@pytest.fixture
def board(tmp_path):
    """A function that writes a target's file and reads it."""

    def read(text):
        (tmp_path / "board.toml").write_text(text)
        return resolve(tmp_path / "board.toml")

    return read


def test_a_file_like_a_preset_is_a_target(board, tmp_path):
    target = board(WHOLE)
    assert (target.name, target.description, target.cores) == ("board", "a board", 3)
    assert (target.vector_bits, target.vector_registers) == (256, 16)
    assert (target.l1_bytes, target.l2_bytes, target.l3_bytes) == (48 << 10, 2048 << 10, 0)
    assert target.features == resolve("x86-64-v3").features and resolve(str(tmp_path / "board.toml")).tvm == target.tvm


def test_what_a_file_leaves_out_is_known_from_the_cpu(board):
    target, like = board('[tvm]\nkind = "llvm"\nmcpu = "znver4"'), resolve("zen4")
    assert (target.vector_bits, target.vector_registers, target.features) == (like.vector_bits, like.vector_registers, like.features)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["[tvm]"]),
        ("tvm = 3", ["[tvm]"]),
        ("a = [", ["not TOML"]),
        ("a = " + "[" * 10_000, ["not TOML"]),
        ("# " + "x" * (1 << 21), ["larger than 1 MB"]),
        (WHOLE.replace("l1_kib = 48", "l1_kib = -1"), ["l1_kib", "-1"]),
        (WHOLE.replace("l1_kib = 48", "l1_kib = 48.5"), ["l1_kib", "48.5"]),
        (WHOLE.replace("l1_kib = 48", "l1_kb = 48"), ["'l1_kb'", "l1_kib"]),
        (WHOLE.replace("vector_bits = 256", "vector_bits = 512"), ["vector_bits", "512", "128, 256"]),
        (WHOLE.replace("vector_bits = 256", "vector_bits = [256]"), ["vector_bits", "list"]),
        (WHOLE.replace("vector_registers = 16", "vector_registers = 32"), ["vector_registers", "32"]),
        (WHOLE.replace('"avx2", ', ""), ["features lack avx2"]),
        (WHOLE.replace('description = "a board"', "description = 1"), ["description"]),
        (WHOLE.replace('mcpu = "x86-64-v3"', 'mcpu = "pentium"'), ["pentium", "LLVM"]),
        (WHOLE.replace('mcpu = "x86-64-v3"', 'mtriple = "x86_64; rm"'), ["x86_64; rm"]),
    ],
)
def test_a_file_that_is_no_target_is_refused_by_name_in_one_line(board, text, words):
    with pytest.raises(TenfoldError) as caught:
        board(text)
    message = str(caught.value)
    assert "board.toml: " in message and "\n" not in message
    for word in words:
        assert word in message


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    for name in ("none", "pipe", "folder"):
        with pytest.raises(TenfoldError, match=f"{name}.toml: "):
            resolve(tmp_path / f"{name}.toml")


TOLD = {
    "architecture": "x86_64", "vendor": "AuthenticAMD", "family": 25, "model": 17, "description": "a CPU", "cores": 3,
    "caches": [32768, 1 << 20, 1 << 30], "flags": sorted(X86_FLAGS.values()),
}  # fmt: skip


def test_a_machine_elsewhere_from_what_it_shows():
    zen4 = resolve("zen4")
    found = host.target_of(host.Facts.read(TOLD), "board")
    assert (found.name, found.tvm["mcpu"], found.cores, found.model) == ("board", zen4.tvm["mcpu"], 3, zen4.model)
    assert found.l3_bytes == 3 * host.L3_OF_A_CORE and set(found.features) <= set(TOLD["flags"])
    flags = ["avx2", "fma", "bmi2", "movbe", "sse4_2", "popcnt", "ssse3"]
    old = host.target_of(host.Facts.read({**TOLD, "vendor": "", "flags": flags}), "old")
    assert old.tvm["mcpu"] == "x86-64-v3" and old.vector_bits == 256
    arm = {**TOLD, "architecture": "aarch64", "vendor": "0x41", "family": 0, "model": 0xD08, "flags": ["fp", "asimd"], "caches": [0, 0, 0]}
    board = host.target_of(host.Facts.read(arm), "board")
    assert board.tvm["mcpu"] == "cortex-a72" and board.l2_bytes == resolve("cortex-a72").l2_bytes and board.description == "a CPU"
    unknown = host.target_of(host.Facts.read({**arm, "vendor": "0x99"}), "board")
    assert unknown.tvm["mcpu"] == "generic" and unknown.architecture.name == "aarch64"


WRONG = {"cores": 0}, {"cores": True}, {"flags": [1]}, {"flags": None}, {"caches": [1, 2]}, {"caches": [1, 2, -3]}, {"model": "x"}


@pytest.mark.parametrize("wrong", WRONG)
def test_facts_that_are_none(wrong):
    with pytest.raises(TenfoldError, match="makes no sense"):
        host.Facts.read({**TOLD, **wrong})


def test_a_machine_of_another_architecture():
    with pytest.raises(TenfoldError, match="riscv64"):
        host.target_of(host.Facts.read({**TOLD, "architecture": "riscv64"}), "board")
