"""A factored network as ONNX, its plan and its report."""
from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from conftest import tiny_network
from search_fakes import classifier, images
from tenfold.support.errors import TenfoldError


@pytest.fixture
def small(tiny_file, tmp_path):
    return tenfold.compress(tiny_file, tmp_path / "small", tenfold.Recipe(energy=0.7), target="zen3"), tmp_path / "small"


def test_the_folder_holds_model_plan_and_report(small, tiny_file):
    done, folder = small
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "plan.json", "report.json"]
    onnx.checker.check_model(folder / "model.onnx", full_check=True)
    assert tenfold.Plan.read(folder / "plan.json") == done.plan
    assert done.plan.target == "zen3" and done.plan.model == tenfold.inspect(tiny_file).sha256


def test_the_report_counts_what_the_model_holds(small, tiny_file):
    done, folder = small
    report = json.loads((folder / "report.json").read_text())
    inspection = tenfold.inspect(folder / "model.onnx")
    before, after = report["before"], report["after"]
    assert after["macs"] == done.after.macs == inspection.macs < before["macs"] == done.before.macs == 14464
    assert after["params"] == done.after.params == inspection.params < before["params"] == tenfold.inspect(tiny_file).params
    assert after["bytes"] == done.after.bytes == (folder / "model.onnx").stat().st_size
    assert before["ms"] is before["accuracy"] is report["search"] is None
    for layer in report["layers"]:
        assert layer["macs"] < layer["macs_before"] if layer["method"] else layer["reason"]


def test_ranks_suit_the_target(small):
    done, _ = small
    assert done.plan.layers, "the test needs a layer that is factored"
    limits = {"conv": 8, "fc": 5}
    for name, choice in done.plan.layers.items():
        assert all(rank % 8 == 0 or rank <= limits[name] for rank in choice.ranks)


def test_the_error_is_that_of_the_outputs(small, tiny_file, image):
    done, folder = small
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    dense, factored = (onnxruntime.InferenceSession(path).run(None, {"image": x})[0] for path in (tiny_file, folder / "model.onnx"))
    assert done.output_error == pytest.approx(np.abs(dense - factored).max() / np.abs(dense).max(), rel=1e-5)
    assert 0 < done.output_error < 1


def test_a_plan_is_carried_out_to_the_letter(small, tiny_file, tmp_path):
    done, folder = small
    again = tenfold.compress(tiny_file, tmp_path / "again", folder / "plan.json")
    assert again.plan == done.plan
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_a_layer_that_is_left_says_why(tiny_file, tmp_path):
    done = tenfold.compress(tiny_file, tmp_path / "small", tenfold.Recipe("spatial_svd", 0.5))
    assert set(done.refused) == {"fc"} and "conv2d" in done.refused["fc"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "zx81"}, "'zx81'"),
        ({"how": "none.json"}, "none.json"),
        ({"how": 0.9}, "a Budget, a Recipe, a Plan or the path of a plan, not float"),
        ({"how": tenfold.Recipe(energy=1.0)}, "no layer is factored: .*MACs"),
        ({"how": tenfold.Budget(max_drop=1)}, "needs data"),
        ({"device": "board"}, "--device .*--max-drop"),
        ({"settings": tenfold.Settings(silence=9)}, "--device .*--max-drop"),
        ({"settings": tenfold.Settings(pareto=True)}, "--pareto .*--max-drop"),
    ],
)
def test_mistakes_write_nothing(tiny_file, tmp_path, options, words):
    with pytest.raises(TenfoldError, match=words) as caught:
        tenfold.compress(tiny_file, tmp_path / "small", **options)
    assert "\n" not in str(caught.value) and not (tmp_path / "small").exists()


def test_a_plan_for_another_model_is_refused(small, tmp_path):
    _, folder = small
    onnx.save(tiny_network(seed=1), tmp_path / "other.onnx")
    for work in (tenfold.compress, lambda model, output, plan: tenfold.compile(model, output=output, plan=plan)):
        with pytest.raises(TenfoldError, match="another model|made for model"):
            work(tmp_path / "other.onnx", tmp_path / "out", folder / "plan.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_with_images_the_chains_are_corrected(tmp_path):
    """Without a budget: nearer to the dense network on other images than without a correction, and replayed to the same bytes."""
    model, x, other = classifier(), images(300), images(50, seed=5)
    recipe = tenfold.Recipe("channel_svd", 0.6)
    work = {"plain": None, "done": x}
    plain, done = (tenfold.compress(model, tmp_path / name, recipe, data=data, target="zen3") for name, data in work.items())
    assert done.plan.layers == plain.plan.layers and (done.plan.correction, plain.plan.correction) == ("fisher", "none")

    def scores(network):
        session = onnxruntime.InferenceSession(network)
        return np.concatenate([session.run(None, {"x": image[None]})[0] for image in other])

    dense = scores(model.SerializeToString())
    errors = [np.linalg.norm(scores(tmp_path / name / "model.onnx") - dense) for name in ("plain", "done")]
    assert errors[1] < 0.8 * errors[0]

    plan = tmp_path / "done" / "plan.json"
    tenfold.compress(model, tmp_path / "again", plan, data=x)
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "done" / "model.onnx").read_bytes()
    with pytest.raises(TenfoldError, match="corrects its chains with data"):
        tenfold.compile(model, output=tmp_path / "artifact", plan=plan)
    assert not (tmp_path / "artifact").exists()
