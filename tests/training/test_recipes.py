"""Every recipe trains, on a few images of the kinds it is for; and the command of the examples does what it says."""
from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tenfold
import torch
from tenfold import TenfoldError
from tenfold.training.data import HELD_OUT, Images, mnist, prepare, preprocessing
from tenfold.training.loop import Stairs, train
from tenfold.training.loop.progress import Silent
from tenfold.training.recipes import RECIPES, recipe

RNG = np.random.default_rng(0)
ROOT = Path(tenfold.__file__).parent
SCRIPT = ROOT / "examples" / "train.py"


def few_images(channels, count=16):
    size = 32 if channels == 3 else 28
    x, y = RNG.integers(0, 256, (2, count, channels, size, size), np.uint8), RNG.integers(0, 10, (2, count))
    return Images("cifar10" if channels == 3 else "mnist", x[0], y[0], x[1], y[1], 10)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(name, monkeypatch):
    """Two steps each. The whitening is left out: of 16 images it would take as long as of 50,000."""
    monkeypatch.setattr(preprocessing.Whitening, "fit", classmethod(lambda cls, images: lambda images: images))
    how = recipe(name)
    images = few_images(1 if how.copies else 3)
    data = prepare(images, how.pipeline_for(images))
    network = how.network(data, 0)
    settings = how.settings_for(seed=1, precision="float32")
    assert settings.seed == 1 and settings.momentum == 0.9 and len(how.about) > 40
    outcome = train(network, data, replace(settings, steps=2, batch=4, test_steps=2), objective=how.objective(), display=Silent())
    assert np.isfinite(outcome.rows[-1].test_loss)
    first, again = (next(how.network(data, 0).parameters()) for _ in range(2))
    assert torch.equal(first, again)


def test_images_that_are_held_out_are_not_seen():
    how, images = recipe("bundled_vgg"), few_images(3, HELD_OUT + 3)
    images.train_x[:, 0, 0, 0] = 0
    images.train_x[tenfold.training.data.shuffled_rows(HELD_OUT + 3)[:HELD_OUT], 0, 0, 0] = 1
    seen = how.seen(images)
    assert len(seen.train_x) == len(seen.train_y) == 3 and not seen.train_x[:, 0, 0, 0].any()
    assert recipe("resnet20").seen(images) is images


def test_learning_rates_move_with_the_steps():
    how = recipe("calli_small")
    assert how.settings_for(800).schedule == Stairs((0.1, 0.01, 0.001), (400, 600)) and how.settings_for(800).steps == 800
    with pytest.raises(TenfoldError, match="steps 1: too few for 3 learning rates"):
        how.settings_for(1)
    with pytest.raises(TenfoldError, match="network 'vgg16': there are jin_baseline, "):
        recipe("vgg16")


def mnist_files(folder):
    """MNIST in its format, all of it black."""
    folder.mkdir()
    for name, shape in zip(mnist.FILES, ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)), strict=True):
        header = (0x800 + len(shape)).to_bytes(4, "big") + b"".join(size.to_bytes(4, "big") for size in shape)
        (folder / name).write_bytes(header + bytes(prod(shape)))


def catches(process, number):
    status = Path(f"/proc/{process}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def run(monkeypatch, *arguments):
    """The command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return end.value.code


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    """Stopped by Ctrl-C it goes on, and ends with a network that ONNX Runtime runs; mistakes are one line."""
    mnist_files(tmp_path / "data")
    folder = tmp_path / "run"
    arguments = ["calli_autoencoder", "--data", tmp_path / "data", "-o", folder, "--steps", 5, "--first", 130, "--precision", "float32"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while not catches(first.pid, signal.SIGTERM) and first.poll() is None:  # which Python by itself does not
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    said = first.communicate()[1]
    assert first.returncode == 130 and "stopped at step" in said, said
    assert run(monkeypatch, *arguments) == 0
    done = capsys.readouterr()
    assert "goes on behind step" in done.err and "37,827 parameters, 1.9 M MACs, test loss" in done.out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["step"] == 5 and summary["settings"]["steps"] == 5 and summary["test_accuracy"] is None
    session = onnxruntime.InferenceSession(folder / "network.onnx")
    assert session.run(None, {"image": np.zeros((2, 1, 28, 28), np.float32)})[0].shape == (2, 1, 28, 28)
    assert run(monkeypatch, "calli_small", "--data", folder, "-o", tmp_path / "none") == 2
    wrong = capsys.readouterr().err
    assert wrong.count("\n") == 1 and "holds none of CIFAR-10" in wrong
