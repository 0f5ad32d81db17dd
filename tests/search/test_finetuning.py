"""Fine-tuning within `compress`: accuracy comes back, on images that nothing was trained on; interrupts lose nothing."""
from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
import torch
from search_fakes import ModelDevice
from tenfold.runner.data import Data
from tenfold.search.calibration.evaluation import split
from tenfold.search.finetuning import alternate, options
from tenfold.search.finetuning.images import training_images
from tenfold.search.finetuning.options import Finetuning
from tenfold.search.tables import compression_line
from tenfold.support.errors import TenfoldError
from tenfold.training.loop import Stairs, train
from tenfold.training.loop.progress import Silent
from tenfold.training.networks import export_onnx
from tiny_training import pattern_data, pattern_network, tiny_settings
from typer.testing import CliRunner

HARSH = tenfold.Recipe("channel_svd", 0.5)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A network that knows its patterns, and images of them with labels."""
    folder = tmp_path_factory.mktemp("finetuning")
    torch.manual_seed(0)
    network, data = pattern_network(), pattern_data()
    train(network, data, tiny_settings(steps=120, schedule=Stairs((0.05,)), test_steps=120), display=Silent())
    export_onnx(network, data.shape, folder / "net.onnx")
    np.savez(folder / "d.npz", x=data.train_x.numpy(), y=data.train_y.numpy())
    return folder


def tuned(work, output, asked=HARSH, data="d.npz", device=None, progress=None, **finetuning):
    options = Finetuning(**{"epochs": 4, "rate": 0.01, **finetuning})
    settings = tenfold.Settings(cache=work / "cache", finetuning=options, methods=("channel_svd",))
    given = work / data if isinstance(data, str) else data
    where = {"device": device, "target": "zen3", "progress": progress}
    return tenfold.compress(work / "net.onnx", output, asked, data=given, settings=settings, batch=1, **where)


def accuracy(folder, data: Data) -> float:
    """In ONNX Runtime, of the file that was written."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    name = session.get_inputs()[0].name
    scores = np.concatenate([session.run(None, {name: image[None]})[0] for image in data.x])
    return float((scores.argmax(1) == data.y).mean())


@pytest.mark.parametrize("how", ["all", "cascade"])
def test_the_accuracy_comes_back(work, tmp_path, how):
    """As reported: by the file itself, on the held-out images."""
    held_out = split(Data.of(work / "d.npz"))[1]
    done = tuned(work, tmp_path / "small", how=how)
    report = json.loads((tmp_path / "small" / "report.json").read_text())["finetuning"]
    assert accuracy(tmp_path / "small", held_out) == pytest.approx(report["after"]["accuracy"])
    assert report["after"]["accuracy"] > report["before"]["accuracy"] + 0.1
    assert report["asked"]["how"] == how and report["rate"] > 0
    assert f"-> {report['after']['accuracy']:.2%} on the held-out ones" in compression_line(done)
    plain = tenfold.compress(work / "net.onnx", tmp_path / "plain", HARSH, data=work / "d.npz", target="zen3", batch=1)
    assert accuracy(tmp_path / "plain", held_out) == pytest.approx(report["before"]["accuracy"]) and plain.finetuning is None


def test_without_labels_it_imitates_the_dense_network(work, tmp_path):
    done = tuned(work, tmp_path / "small", data={"x": np.load(work / "d.npz")["x"]}, rate=0.001, epochs=8)
    found = done.finetuning
    assert found.after.accuracy is None and found.after.agreement > found.before.agreement
    assert found.after.kl < found.before.kl


def test_a_network_that_gets_worse_stays_as_it_was(work, tmp_path, monkeypatch):
    """Its learning rate is far too high: the files are those without tuning, and the report says so."""
    tuner = pytest.importorskip("tenfold.search.finetuning.tuner")
    monkeypatch.setattr(tuner, "RATES", (1.0,))
    done = tuned(work, tmp_path / "small", rate=1.0, epochs=1)
    plain = tenfold.compress(work / "net.onnx", tmp_path / "plain", HARSH, data=work / "d.npz", target="zen3", batch=1)
    assert done.finetuning.rate is None and done.finetuning.after == done.finetuning.before and plain.plan == done.plan
    assert (tmp_path / "small" / "model.onnx").read_bytes() == (tmp_path / "plain" / "model.onnx").read_bytes()
    assert "made it no better" in compression_line(done)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(work, tmp_path):
    steps = []

    def stop(step, done=None, total=None):
        if step == "fine-tuning":
            steps.append(done)
            if len(steps) == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(work, tmp_path / "small", progress=stop)
    assert not (tmp_path / "small").exists()
    steps.clear()
    tuned(work, tmp_path / "small", progress=lambda step, done=None, total=None: steps.append(done) if step == "fine-tuning" else None)
    tuned(work, tmp_path / "whole")
    assert steps[0] > 0, "it began anew"
    assert onnx.load(tmp_path / "small" / "model.onnx") == onnx.load(tmp_path / "whole" / "model.onnx")
    assert not list((work / "cache" / "finetuned").iterdir()), "checkpoints are left behind"


def test_a_search_counts_on_tuning(work, tmp_path):
    """With it a plan holds that loses more than the budget allows before it is tuned, and is faster than any that needs no tuning."""
    budget = tenfold.Budget(max_drop=8)
    settings = tenfold.Settings(cache=work / "cache", methods=("channel_svd",))
    where = {"data": work / "d.npz", "device": ModelDevice(), "target": "zen3", "batch": 1}
    plain = tenfold.compress(work / "net.onnx", tmp_path / "plain", budget, settings=settings, **where)
    done = tuned(work, tmp_path / "tuned", budget, device=ModelDevice())
    held_out = split(Data.of(work / "d.npz"))[1]
    assert done.after.accuracy == pytest.approx(accuracy(tmp_path / "tuned", held_out)) == done.finetuning.after.accuracy
    assert done.finetuning.before.drop > 8 and alternate.holds(done.finetuning, 8)
    assert done.after.ms < plain.after.ms


def test_images_that_verify_are_never_trained_on(work):
    """Not even if the file to train on has them."""
    network = tenfold.frontends.load(work / "net.onnx", batch=1)
    data = Data.of(work / "d.npz")
    calibrating, held_out = split(data)
    found = training_images(network, {"x": data.x, "y": data.y}, calibrating, held_out)
    assert len(found.x) == len(calibrating.x)
    np.testing.assert_array_equal(found.x, calibrating.x)
    with pytest.raises(TenfoldError, match="0 images, those that verify the result left out"):
        training_images(network, {"x": held_out.x, "y": held_out.y}, calibrating, held_out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--finetune", "0", "--data", "d.npz"], "--finetune 0 is out of range"),
        (["--finetune", "1"], "--finetune trains on the data"),
        (["--finetune", "1", "--data", "d.npz", "--finetune-how", "some"], "--finetune-how 'some' is unknown"),
        (["--finetune", "1", "--data", "d.npz", "--finetune-rate", "2"], "--finetune-rate 2.0 is out of range"),
        (["--distil", "--data", "d.npz"], "--distil says how --finetune trains"),
        (["--finetune", "1", "--data", "d.npz", "--finetune-data", "none.npz"], "none.npz"),
    ],
)
def test_what_has_no_use_is_refused(work, tmp_path, monkeypatch, arguments, words):
    from tenfold.cli import app

    monkeypatch.chdir(work)
    result = CliRunner().invoke(app, ["compress", "net.onnx", "-o", str(tmp_path / "small"), "--batch", "1", *arguments])
    assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "small").exists()


def test_without_torch_it_says_what_to_install(work, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(TenfoldError, match=r'pip install "tenfold\[torch\]"'):
        tuned(work, tmp_path / "small")
