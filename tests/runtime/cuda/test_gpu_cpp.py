"""Networks on a GPU from C++ (tenfold_cuda.h), by the example; the driver is a stand-in."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tenfold
from cuda_standin import StandIn, set_up_file
from session_folder import made_once
from tenfold.runtime.manifest import sha256_of
from tenfold.targets import cuda_functions

ROOT = Path(tenfold.__file__).parent
HEADER, EXAMPLE = ROOT / "runtime" / "cpp", ROOT / "examples" / "deploy_cpp"
STRICT = ("-std=c++17", "-O0", "-g", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="session")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def build(program: Path) -> None:
        command = ["g++", *STRICT, "-pthread", f"-I{HEADER}", EXAMPLE / "main.cc", "-o", program, "-rdynamic", "-ldl"]
        subprocess.run(command, check=True)

    return made_once(tmp_path_factory, "deploy on gpu", build)


@pytest.fixture
def x(tmp_path: Path) -> np.ndarray:
    array = np.random.default_rng(2).standard_normal((1, 3, 8, 8)).astype("float32")
    np.save(tmp_path / "x.npy", array)
    return array


@pytest.fixture
def run(deploy: Path, standin_library: Path, gpu_artifact: Path, x: np.ndarray, tmp_path: Path):
    """Run the example on a network, in a process with the stand-in and some lines of its own."""

    def call(folder: Path, *words: object, lines: tuple[str, ...] = (), gpu: str = "gpu 8 0 1000000000", library: Path | None = None):
        environment = set_up_file(gpu_artifact, tmp_path / "standin", *lines, gpu=gpu)
        environment |= {"LD_LIBRARY_PATH": str((library or standin_library).parent), "ASAN_OPTIONS": "detect_leaks=0"}
        command = [deploy, folder, tmp_path / "x.npy", *words]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)

    return call


@pytest.mark.slow
def test_the_numbers_are_those_of_python(run, standin: StandIn, gpu_artifact: Path, x: np.ndarray):
    done = run(gpu_artifact, "--runs", 2)
    assert done.returncode == 0, done.stderr
    standin.gpu()
    standin.knows(gpu_artifact)
    expected = tenfold.load(gpu_artifact)(x)[0]
    found = {int(index): float(value) for index, value in re.findall(r"^ +(\d+)  (\S+)$", done.stdout, re.M)}
    np.testing.assert_allclose([found[index] for index in range(5)], expected, rtol=1e-6)
    assert "2 runs on GPU 0, with copies" in done.stdout


MISTAKES = [
    ({"lines": ("version 12080",)}, (), "this NVIDIA driver is for CUDA 12, the code needs 13"),
    ({"gpu": "gpu 7 5 1000000000"}, (), "it holds code for sm_80, compute_80, and no GPU here runs that"),
    ({"gpu": ""}, (), "cuInit: no CUDA-capable device is detected"),
    ({"gpu": "gpu 8 0 1000"}, (), "cuMemAlloc: out of memory"),
    ({"lines": ("fail cuModuleLoadData 209",)}, (), "cuModuleLoadData: no kernel image is available"),
    ({"lines": ("fail kernel 700",)}, (), "an illegal memory access was encountered"),
    ({"lines": ("fail cuGraphLaunch 719",)}, (), "cuGraphLaunch: unspecified launch failure"),
    ({}, ("--gpu", "3"), "there is no GPU 3: this machine has 1"),
    ({}, ("--threads", "2"), "--threads is for CPUs"),
]


@pytest.mark.parametrize(("options", "words", "message"), MISTAKES)
def test_what_is_wrong_is_one_line(run, gpu_artifact: Path, options: dict, words: tuple[str, ...], message: str):
    done = run(gpu_artifact, *words, **options)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_no_driver(run, gpu_artifact: Path, tmp_path: Path):
    done = run(gpu_artifact, library=tmp_path / "nothing" / "libcuda.so.1")
    assert done.returncode == 2 and "this machine has no NVIDIA driver (libcuda.so.1 can't be loaded)" in done.stderr


def test_nan_is_refused(run, gpu_artifact: Path, x: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.full_like(x, np.nan))
    done = run(gpu_artifact)
    assert done.returncode == 2 and "input 'image' holds NaN or infinity" in done.stderr


@pytest.mark.parametrize(("change", "message"), [
    ({"fatbin": "AAA"}, "its machine code is cut short"), ({"fatbin": "A==="}, "its machine code is damaged"),
    ({"fatbin": ""}, "it holds no machine code"),
    ({"routines": {}}, "model.cuda has no kernel 'transpose'"), ({"routines": []}, "an object"),
    ({"format": 7}, "its format is another one"),
])
def test_code_that_is_none(run, gpu_artifact: Path, tmp_path: Path, change: dict, message: str):
    folder = tmp_path / "copy"
    shutil.copytree(gpu_artifact, folder)
    code = json.loads((folder / "model.cuda").read_text())
    (folder / "model.cuda").write_text(json.dumps({**code, **change}))
    done = run(folder)
    assert done.returncode == 2 and "does not match its manifest" in done.stderr
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "library_sha256": sha256_of(folder / "model.cuda")}))
    done = run(folder)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_networks_for_cpus_still_run_and_take_no_gpu(run, tiny_artifact: Path):
    assert run(tiny_artifact, "--runs", 1).returncode == 0
    assert "--gpu is for networks that are compiled for GPUs" in run(tiny_artifact, "--gpu", 0).stderr


def test_functions_are_those_that_are_held_against_the_header():
    """Python's table is held against cuda.h (tests/targets): what C++ declares is the same."""
    kinds = {"void*": "c_void_p", "const void*": "c_void_p", "void**": "LP_c_void_p", "void* const*": "LP_c_void_p",
             "int": "c_int", "int*": "LP_c_int", "unsigned": "c_uint", "size_t": "c_ulong", "uint64_t": "c_ulong",
             "uint64_t*": "LP_c_ulong", "unsigned char": "c_ubyte",
             "unsigned long long": "c_ulong", "const char*": "c_char_p", "const char**": "LP_c_char_p",
             "const KernelNode*": "LP_KernelNode"}
    text = (HEADER / "tenfold" / "cuda_driver.h").read_text()
    declared = re.findall(r"^  TENFOLD_CUDA\(\w+, (\w+), (.*)\)$", text, re.M)
    assert len(declared) == text.count("\n  TENFOLD_CUDA(") > 20
    for name, arguments in declared:
        expected = [kind.__name__ for kind in cuda_functions.SIGNATURES[name]]
        assert [kinds[each] for each in arguments.split(", ")] == expected, name
