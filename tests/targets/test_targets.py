"""Presets, and targets as TVM dicts."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tenfold.errors import TenfoldError
from tenfold.targets import Target, cpu, detect_host, presets, resolve


def test_listing_presets_does_not_import_tvm():
    code = "import sys; from tenfold.targets import presets; assert len(presets()) >= 8; assert 'tvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_a_preset_says_what_llvm_says(preset):
    from tenfold.targets.llvm import cpu_features, known_cpus

    assert preset.tvm["mcpu"] in known_cpus({"kind": "llvm"})
    assert preset.features == cpu.flags_of(cpu_features(preset.tvm))
    assert (preset.vector_bits, preset.vector_registers) == cpu.vector_unit(preset.features)
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
        ('{"kind": "llvm", "mtriple": "aarch64-linux-gnu"}', ["aarch64", "x86-64"]),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(spec, words):
    with pytest.raises(TenfoldError) as caught:
        resolve(spec)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_host_runs_what_it_claims():
    host = detect_host()
    assert isinstance(host, Target) and host.name == "host"
    assert set(host.features) <= cpu.cpu_flags()
    assert host.cores == host.tvm["num-cores"] == cpu.physical_cores() <= (os.cpu_count() or 1)


def test_nothing_named_is_the_host():
    assert resolve(None).tvm == resolve("host").tvm


def test_a_few_cores_have_their_share_of_a_large_cache(monkeypatch):
    """Not all that a virtual machine shows."""
    from tenfold.targets import host

    monkeypatch.setattr(host.cpu, "caches", lambda: (48 << 10, 2 << 20, 480 << 20))
    monkeypatch.setattr(host.cpu, "physical_cores", lambda: 2)
    assert host.detect_host().l3_bytes == 32 << 20
    monkeypatch.setattr(host.cpu, "caches", lambda: (32 << 10, 512 << 10, 16 << 20))
    assert host.detect_host().l3_bytes == 16 << 20
