"""Files that are no network in a form that is read: the hint tells what they are and what to do; nothing in them runs."""
import os
import pickle
import zipfile

import pytest
from tenfold.frontends import load
from tenfold.support.errors import TenfoldError


def hint(path) -> str:
    with pytest.raises(TenfoldError) as caught:
        load(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.ckpt", "net.safetensors", "NET.PTH"])
def test_weights(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"w": 1}))
    assert "holds weights, not the network: load them into their nn.Module in Python, and write torch.export.save(" in hint(path)


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(f"net/{name}", b"")
    return path


def test_archives_are_told_by_what_is_in_them(tmp_path):
    assert "this is TorchScript, which can't be read" in hint(archive(tmp_path / "a.pth", "data.pkl", "constants.pkl", "code/net.py"))
    assert "this is TorchScript, which can't be read" in hint(archive(tmp_path / "a.ts", "data.pkl", "code/net.py"))
    assert "give it a name that ends in .pt2" in hint(archive(tmp_path / "a.pt", "archive_format", "models/model.json"))
    assert "holds weights, not the network" in hint(archive(tmp_path / "weights", "data.pkl"))


def test_a_pt2_that_is_none(tmp_path):
    pytest.importorskip("torch")
    assert "this is TorchScript, which can't be read" in hint(archive(tmp_path / "a.pt2", "data.pkl", "constants.pkl", "code/net.py"))
    assert "holds weights, not the network" in hint(archive(tmp_path / "b.pt2", "data.pkl", "data/0"))


def test_others(tmp_path):
    assert "tf2onnx" in hint(tmp_path / "net.h5")
    assert hint(tmp_path / "notes.txt").endswith("can't tell what this is; a model file ends in .onnx or .pt2")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "holds weights" in hint(tmp_path / "pipe.pth")
