"""Networks in C++, without Python and TVM: the same numbers, and whatever is wrong with an artifact one line and no crash."""
from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tenfold
from artifact_edits import edit, read_words, sign, write_words
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from session_folder import made_once
from tenfold.runner.devices.artifacts import read_manifest
from tenfold.runner.devices.child import write_program
from tenfold.runner.devices.device import Program
from tenfold.runner.devices.emulated import emulator_for
from tenfold.runner.devices.native import compiler_for, library_root
from tenfold.runtime.manifest import FORMAT
from tenfold.support.errors import TenfoldError

ROOT = Path(tenfold.__file__).parent
HEADER, EXAMPLE = ROOT / "runtime" / "cpp", ROOT / "examples" / "deploy_cpp"
CHECKS = Path(__file__).with_name("cpp_checks.cc")
COMPILER = os.environ.get("CXX") or "g++"
SANITIZERS = "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"  # optimising what they insert takes three times as long
WARNINGS = "-Wall", "-Wextra", "-Wpedantic", "-Werror"
SECONDS = 120

pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"there is no C++ compiler {COMPILER}")


def build(source, program, *options):
    command = [COMPILER, "-std=c++17", "-O1", "-g", "-pthread", f"-I{HEADER}", *WARNINGS, *options, *map(str, source), "-o", str(program)]
    done = subprocess.run([*command, "-ldl"], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return program


def sanitizers(folder):
    """Those options that this compiler has, and whose programs run here."""
    (folder / "empty.cc").write_text("int main() {}\n")
    command = [COMPILER, *SANITIZERS, str(folder / "empty.cc"), "-o", str(folder / "empty")]
    for step in (command, [str(folder / "empty")]):
        if subprocess.run(step, capture_output=True).returncode:
            return ()
    return SANITIZERS


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    options = sanitizers(tmp_path_factory.mktemp("checks"))
    return made_once(tmp_path_factory, "checks", lambda program: build([CHECKS], program, "-rdynamic", *options))


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    options = sanitizers(tmp_path_factory.mktemp("deploy"))
    return made_once(tmp_path_factory, "deploy", lambda program: build([EXAMPLE / "main.cc"], program, "-rdynamic", *options))


@pytest.fixture
def copy(tiny_artifact, tmp_path):
    return Path(shutil.copytree(tiny_artifact, tmp_path / "net"))


def ask(program, *lines):
    """The answers of the program of checks; a report of a sanitizer, of a leak too, is a failure."""
    text = "".join(" ".join(map(str, line)) + "\n" for line in lines)
    done = subprocess.run([program], input=text, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.split("\n")[:-1]
    assert len(answers) == len(lines)
    return answers


def compared(checks, folder, feeds, threads=0):
    """Run an artifact in Python and in C++."""
    net = tenfold.load(folder)
    work = Path(folder).parent
    (work / "inputs").write_bytes(b"".join(feeds[port.name].tobytes() for port in net.inputs))
    (answer,) = ask(checks, ["run", folder, threads, work / "inputs", work / "outputs"])
    assert answer.startswith("ok ")
    content = (work / "outputs").read_bytes()
    assert content == b"".join(array.tobytes() for array in net.run(feeds).values()) and len(content) > 0
    return int(answer.split(" ")[1])


def refused(checks, folder, words, image):
    (folder.parent / "inputs").write_bytes(image.tobytes())
    (answer,) = ask(checks, ["run", folder, 0, folder.parent / "inputs", folder.parent / "outputs"])
    assert answer.startswith("error ") and words in answer, answer


def compiled(folder, nodes, inputs, outputs, constants=None):
    """An artifact of an ONNX graph. Ports are name -> (element type, shape)."""
    ports = [[helper.make_tensor_value_info(name, *port) for name, port in listed.items()] for listed in (inputs, outputs)]
    made = [helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in nodes]
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(made, "net", *ports, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    tenfold.compile(model, output=folder)
    return folder


@pytest.mark.parametrize("threads", [0, 1, 2, 3])
def test_the_same_numbers_as_in_python(checks, copy, image, threads):
    used = compared(checks, copy, {"image": image}, threads)
    assert used == (threads or tenfold.load(copy).threads)


def test_packed_weights_are_unpacked(checks, tiny_file, image, tmp_path):
    """Those of five bits, which do not end with a byte; and nothing that is cut short is read."""
    folder = tmp_path / "net"
    tenfold.compile(tiny_file, output=folder, size="5", tolerance=1e-4)
    weights = folder / "weights.bin"
    whole = weights.read_bytes()
    assert whole.startswith(b"tenfoldp")
    compared(checks, folder, {"image": image})
    for length in (8, 20, 30, 60, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:length])
        sign(folder)
        refused(checks, folder, "not the weights of a compiled network", image)
    for word, value in ((1, -1), (1, 2**50), (2, 2**40), (3, -1), (4, 2**61), (5, 9), (5, 0)):
        edited = bytearray(whole)
        edited[8 * word : 8 * word + 8] = value.to_bytes(8, "little", signed=True)
        weights.write_bytes(edited)
        sign(folder)
        refused(checks, folder, "not the weights of a compiled network", image)


def test_a_batch_in_pieces(checks, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    nodes = [("Conv", ["x", "w"], ["y"], {"pads": [1] * 4}), ("Relu", ["y"], ["z"], {})]
    inputs, outputs = {"x": (1, [6, 8, 9, 9])}, {"y": (1, [6, 16, 9, 9]), "z": (1, [6, 16, 9, 9])}
    monkeypatch.setattr("tenfold.codegen.batch_split.count_pieces", lambda mod, backend: 3)
    folder = compiled(tmp_path / "net", nodes, inputs, outputs, {"w": rng.standard_normal((16, 8, 3, 3)).astype("f")})
    assert tenfold.load(folder).manifest.pieces == 3
    x = rng.standard_normal((6, 8, 9, 9)).astype("f")
    compared(checks, folder, {"x": x})
    x[4, 0, 0, 0] = np.nan
    refused(checks, folder, "input 'x' holds NaN", x)
    edit(folder, pieces=2)
    refused(checks, folder, "name different pieces", x)


def test_several_ports_of_several_types(checks, tmp_path):
    float16, boolean, int64, uint8 = TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.INT64, TensorProto.UINT8
    nodes = [("Where", ["m", "x", "h"], ["w"], {}), ("ArgMax", ["w"], ["largest"], {"axis": 1, "keepdims": 0}), ("Not", ["m"], ["n"], {}),
             ("Add", ["i", "i"], ["twice"], {}), ("Cast", ["w"], ["half"], {"to": float16}), ("Cast", ["u"], ["wide"], {"to": int64}),
             ("ReduceMax", ["w"], ["top"], {"keepdims": 0})]
    inputs = {"m": (boolean, [3, 5]), "x": (1, [3, 5]), "h": (1, [3, 5]), "i": (int64, [2]), "u": (uint8, [7])}
    outputs = {"largest": (int64, [3]), "n": (boolean, [3, 5]), "twice": (int64, [2]), "half": (float16, [3, 5]), "wide": (int64, [7])}
    outputs["top"] = 1, []
    folder = compiled(tmp_path / "net", nodes, inputs, outputs)
    rng = np.random.default_rng(0)
    feeds = {"m": rng.random((3, 5)) < 0.5, "x": rng.standard_normal((3, 5)).astype("f"), "h": rng.standard_normal((3, 5)).astype("f"),
             "i": np.array([2**40, -3]), "u": np.arange(250, 257).astype("uint8")}
    compared(checks, folder, feeds)


def test_several_networks_and_callers(checks, copy, image, tmp_path):
    """Also a folder whose library and weights are others by now, and two threads that call one network."""
    (tmp_path / "inputs").write_bytes(image.tobytes())
    shutil.copytree(copy, tmp_path / "again")
    lines = [["run", folder, 2, tmp_path / "inputs", tmp_path / f"out{i}"] for i, folder in enumerate([copy, tmp_path / "again", copy])]
    assert ask(checks, *lines, ["twice", copy, tmp_path / "inputs"]) == ["ok 2", "ok 2", "ok 2", "ok"]
    expected = tenfold.load(copy)(image).tobytes()
    assert {(tmp_path / f"out{i}").read_bytes() for i in range(3)} == {expected}


def test_what_is_no_number_is_refused(checks, copy, image):
    refused(checks, copy, "input 'image' holds NaN or infinity", np.where(image == image.max(), np.float32("inf"), image))


def test_a_network_that_needs_python(checks, tmp_path, image):
    nodes = [("Relu", ["x"], ["y"], {}), ("Identity", ["x"], ["z"], {})]
    folder = compiled(tmp_path / "net", nodes, {"x": (1, [2])}, {"y": (1, [2]), "z": (1, [2])})
    refused(checks, folder, "no straight line of kernels", image)


@pytest.mark.parametrize("name", ["manifest.json", "model.so", "weights.bin"])
def test_files_that_are_missing_cut_or_changed(checks, copy, image, name):
    content = (copy / name).read_bytes()
    for changed in (b"", content[: len(content) // 2], content[:-3], b"%" + content[1:], content + b"%"):
        (copy / name).write_bytes(changed)
        refused(checks, copy, name, image)
    (copy / name).unlink()
    refused(checks, copy, f"there is no {name} in it", image)
    (copy / name).mkdir()
    refused(checks, copy, f"{name}: can't be", image)
    refused(checks, copy / "weights.bin", "", image)
    refused(checks, copy.parent / "nowhere", "No such file", image)


def image_of(*shape):
    return {"inputs": [{"name": "image", "shape": shape, "dtype": "float32"}]}


PORT = {"name": "image", "shape": [1, 3, 8, 8], "dtype": "float32"}
SCORES = {"name": "scores", "shape": [1, 5], "dtype": "float32"}
FIELDS = [
    ({"format": FORMAT + 1}, f"format {FORMAT + 1}"), ({"format": True}, "a whole number"), ({"format": str(FORMAT)}, "a whole number"),
    ({"inputs": []}, "do not fit"), ({"inputs": None}, "a list"), ({"inputs": [PORT, PORT]}, "the same name"),
    ({"inputs": [5]}, "an object"),
    (image_of(1, 3, 8, 9), "do not fit"), (image_of(1, 3, 8, -8), "-8 is not a whole number"), (image_of(1.0), "1.0 is not a whole number"),
    (image_of(1 << 40, 1 << 40), "no possible shape"), (image_of(0, 1 << 45, 9), "no possible shape"),
    (image_of(*[1] * 33), "no possible shape"), (image_of(1 << 64), "is not a whole number"),
    ({"inputs": [{**PORT, "dtype": "float31"}]}, "no dtype"),
    ({"inputs": [{**PORT, "dtype": "int32"}]}, "the compiled code failed"), ({"outputs": []}, "do not fit"),
    ({"outputs": [SCORES, {**SCORES, "name": "more"}]}, "do not fit"), ({"outputs": [{**SCORES, "shape": [5, 1]}]}, "do not fit"),
    ({"outputs": [{**SCORES, "dtype": "int32"}]}, "do not fit"), ({"threads": 0}, "0 is not"), ({"threads": 65537}, "65537 is not"),
    ({"pieces": 0}, "0 is not"), ({"pieces": 2}, "different pieces"), ({"library_sha256": "0" * 64}, "model.so: does not match"),
    ({"target": {"name": "a\x1b[2Jb", "architecture": "vax", "features": []}}, "a?[2Jb is vax"),
    ({"target": {"name": "q", "architecture": "x86_64"}}, "'features' is missing"),
]  # fmt: skip


@pytest.mark.parametrize("fields, words", FIELDS, ids=[json.dumps(fields)[:40] for fields, _ in FIELDS])
def test_a_manifest_that_says_other_things(checks, copy, image, fields, words):
    edit(copy, **fields)
    refused(checks, copy, words, image)


def test_a_cpu_that_lacks_something(checks, copy, image):
    target = json.loads((copy / "manifest.json").read_text())["target"]
    edit(copy, target={**target, "features": [*target["features"], "quantum"]})
    refused(checks, copy, "needs quantum, which this machine lacks", image)


def test_json_is_read_strictly(checks, copy, image):
    text = (copy / "manifest.json").read_text()
    for begin in [
        "{,", '{"a" 1,', '{"a":,', "{'a':1,", '{"a":NaN,', '{"a":01,', '{"a":.5,', '{"a":1.,', '{"a":+1,', '{"a":1e,', '{"a":-,',
        '{"a":tru,',
        '{"a":"\\x",', '{"a":"\\ud800",', '{"a":"\\udc00\\ud800",', '{"a":"\\u12",', '{"a":"\n",', '{"a":"', '{"a":[1 2],', '{"a":[1,],',
        '{"a":1;', '{"a":1,"a":2,', '{"a":' + "[" * 5000, "\x00{",
    ]:  # fmt: skip
        (copy / "manifest.json").write_text(text.replace("{", begin, 1))
        refused(checks, copy, "manifest.json: ", image)
    (copy / "manifest.json").write_text(text + "x")
    refused(checks, copy, "manifest.json: not JSON at byte", image)
    good = text.replace("{", '{"a":[{}, [], -0, 0.5, 1e5, -1.25E-7, true, false, null, "\\u00e9\\ud83d\\ude00\\n\\/"],', 1)
    (copy / "manifest.json").write_text(good)
    compared_without_python(checks, copy, image)


def compared_without_python(checks, folder, image):
    (folder.parent / "inputs").write_bytes(image.tobytes())
    assert ask(checks, ["run", folder, 1, folder.parent / "inputs", folder.parent / "outputs"]) == ["ok 1"]


def test_names_are_read_as_python_writes_them(checks, copy, image):
    edit(copy, inputs=[{**PORT, "name": "bild \u00e9\U0001f600\n"}])
    refused(checks, copy, "input 'bild \u00e9\U0001f600?' holds NaN", np.full_like(image, np.nan))


def test_whatever_the_table_of_weights_says(checks, copy, image):
    """Its hash fits: what is wrong is seen by the numbers, or by the kernels that are called with them. Run under the sanitizers."""
    words, rng, lines = read_words(copy), random.Random(0), []
    inputs = copy.parent / "inputs"
    inputs.write_bytes(image.tobytes())
    values = [-1, 7, 8, 63, 64, 4096, 1 << 20, 1 << 40, 1 << 46, 1 << 61, (1 << 63) - 1, -(1 << 63)]
    for number in range(250):
        folder = copy.parent / f"n{number}"
        folder.mkdir()
        changed = list(words)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            near = range(8)  # positions of tensors, numbers of dimensions
            changed[rng.randrange(2, len(words))] = rng.choice([rng.choice(values), rng.choice(near), rng.choice(near), rng.choice(words)])
        for name in ("manifest.json", "weights.bin"):
            shutil.copy(copy / name, folder / name)
        (folder / "model.so").symlink_to(copy / "model.so")
        write_words(folder, changed)
        lines.append(["run", folder, 2, inputs, folder / "outputs"])
    answers = ask(checks, *lines)
    assert all(answer.startswith(("ok ", "error ")) for answer in answers)
    for words_of_one in ("ok ", "not the weights of", "do not fit", "the compiled code failed: "):
        assert any(words_of_one in answer for answer in answers)


def test_a_kernel_that_is_not_there(checks, copy, image):
    content = (copy / "weights.bin").read_bytes()
    kernel = json.loads((copy / "manifest.json").read_text())["kernels"][0]["function"].encode()
    (copy / "weights.bin").write_bytes(content.replace(kernel, b"x" * len(kernel), 1))
    sign(copy)
    refused(checks, copy, f"it has no __tvm_ffi_{'x' * len(kernel)}", image)


def test_a_library_that_is_none(checks, copy, image):
    for content in (b"", b"no library", Path(shutil.which("true")).read_bytes()):
        (copy / "model.so").write_bytes(content)
        sign(copy)
        refused(checks, copy, "model.so: can't be loaded as a compiled network", image)


@given(content=st.binary(max_size=300))
@settings(deadline=None, max_examples=15)
def test_sha256(checks, tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("sha")
    files = {size: (content * 128 + bytes(200))[:size] for size in (0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, len(content), 10_000)}
    for size, part in files.items():
        (folder / str(size)).write_bytes(part)
    expected = [f"ok {hashlib.sha256(part).hexdigest()}" for part in files.values()]
    assert ask(checks, *(["sha", folder / str(size)] for size in files)) == expected


@pytest.mark.slow
def test_a_program_that_does_not_export_and_has_two_sources(copy, image, tmp_path):
    (tmp_path / "other.cc").write_text('#include "tenfold.h"\nint other() { return tenfold::detail::kFormat; }\n')
    program = build([CHECKS, tmp_path / "other.cc"], tmp_path / "checks")
    refused(program, copy, "link the program with -rdynamic", image)


def run_deploy(deploy, *words):
    done = subprocess.run([deploy, *map(str, words)], capture_output=True, text=True, timeout=SECONDS)
    return done.returncode, done.stdout, done.stderr


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


@pytest.fixture
def bundled(bundled_artifact, tmp_path):
    """A network whose kernels need workspaces, on several threads."""
    folder = Path(shutil.copytree(bundled_artifact, tmp_path / "bundled" / "net"))
    assert tenfold.load(folder).manifest.memory["workspaces"] > 0
    return folder


@pytest.mark.slow
def test_a_whole_network(checks, bundled):
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype("f")
    compared(checks, bundled, {"image": image}, 2)


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


def test_no_library_of_tvm_is_needed(copy):
    """The library names what it needs: the system's libraries alone, and one function of the header."""
    needed = subprocess.run(["ldd", copy / "model.so"], capture_output=True, text=True, check=True).stdout
    assert "tvm" not in needed and "not found" not in needed
