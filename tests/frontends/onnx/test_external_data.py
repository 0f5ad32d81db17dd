"""Weights beside a model: read from where ONNX Runtime reads them, and from nowhere else."""
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from frontend_checks import graph, normal
from onnx import TensorProto
from tenfold.frontends import load
from tenfold.support.errors import TenfoldError

WEIGHT = normal(4, 3, 3, 3)


def model_at(path: Path, location: str, **entries: object) -> Path:
    """A model whose one weight is in another file; that file is not written."""
    model = graph("float[1,3,8,8] x => float y", "c = Conv (x, w) y = Relu (c)", {"w": WEIGHT})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), *entries.items()):
        tensor.external_data.add(key=key, value=str(value))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def weights_at(path: Path, before: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(before) + WEIGHT.tobytes())
    return path


def weight_of(net) -> np.ndarray:
    return onnx.numpy_helper.to_array(net.onnx.graph.initializer[0])


def onnxruntime_reads(path: Path) -> bool:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def refused(pattern: str, path: Path) -> None:
    with pytest.raises(TenfoldError, match=pattern) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_beside_the_model_and_below(tmp_path):
    weights_at(tmp_path / "a.bin")
    weights_at(tmp_path / "below" / "b.bin", 64)
    for path in (model_at(tmp_path / "a.onnx", "a.bin"), model_at(tmp_path / "b.onnx", "below/b.bin", offset=64, length=WEIGHT.nbytes)):
        net = load(path)
        np.testing.assert_array_equal(weight_of(net), WEIGHT)
        net.reference({"x": np.zeros((1, 3, 8, 8), np.float32)})


@pytest.mark.parametrize(
    "location", ["/proc/self/mem", "/etc/passwd", "../a.bin", "below/../../a.bin", "..\\a.bin", "C:\\a.bin", "below/../inside.bin"]
)
def test_a_path_out_of_the_folder(tmp_path, location):
    weights_at(tmp_path / "a.bin")
    weights_at(tmp_path / "folder" / "inside.bin")
    (tmp_path / "folder" / "below").mkdir()
    refused("not a path within the model's folder: not read", model_at(tmp_path / "folder" / "m.onnx", location))


def test_an_address_in_memory(tmp_path):
    """ONNX Runtime takes this location for a place in its own memory; a file of that name does not change that."""
    weights_at(tmp_path / "*" / "_ORT_MEM_ADDR_" / "*")
    refused("not read", model_at(tmp_path / "m.onnx", "*/_ORT_MEM_ADDR_/*", offset=4096, length=WEIGHT.nbytes))


def test_links(tmp_path):
    weights_at(tmp_path / "elsewhere" / "w.bin")
    folder = tmp_path / "folder"
    weights_at(folder / "store" / "w.bin")
    os.symlink("store/w.bin", folder / "inside.bin")
    os.symlink(tmp_path / "elsewhere" / "w.bin", folder / "outside.bin")
    os.symlink(tmp_path / "elsewhere", folder / "out")
    os.symlink("loop.bin", folder / "loop.bin")
    np.testing.assert_array_equal(weight_of(load(model_at(folder / "a.onnx", "inside.bin"))), WEIGHT)
    for location in ("outside.bin", "out/w.bin"):
        path = model_at(folder / "b.onnx", location)
        refused("a link that leads out of the model's folder: not read", path)
    refused("which is not there", model_at(folder / "c.onnx", "loop.bin"))


def test_a_download_cache(tmp_path):
    """models--x/blobs/HASH, and snapshots/REVISION/ with links to them: as huggingface_hub lays it out."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc" / "onnx"
    snapshot.mkdir(parents=True)
    weights_at(blobs / "22")
    model_at(blobs / "11", "model.onnx_data")
    os.symlink("../../../blobs/11", snapshot / "model.onnx")
    os.symlink("../../../blobs/22", snapshot / "model.onnx_data")
    np.testing.assert_array_equal(weight_of(load(snapshot / "model.onnx")), WEIGHT)
    secret = weights_at(tmp_path / "secret")
    (snapshot / "model.onnx_data").unlink()
    os.symlink(secret, snapshot / "model.onnx_data")
    refused("a link that leads out of the model's folder: not read", snapshot / "model.onnx")


def test_what_onnxruntime_reads_and_does_not(tmp_path):
    """Whatever is read here the reference can read, too."""
    weights_at(tmp_path / "elsewhere" / "w.bin")
    folder = tmp_path / "folder"
    weights_at(folder / "store" / "w.bin")
    os.symlink("store/w.bin", folder / "inside.bin")
    os.symlink(tmp_path / "elsewhere" / "w.bin", folder / "outside.bin")
    for location in ("store/w.bin", "inside.bin", "outside.bin", "../elsewhere/w.bin", "absent.bin"):
        path = model_at(folder / "m.onnx", location)
        try:
            load(path)
        except TenfoldError:
            continue
        assert onnxruntime_reads(path), location


@pytest.mark.parametrize(
    "pattern, entries",
    [
        ("bytes 0 to 432 of w.bin, which has only 100: cut short", {}),
        ("bytes 50 to 482 of w.bin", {"offset": 50}),
        (r"needs 432 bytes, its external data are 100", {"length": 100}),
        ("offset '-1' of its external data is not a number of bytes", {"offset": -1}),
        ("offset .* is not a number of bytes", {"offset": "9" * 30}),
        ("length 'all' of its external data is not a number", {"length": "all"}),
    ],
)
def test_ranges(tmp_path, pattern, entries):
    (tmp_path / "w.bin").write_bytes(bytes(100))
    refused(pattern, model_at(tmp_path / "m.onnx", "w.bin", **entries))


@pytest.mark.parametrize("location", ["", ".", "\0", "a" * 5000, "pipe", "folder"])
def test_what_is_no_file(tmp_path, location):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    refused("m.onnx", model_at(tmp_path / "m.onnx", location))


def test_contradictory_tensors(tmp_path):
    weights_at(tmp_path / "w.bin")
    path = model_at(tmp_path / "m.onnx", "w.bin")
    for change, pattern in (
        (lambda w: setattr(w, "data_type", TensorProto.STRING), "strings can't be external data"),
        (lambda w: w.dims.__setitem__(0, -4), "negative size"),
        (lambda w: w.dims.__setitem__(0, 2**33), "larger than 2 GiB"),
    ):
        model = onnx.load(path, load_external_data=False)
        change(model.graph.initializer[0])
        (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
        refused(pattern, tmp_path / "bad.onnx")


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_model_that_is_no_regular_file(tmp_path, suffix):
    pipe, device, absent = (tmp_path / f"{name}{suffix}" for name in ("pipe", "device", "absent"))
    os.mkfifo(pipe)
    os.symlink("/dev/zero", device)
    os.symlink("nowhere", absent)
    for path in (pipe, device):
        refused("not a regular file; a model can't be read from a pipe or a device", path)
    refused("no such file", absent)
    refused("no such file", tmp_path / f"a\0b{suffix}")
    memory = tmp_path / f"memory{suffix}"
    os.symlink("/proc/self/mem", memory)  # says that it is a regular file of 0 bytes
    refused("can.t be read: Input", memory)  # the first page of a process is never mapped
