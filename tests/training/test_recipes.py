"""Every recipe trains, on a few images of the kinds it is for; and the command of the examples does what it says."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tenfold
import torch
from tenfold import TenfoldError
from tenfold.training.data import HELD_OUT, Images, prepare, preprocessing
from tenfold.training.loop import Stairs, train
from tenfold.training.loop.progress import Silent
from tenfold.training.recipes import RECIPES, recipe

RNG = np.random.default_rng(0)
ROOT = Path(tenfold.__file__).parent


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
    outcome = train(network, data, replace(settings, steps=2, batch=4, test_steps=2), objective=how.objective(10), display=Silent())
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


def cifar10_files(folder):
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = RNG.integers(0, 256, (10_000, 3073), np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / f"{name}.bin")


def catches(process, number):
    status = Path(f"/proc/{process}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def command(*arguments):
    return [sys.executable, str(ROOT / "examples" / "train.py"), *map(str, arguments)]


@pytest.mark.slow
def test_the_command(tmp_path):
    """Stopped by Ctrl-C it goes on, and ends with a network that ONNX Runtime runs; mistakes are one line."""
    cifar10_files(tmp_path / "data")
    run = tmp_path / "run"
    arguments = command("calli_small", "--data", tmp_path / "data", "-o", run, "--steps", 8, "--first", 300, "--precision", "float32")
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    while not catches(first.pid, signal.SIGTERM) and first.poll() is None:  # which Python by itself does not
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    said = first.communicate()[1]
    assert first.returncode == 130 and "stopped at step" in said, said
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "goes on behind step" in done.stderr and "parameters, 7.8 M MACs, test accuracy" in done.stdout
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == 8 and summary["settings"]["steps"] == 8 and 0 <= summary["test_accuracy"] < 0.5
    session = onnxruntime.InferenceSession(run / "network.onnx")
    assert session.run(None, {"image": np.zeros((2, 3, 24, 24), np.float32)})[0].shape == (2, 10)
    wrong = subprocess.run(command("calli_small", "--data", run), env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "holds none of CIFAR-10" in wrong.stderr
