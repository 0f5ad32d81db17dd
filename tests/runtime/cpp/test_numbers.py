"""Networks in C++, without Python and TVM: the same numbers as in Python."""
from __future__ import annotations

import hashlib
import shutil
import subprocess

import numpy as np
import pytest
import tenfold
from artifact_edits import edit, sign
from cpp_program import ask, compared, needs_compiler, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

pytestmark = needs_compiler


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
def test_a_whole_network(checks, bundled):
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype("f")
    compared(checks, bundled, {"image": image}, 2)


def test_no_library_of_tvm_is_needed(copy):
    """The library names what it needs: the system's libraries alone, and one function of the header."""
    needed = subprocess.run(["ldd", copy / "model.so"], capture_output=True, text=True, check=True).stdout
    assert "tvm" not in needed and "not found" not in needed
