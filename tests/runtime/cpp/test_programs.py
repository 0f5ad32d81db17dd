"""Programs in C++: the example, built by hand, by CMake and for another architecture; the program on devices."""
from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
import tenfold
from cpp_program import CHECKS, COMPILER, EXAMPLE, HEADER, SECONDS, WARNINGS, build, needs_compiler, refused, run_deploy, sanitizers
from tenfold.runner.devices.artifacts import read_manifest
from tenfold.runner.devices.child import write_program
from tenfold.runner.devices.device import Program
from tenfold.runner.devices.emulated import emulator_for
from tenfold.runner.devices.native import compiler_for, library_root
from tenfold.support.errors import TenfoldError

pytestmark = needs_compiler


def test_the_example(deploy, copy, image, tmp_path):
    np.save(tmp_path / "image.npy", image)
    image.tofile(tmp_path / "image.raw")
    scores = tenfold.load(copy)(image)[0]
    for file in ("image.npy", "image.raw"):
        code, said, error = run_deploy(deploy, copy, tmp_path / file, "--top", 3, "--runs", 5, "--threads", 2)
        first, *rows, last = said.splitlines()
        assert (code, error, first) == (0, "", "scores  float32(1, 5)")
        order = np.argsort(-scores)[:3]
        assert [int(row.split()[0]) for row in rows] == list(order)
        np.testing.assert_allclose([float(row.split()[1]) for row in rows], scores[order], rtol=1e-6)
        assert last.endswith("ms (median of 5 runs on 2 threads)")


def test_the_example_says_what_is_wrong(deploy, copy, image, tmp_path):
    arrays = {"double": image.astype("f8"), "flat": image.reshape(-1), "turned": np.asfortranarray(image), "integers": image.astype("i4")}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "short.raw").write_bytes(b"1234")
    (tmp_path / "short.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:40])
    files = [tmp_path / name for name in (*(f"{name}.npy" for name in arrays), "short.raw", "short.npy", "nowhere.npy", "net")]
    wrong = [], [copy], [copy, "--top"], [copy, "x", "--what"], [copy, "x", "--runs", "0"], ["none", "x"], [copy, files[0], files[0]]
    for words in (*wrong, *([copy, file] for file in files)):
        code, said, error = run_deploy(deploy, *words)
        assert (code, said) == (2, "") and error.startswith("deploy: ") and error.count("\n") == 1, words


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="there is no cmake")
def test_the_example_is_built_by_cmake(copy, image, tmp_path):
    environment = {**os.environ, "CXX": COMPILER}
    for command in (["cmake", "-S", EXAMPLE, "-B", tmp_path / "build"], ["cmake", "--build", tmp_path / "build"]):
        subprocess.run(command, check=True, capture_output=True, env=environment)
    np.save(tmp_path / "image.npy", image)
    assert run_deploy(tmp_path / "build" / "deploy", copy, tmp_path / "image.npy")[0] == 0


@pytest.mark.slow
def test_a_program_that_does_not_export_and_has_two_sources(copy, image, tmp_path):
    (tmp_path / "other.cc").write_text('#include "tenfold.h"\nint other() { return tenfold::detail::kFormat; }\n')
    program = build([CHECKS, tmp_path / "other.cc"], tmp_path / "checks")
    refused(program, copy, "link the program with -rdynamic", image)


@pytest.mark.slow
def test_the_device_program(tmp_path, copy, bundled):
    """Networks that come and go, timed as a whole and by their kernels: under the sanitizers."""
    program = build([HEADER / "device.cc"], tmp_path / "device", "-rdynamic", *sanitizers(tmp_path))
    for name, folder in (("small", copy), ("large", bundled)):
        write_program(Program.of_artifact(folder, read_manifest(folder), 2), folder)
        shutil.copytree(folder, tmp_path / name)
    lines = [line for kind in ("network", "kernels", "network") for name in ("small", "large")
             for line in (f"load {name} {kind}", f"time {name} 2", f"time {name} 0", f"drop {name}")]  # fmt: skip
    done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.splitlines()
    assert len(answers) == len(lines) and all(answer.split(" ")[0] == "ok" for answer in answers)
    times = [list(map(float, answer.split(" ")[1:])) for answer, line in zip(answers, lines, strict=True) if line.startswith("time")]
    assert all(len(each) >= 2 and min(each) > 0 for each in times)


@pytest.mark.slow
def test_on_another_architecture(tiny_file, image, tmp_path):
    emulator = emulator_for("aarch64")
    if emulator is None:
        pytest.skip("qemu-aarch64 is not installed (package qemu-user)")
    try:
        compiler, root = compiler_for("aarch64"), library_root("aarch64")
    except TenfoldError as error:
        pytest.skip(str(error))
    command = [compiler, "-std=c++17", "-O1", "-pthread", f"-I{HEADER}", *WARNINGS, "-rdynamic", str(EXAMPLE / "main.cc"), "-o", "deploy"]
    subprocess.run(command, check=True, cwd=tmp_path)
    net = tenfold.compile(tiny_file, "cortex-a72", tmp_path / "net")
    image.tofile(tmp_path / "image")
    run = [emulator, "-cpu", "cortex-a72", "-L", str(root), "./deploy"]
    done = subprocess.run([*run, "net", "image", "--runs", "1"], capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS)
    best = int(done.stdout.splitlines()[1].split()[0])
    scores = tenfold.compile(tiny_file, output=tmp_path / "here")(image)[0]
    assert done.stderr == "" and best == scores.argmax() and net.manifest.target["architecture"] == "aarch64"
    done = subprocess.run([*run, "here", "image"], capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS)
    assert done.returncode == 2 and "host is x86_64, this machine is aarch64" in done.stderr
