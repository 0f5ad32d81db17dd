"""The command in this process, and a folder to work in."""
from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from tenfold import cli


@pytest.fixture
def tenfold(monkeypatch, capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tenfold", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run


@pytest.fixture
def work(tmp_path, monkeypatch, tiny_file, tiny_artifact):
    """A folder to work in, with the network, an artifact and a plan of it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_file, tmp_path / "net.onnx")
    shutil.copytree(tiny_artifact, tmp_path / "net")
    np.save(tmp_path / "x.npy", np.ones((1, 3, 8, 8), "float32"))
    return tmp_path
