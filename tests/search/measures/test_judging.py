"""Networks that are no plain classifiers, judged: against the dense network by definition, and by a metric."""
from __future__ import annotations

import numpy as np
import pytest
from deployed_networks import answers, arrays, detector, segmenter, two_by_two
from scipy.special import log_softmax
from search_fakes import classifier, images
from tenfold.factorization import METHODS
from tenfold.frontends import load
from tenfold.passes.factorize_onnx import factorize_onnx
from tenfold.passes.inventory import inventory, weights
from tenfold.runner.data import Data
from tenfold.search.measures import output_judge
from tenfold.search.measures.choose import Judging, measure_of
from tenfold.search.measures.metric import metric_of
from tenfold.search.measures.output_judge import EQUAL_ERROR, OutputJudge
from tenfold.support.errors import TenfoldError, TenfoldWarning
from tenfold.support.input_set import InputSet

COUNT = 40


def right(outputs, labels):
    """Pixels whose class is right."""
    return (outputs["masks"].argmax(axis=1) == labels["y"]).mean()


def chains_of(network, rank=4):
    layer = inventory(network.mod)[1]
    return {layer.name: METHODS["channel_svd"].factorize(weights(network.mod)[layer.name], layer, (rank,))}


def data_of(model, count=COUNT, **labels):
    network = load(model)
    return network, Data.of({**arrays(model, count), **labels}, network.inputs, any_labels=True)


def relative(ours, dense):
    return np.sqrt(np.square(ours - dense).sum() / np.square(dense - dense.mean(axis=0)).sum())


@pytest.fixture(scope="module")
def truth():
    model = segmenter()
    return model, answers(model, arrays(model, COUNT))["masks"].argmax(axis=1)


@pytest.mark.parametrize("held", [2**29, 0])
def test_divergences_of_two_outputs_of_two_inputs(monkeypatch, held):
    monkeypatch.setattr(output_judge, "HELD_BYTES", held)
    network, data = data_of(two_by_two())
    assert isinstance(data.x, InputSet)
    judging = Judging(network, data, kinds={"box": "values"})
    judge, chains = judging.judge(data), chains_of(network)
    verdict = judge.judge(chains)
    dense, ours = (answers(model, data.x.arrays) for model in (network.onnx, factorize_onnx(network.onnx, chains)))
    p, q = (log_softmax(each["scores"].astype(float), axis=1) for each in (dense, ours))
    kl, error = (np.exp(p) * (p - q)).sum(axis=1), relative(ours["box"], dense["box"])
    assert verdict.outputs == pytest.approx({"scores": kl.mean(), "box": error}, rel=1e-3)
    assert verdict.drop == max(verdict.outputs.values()) > 0 and verdict.accuracy is None
    assert verdict.kl == pytest.approx(kl.mean() + error**2 / EQUAL_ERROR, rel=1e-3)
    assert verdict.agreement == (ours["scores"].argmax(1) == dense["scores"].argmax(1)).mean() < 1
    assert verdict.uncertainty > 0 and measure_of(judge).outputs == {"scores": "scores", "box": "values"}
    again = judge.judge({})
    assert (again.drop, again.kl, again.agreement) == (0, 0, 1)


def test_how_far_a_divergence_is_known_is_what_it_varies_by():
    model = detector()
    network, data = data_of(model, 400)
    judge = Judging(network, data).judge
    chains = chains_of(network)
    parts = [judge(Data(data.x[start : start + 20])).judge(chains).drop for start in range(0, 400, 20)]
    whole = judge(data).judge(chains)
    assert whole.drop == pytest.approx(np.mean(parts), rel=0.1)
    assert whole.uncertainty == pytest.approx(np.std(parts) / np.sqrt(20), rel=0.5)


def test_what_the_outputs_of_a_detector_are_taken_for():
    network, data = data_of(detector())
    judge = Judging(network, data).judge(data)
    assert measure_of(judge).outputs == {"boxes": "values", "scores": "scores", "labels": "classes"}
    chains = chains_of(network)
    dense, ours = (answers(model, {"image": data.x}) for model in (network.onnx, factorize_onnx(network.onnx, chains)))
    found = judge.judge(chains).outputs
    assert found["labels"] == (dense["labels"] != ours["labels"]).mean() > 0
    assert found["boxes"] == pytest.approx(relative(ours["boxes"], dense["boxes"]), rel=1e-3)  # anchors, the same for all, say nothing


def test_an_output_that_no_image_changes_diverges_by_its_own_size():
    network = load(segmenter())
    data = Data(np.repeat(arrays(segmenter(), 1)["image"], 16, axis=0))
    chains = chains_of(network)
    dense, ours = (answers(model, {"image": data.x})["masks"] for model in (network.onnx, factorize_onnx(network.onnx, chains)))
    found = Judging(network, data).judge(data).judge(chains).drop
    assert found == pytest.approx(np.linalg.norm(ours - dense) / np.linalg.norm(dense), rel=1e-3)


def test_a_metric_is_what_the_function_says(truth):
    model, masks = truth
    wrong = masks.copy()
    wrong[::5, :4] = 0
    network, data = data_of(model, y=wrong)
    judge = Judging(network, data, metric_of(right)).judge(data)
    measure, chains = measure_of(judge), chains_of(network, 2)
    dense, verdict = judge.judge({}), judge.judge(chains)
    ours = answers(factorize_onnx(network.onnx, chains), {"image": data.x})["masks"].argmax(axis=1)
    assert dense.accuracy == (masks == wrong).mean() < 1 and dense.drop == 0
    assert verdict.accuracy == (ours == wrong).mean() and verdict.drop == pytest.approx(dense.accuracy - verdict.accuracy)
    losses = (masks == wrong).mean(axis=(1, 2)) - (ours == wrong).mean(axis=(1, 2))
    without = np.array([losses[np.arange(COUNT) % 10 != group].mean() for group in range(10)])
    spread = np.sqrt(0.9 * np.square(without - without.mean()).sum())  # a jackknife over ten groups
    assert verdict.uncertainty == pytest.approx(max(spread, dense.accuracy / COUNT))
    fresh = OutputJudge(network, data, {"masks": "values"}, metric_of(lambda outputs, labels: 1e3 + right(outputs, labels)))
    assert fresh.judge(chains).uncertainty == pytest.approx(1e3 / COUNT, rel=0.01)  # at least as if one image differed
    assert measure.truth and measure.name == "right" and measure.step == pytest.approx(dense.accuracy / 100)
    assert verdict.kl > 0 and verdict.outputs.keys() == {"masks"}


def test_a_metric_gets_further_arrays_by_their_names_and_is_asked_once_where_its_error_does_not_matter(truth):
    model, masks = truth
    asked = []

    def seen(outputs, labels):
        asked.append({name: array.shape for name, array in {**outputs, **labels}.items()})
        return 1.0

    network, data = data_of(model, truth=masks, weight=np.ones(COUNT))
    judging = Judging(network, data, metric_of(seen))
    judging.judge(data, repeats=False).judge(chains_of(network))
    assert asked == [{"masks": (COUNT, 3, 8, 8), "truth": (COUNT, 8, 8), "weight": (COUNT,)}] * 2
    asked.clear()
    judging.judge(data)
    assert [shapes["weight"] for shapes in asked] == [(COUNT,)] + [(COUNT - COUNT // 10,)] * 10


def test_other_labels_images_kinds_or_metrics_are_judged_anew(truth):
    model, masks = truth
    network, data = data_of(model, y=masks)
    digests = [Judging(network, data, metric_of(right)).judge(data).digest,
               Judging(network, data, metric_of(lambda outputs, labels: 1.0)).judge(data).digest,
               Judging(network, data_of(model, y=masks[::-1])[1], metric_of(right)).judge(data_of(model, y=masks[::-1])[1]).digest,
               Judging(network, data, metric_of(right)).judge(data, repeats=False).digest]
    plain = Data(data.x)
    digests += [Judging(network, plain, kinds=kinds).judge(plain).digest for kinds in ({}, {"masks": "scores"})]
    assert len(set(digests)) == len(digests)


def test_a_classifier_is_judged_as_ever_unless_a_kind_is_asked_for():
    network, data = load(classifier()), Data(images(20))
    assert not isinstance(Judging(network, data).judge(data), OutputJudge)
    assert measure_of(Judging(network, data).judge(data)).name == "agreement with the dense network"
    assert measure_of(Judging(network, data, kinds={"scores": "scores"}).judge(data)).units == "nats"


def test_labels_that_nothing_uses_are_told(truth):
    model, masks = truth
    network, data = data_of(model, y=masks)
    with pytest.warns(TenfoldWarning, match="labels y are not used.*--metric"):
        Judging(network, data)


@pytest.mark.parametrize(
    ("labels", "words"),
    [({}, "there are no labels in it for --metric right"), ({"boxes": np.zeros((3, 4))}, r"boxes has shape \[3, 4\], there are 40 images")],
)
def test_labels_that_a_metric_can_not_use(labels, words):
    network, data = data_of(segmenter(), **labels)
    with pytest.raises(TenfoldError, match=words):
        Judging(network, data, metric_of(right))


def test_outputs_without_an_axis_for_images():
    """As of recognisers whose first axis is time: image by image."""
    import onnx
    from onnx import helper

    model = segmenter()
    model.graph.node.append(helper.make_node("Transpose", ["masks"], ["steps"], perm=[3, 0, 2, 1]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("steps", onnx.TensorProto.FLOAT, [8, 1, 8, 3]))
    network, data = data_of(model)
    judge, chains = Judging(network, data).judge(data), chains_of(network)
    dense, ours = (np.reshape(answers(each, {"image": data.x})["steps"], (COUNT, 8, 1, 8, 3))
                   for each in (network.onnx, factorize_onnx(network.onnx, chains)))
    assert judge.judge(chains).drop == pytest.approx(relative(ours, dense), rel=1e-3)


def test_too_many_outputs_for_a_metric(truth, monkeypatch):
    monkeypatch.setattr(output_judge, "METRIC_BYTES", 1000)
    model, masks = truth
    network, data = data_of(model, y=masks)
    with pytest.raises(TenfoldError, match="--metric right: the outputs of 40 images take .* fewer images"):
        Judging(network, data, metric_of(right)).judge(data)
