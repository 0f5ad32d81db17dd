"""Fine-tuning within `compress`: accuracy comes back, on images that nothing was trained on; interrupts lose nothing."""
from __future__ import annotations

import json
from types import SimpleNamespace

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_images_are_changed_at_random(work, tmp_path):
    plain, changed = (tuned(work, tmp_path / name, epochs=1, augment=names) for name, names in (("a", ()), ("b", ("flip", "shift"))))
    losses = [done.finetuning.curve[0]["train_loss"] for done in (plain, changed)]
    assert losses[0] != losses[1] and changed.to_dict()["finetuning"]["asked"]["augment"] == ["flip", "shift"]


@pytest.mark.slow
def test_without_labels_it_imitates_the_dense_network(work, tmp_path):
    done = tuned(work, tmp_path / "small", data={"x": np.load(work / "d.npz")["x"]}, rate=0.001, epochs=8)
    found = done.finetuning
    assert found.after.accuracy is None and found.after.agreement > found.before.agreement
    assert found.after.kl < found.before.kl


@pytest.mark.slow
def test_a_network_that_gets_worse_stays_as_it_was(work, tmp_path, monkeypatch):
    """Its learning rate is far too high: the files are those without tuning, and the report says so."""
    tuner = pytest.importorskip("tenfold.search.finetuning.tuner")
    monkeypatch.setattr(tuner, "RATES", (1.0,))
    done = tuned(work, tmp_path / "small", rate=1.0, epochs=1)
    plain = tenfold.compress(work / "net.onnx", tmp_path / "plain", HARSH, data=work / "d.npz", target="zen3", batch=1)
    assert done.finetuning.rate is None and done.finetuning.after == done.finetuning.before and plain.plan == done.plan
    assert (tmp_path / "small" / "model.onnx").read_bytes() == (tmp_path / "plain" / "model.onnx").read_bytes()
    assert "made it no better" in compression_line(done)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_search_tunes_what_it_chooses(work, tmp_path):
    done = tuned(work, tmp_path / "small", tenfold.Budget(speedup=1.1), device=ModelDevice(), epochs=1)
    held_out = split(Data.of(work / "d.npz"))[1]
    assert done.after.accuracy == pytest.approx(accuracy(tmp_path / "small", held_out)) == done.finetuning.after.accuracy
    assert done.before.ms / done.after.ms >= 1.1 and done.to_dict()["finetuning"]["asked"]["epochs"] == 1


@pytest.mark.parametrize(
    ("plans", "lost", "chosen"),
    [
        ({1: 1, 2: 2, 4: 3, 8: 4}, {2: 0.1, 3: 0.2, 4: 5.0}, 3),  # the plan that loses four times as much holds, the next one does not
        ({1: 1, 2: 2, 4: 3, 8: 4}, {1: 0.1, 2: 2.0, 3: 0.2}, 1),  # the first one that is tuned does not hold: the others are not tried
        ({4: 3}, {3: 0.5}, 3),  # no plan holds without tuning
        ({1: 1, 2: 1, 4: 1, 8: 1}, {1: 0.0}, 1),  # there is but one
    ],
)
def test_search_and_tuning_take_turns(monkeypatch, plans, lost, chosen):
    """Plan n takes 10 - n ms; what a budget finds, and what a plan loses when it is tuned, is given."""
    def found(search, budget):
        if budget.max_drop not in plans:
            raise TenfoldError("no plan keeps the budget")
        return (plans[budget.max_drop],)

    def tune(indices):
        return SimpleNamespace(after=SimpleNamespace(drop=lost[indices[0]], uncertainty=0.01))

    monkeypatch.setattr(alternate, "find", found)
    search = SimpleNamespace(costs=SimpleNamespace(predicted=lambda indices: SimpleNamespace(ms=10 - indices[0])))
    indices, tuned_plan = alternate.find_tuned(search, tenfold.Budget(max_drop=1), tune)
    assert indices == (chosen,) and tuned_plan.after.drop == lost[chosen]


def test_a_budget_of_time_is_held_against_the_loss_after_tuning(monkeypatch):
    asked = []
    monkeypatch.setattr(alternate, "find", lambda search, budget: asked.append(budget) or (1,))
    search = SimpleNamespace(measure=SimpleNamespace(units="points"), network=SimpleNamespace(name="net"))
    budget = tenfold.Budget(max_drop=1, speedup=2)
    for drop in (0.5, 1.5):
        tuned_plan = SimpleNamespace(after=SimpleNamespace(drop=drop, uncertainty=0.01))
        if drop < 1:
            assert alternate.find_tuned(search, budget, lambda indices, plan=tuned_plan: plan) == ((1,), tuned_plan)
        else:
            with pytest.raises(TenfoldError, match="the best plan loses 1.50 .* after fine-tuning"):
                alternate.find_tuned(search, budget, lambda indices, plan=tuned_plan: plan)
    assert {budget.max_drop for budget in asked} == {None}


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
        (["--finetune", "1", "--data", "d.npz", "--finetune-augment", "flip,turn"], "--finetune-augment 'turn' is unknown"),
        (["--finetune-augment", "flip", "--data", "d.npz"], "--finetune-augment says how --finetune trains"),
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
