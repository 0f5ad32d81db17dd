"""Whole searches of networks as they are deployed: several inputs and outputs, a segmenter by mIoU, a detector; and metrics that fail."""
from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from deployed_networks import answers, arrays, detector, segmenter, two_by_two
from search_fakes import ModelDevice
from tenfold import cli
from tenfold.search.calibration.evaluation import split
from tenfold.search.find import STANDARD_ERRORS_OF_ALL

COUNT = 200
QUICK = ("channel_svd",)

MIOU = '''
import numpy as np

def miou(outputs, labels):
    """Mean intersection over union of the three classes, of all images together."""
    ours, truth = outputs["masks"].argmax(axis=1), labels["y"]
    union = [((ours == c) | (truth == c)).sum() for c in range(3)]
    return np.mean([((ours == c) & (truth == c)).sum() / u for c, u in enumerate(union) if u])

def broken(outputs, labels):
    return outputs["mask"].mean()

def late(outputs, labels):
    """Fails with the first network that is factored."""
    late.calls = getattr(late, "calls", 0) + 1
    return 0.7 if late.calls <= 12 else float("nan")
'''


def within(model, output, budget, data, cache, **settings):
    options = tenfold.Settings(methods=QUICK, cache=cache, **settings)
    return tenfold.compress(model, output, budget, data=data, settings=options, device=ModelDevice(), target="zen3")


@pytest.mark.slow
def test_two_inputs_and_two_outputs_without_labels(tmp_path):
    model = two_by_two()
    np.savez(tmp_path / "d.npz", **arrays(model, COUNT))
    budget, work = tenfold.Budget(max_drop=0.3), tmp_path / "d.npz"
    done = within(model, tmp_path / "out", budget, work, tmp_path, output_kinds={"box": "values"})
    verdict = done.search.verdict
    assert done.plan.layers and done.after.ms < done.before.ms and done.plan.correction == "response"
    assert verdict.drop + STANDARD_ERRORS_OF_ALL * verdict.uncertainty <= 0.3 and done.after.accuracy is None

    names = [spec.name for spec in tenfold.frontends.load(model).inputs]
    held_out = split(tenfold.runner.data.Data.of(work, tenfold.frontends.load(model).inputs))[1].x.arrays
    dense, ours = answers(model, held_out), answers(onnx.load(tmp_path / "out" / "model.onnx"), held_out)
    spread = np.square(dense["box"] - dense["box"].mean(axis=0)).sum()
    assert verdict.outputs["box"] == pytest.approx(np.sqrt(np.square(ours["box"] - dense["box"]).sum() / spread), rel=1e-3)

    report = json.loads((tmp_path / "out" / "report.json").read_text())["search"]
    assert report["measure"] == {
        "name": "divergence from the dense network", "units": "nats or relative error", "truth": False,
        "outputs": {"scores": "scores", "box": "values"},
    }
    assert report["verdict"]["outputs"] == verdict.outputs and report["labels"] is False
    tenfold.compress(model, tmp_path / "again", tmp_path / "out" / "plan.json", data=work)
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "out" / "model.onnx").read_bytes()
    assert names == ["image", "info"]


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """A segmenter with data, of whose pixels one in ten has another label, and a file with metrics."""
    folder, model = tmp_path_factory.mktemp("segmenter"), segmenter()
    images = arrays(model, COUNT)
    truth = answers(model, images)["masks"].argmax(axis=1)
    truth = np.where(np.random.default_rng(0).random(truth.shape) < 0.1, 0, truth)
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "d.npz", x=images["image"], y=truth)
    (folder / "m.py").write_text(MIOU)
    return folder


def command(folder, monkeypatch, capsys, *options):
    """``tenfold compress``, timed by a device that computes its times: exit code, standard output and error."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tenfold.runner.bench.timed_module.TimedModules", lambda target, device: ModelDevice())
    monkeypatch.setattr("signal.signal", lambda *_: None)
    words = ["compress", "net.onnx", "-o", "out", "--data", "d.npz", "--target", "zen3", "--method", "channel_svd", "--cache", "cache"]
    monkeypatch.setattr(sys, "argv", ["tenfold", *words, *options, "-q"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return (left.value.code or 0, *capsys.readouterr())


@pytest.mark.slow
def test_a_segmenter_by_its_miou(segmented, monkeypatch, capsys):
    code, out, err = command(segmented, monkeypatch, capsys, "--metric", "m.py:miou", "--max-drop", "0.1", "--pareto")
    assert code == 0, err
    report = json.loads((segmented / "out" / "report.json").read_text())
    names: dict = {}
    exec(MIOU, names)
    data = np.load(segmented / "d.npz")
    held_out = split(tenfold.runner.data.Data.of(dict(data), any_labels=True))[1]
    reached = [names["miou"](answers(onnx.load(segmented / path), {"image": held_out.x}), {"y": held_out.y})
               for path in ("net.onnx", "out/model.onnx")]
    assert report["before"]["accuracy"] == pytest.approx(reached[0]) and report["after"]["accuracy"] == pytest.approx(reached[1], abs=1e-3)
    assert 0 < report["search"]["verdict"]["drop"] <= 0.1 and report["after"]["ms"] < report["before"]["ms"]
    assert report["search"]["measure"]["name"] == "miou" and report["search"]["measure"]["units"] == "of miou"
    assert f"miou {report['before']['accuracy']:.4g} -> {report['after']['accuracy']:.4g}" in out and "outputs diverge: masks" in out
    assert "where the time went" in out and "timing candidates" in out and report["search"]["phases"]["verifying plans"] > 0
    curve = json.loads((segmented / "out" / "pareto.json").read_text())
    assert curve["measure"]["name"] == "miou" and curve["points"][0]["accuracy"] == pytest.approx(reached[0])


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metric", "none.py:miou", "--max-drop", "0.1"], "--metric none.py:miou: none.py: no such file"),
        (["--metric", "m.py:iou", "--max-drop", "0.1"], "there is no function 'iou' in m.py (there is miou, broken, late)"),
        (["--metric", "m.py", "--max-drop", "0.1"], "give FILE.py:FUNCTION"),
        (["--metric", "m.py:broken", "--max-drop", "0.1"], "m.py:broken: KeyError: 'mask' (line 11), on the 100 images"),
        (["--metric", "m.py:late", "--max-drop", "0.1"], "--metric m.py:late: it gives nan on the 100 images with a factored network"),
        (["--metric", "m.py:miou"], "--metric says what a budget is measured in"),
        (["--output-kind", "masks=scores"], "--output-kind says what a budget is measured in"),
        (["--output-kind", "masks=logits", "--max-drop", "0.1"], "unknown kind 'logits': choose scores, values, classes"),
        (["--output-kind", "mask=scores", "--max-drop", "0.1"], "there is no output 'mask': there are 'masks'"),
        (["--output-kind", "scores", "--max-drop", "0.1"], "give NAME=KIND"),
        (["--output-kind", "a=scores", "--output-kind", "a=values", "--max-drop", "0.1"], "give one kind for an output"),
        (["--metric", "m.py:miou", "--max-drop", "1e-9"], "the budget (1e-09 of miou lost) can't be met"),
    ],
)
def test_one_line_for_what_is_wrong(segmented, tmp_path, monkeypatch, capsys, options, words):
    for name in ("net.onnx", "d.npz", "m.py"):
        (tmp_path / name).symlink_to(segmented / name)
    code, out, err = command(tmp_path, monkeypatch, capsys, *options)
    assert code == 2 and words in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_the_file_of_a_metric_is_not_written_over(segmented, tmp_path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "m.py").write_text(MIOU)
    for name in ("net.onnx", "d.npz"):
        (tmp_path / name).symlink_to(segmented / name)
    code, _, err = command(tmp_path, monkeypatch, capsys, "--metric", "out/m.py:miou", "--max-drop", "0.1")
    assert code == 2 and "m.py, an input" in err


def test_a_detector_within_a_speed_up(tmp_path):
    """Boxes, scores and labels at once."""
    model, data = detector(), arrays(detector(), COUNT)
    done = within(model, tmp_path / "out", tenfold.Budget(speedup=1.2), data, tmp_path)
    found = done.search
    assert found.measure.outputs == {"boxes": "values", "scores": "scores", "labels": "classes"}
    assert found.verdict.drop == max(found.verdict.outputs.values()) and done.before.ms / done.after.ms >= 1.2
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [output.name for output in session.get_outputs()] == ["boxes", "scores", "labels"]


def test_data_that_lacks_an_input(tmp_path):
    data = arrays(two_by_two(), COUNT)
    for wrong, words in (
        ({"image": data["image"]}, "there is no array 'info' in it (there is image); it needs one for each of 'image', 'info'"),
        ({**data, "info": data["info"][:9]}, "info has 9 images, image 200"),
        ({**data, "info": data["info"][:, :4]}, "info has shape [200, 4], input 'info'"),
        (data["image"], "there is no array 'image' in it (there is x)"),
    ):
        with pytest.raises(tenfold.TenfoldError) as caught:
            within(two_by_two(), tmp_path / "out", tenfold.Budget(max_drop=0.1), wrong, tmp_path)
        assert words in str(caught.value)
