"""Pruning as a method of the search: filters go with all that reads them, are priced with what that saves, and plans of them replay."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from onnx import helper, numpy_helper
from search_fakes import CONV, PER_MAC, ModelDevice, classifier, images, labels
from tenfold.factorization import Choice, Plan
from tenfold.frontends import load
from tenfold.passes.prune import Readers, prunable
from tenfold.runner.data import Data
from tenfold.search.calibration.network_rewriter import NetworkRewriter
from tenfold.search.candidates import Candidate, fields
from tenfold.support.errors import Refusal, TenfoldError

KEPT = 16


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruning")
    model, x = classifier(), images(400)
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "d.npz", x=x, y=labels(model, x))
    return folder


def answers(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image[None]})[0] for image in x])


@pytest.mark.parametrize("correction", ["none", "bias", "response"])
def test_the_channels_vanish_and_the_network_computes_the_same(work, correction):
    """As the one with zeros in their places."""
    network = load(work / "net.onnx")
    rewriter = NetworkRewriter.correcting(network, Data.of(work / "d.npz"))
    plan = Plan(network.sha256, "host", {"conv1": Choice("prune", (KEPT,)), "conv2": Choice("prune", (KEPT,))}, correction=correction)
    chains = rewriter.chains(plan)
    small, x = rewriter.emitted(plan, chains), images(20, seed=5)
    masked = tenfold.passes.factorize_onnx.factorize_onnx(network.onnx, chains)
    np.testing.assert_allclose(answers(small, x), answers(masked, x), atol=1e-4)
    shapes = sorted(tuple(tensor.dims) for tensor in small.graph.initializer if len(tensor.dims) in (2, 4))
    assert shapes == sorted([(KEPT, 4, 3, 3), (KEPT, KEPT, 3, 3), (6, KEPT * 16)])


def test_channels_vanish_from_a_chain_behind_the_layer(work):
    network = load(work / "net.onnx")
    rewriter = NetworkRewriter.correcting(network, Data.of(work / "d.npz"))
    plan = Plan(network.sha256, "host", {"conv1": Choice("prune", (KEPT,)), "conv2": Choice("channel_svd", (8,))}, correction="response")
    chains = rewriter.chains(plan)
    small, x = rewriter.emitted(plan, chains), images(20, seed=5)
    masked = tenfold.passes.factorize_onnx.factorize_onnx(network.onnx, chains)
    np.testing.assert_allclose(answers(small, x), answers(masked, x), atol=1e-4)
    shapes = sorted(tuple(tensor.dims) for tensor in small.graph.initializer if len(tensor.dims) == 4)
    assert shapes == sorted([(KEPT, 4, 3, 3), (8, KEPT, 3, 3), (32, 8, 1, 1)])


def test_filters_that_vary_least_behind_the_layer_go(work):
    network = load(work / "net.onnx")
    rewriter = NetworkRewriter.correcting(network, data := Data.of(work / "d.npz"))
    chain = rewriter.pruning.pruned("conv1", Choice("prune", (KEPT,))).chains["conv1"]
    kept = chain.stages[0].weight.any(axis=(1, 2, 3))
    cut = onnx.ModelProto()
    cut.CopyFrom(network.onnx)
    del cut.graph.output[:]
    cut.graph.output.append(helper.make_tensor_value_info(cut.graph.node[1].output[0], onnx.TensorProto.FLOAT, None))
    seen = answers(cut, tenfold.search.calibration.evaluation.split(data)[0].x)
    # The layer behind pads: it sees zeros too.
    variance = np.pad(seen, [(0, 0), (0, 0), (1, 1), (1, 1)]).var(axis=(0, 2, 3))
    assert kept.sum() == KEPT and variance[kept].min() > 0.8 * variance[~kept].max()


def test_the_layer_behind_takes_over_the_mean():
    """A filter whose output is always the same goes without a trace, where nothing is padded."""
    model = classifier()
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, change in (("w1", 0.0), ("b1", 0.7)):
        array = numpy_helper.to_array(weights[name]).copy()
        array[16:] = change
        weights[name].CopyFrom(numpy_helper.from_array(array, name))
    del model.graph.node[2].attribute[:]  # conv2 pads no more
    readout = numpy_helper.to_array(weights["w3"])[:, : 32 * 9]
    weights["w3"].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(readout), "w3"))
    network, x = load(model), images(64)
    rewriter = NetworkRewriter.correcting(network, Data.of(x))
    plan = Plan(network.sha256, "host", {"conv1": Choice("prune", (16,))})
    small = rewriter.emitted(plan, rewriter.chains(plan))
    np.testing.assert_allclose(answers(small, x), answers(model, x), atol=1e-3)
    assert rewriter.pruning.pruned("conv1", Choice("prune", (16,))).error < 1e-3


def test_a_candidate_is_priced_with_what_the_layers_behind_save():
    first = tenfold.inspect(classifier()).layers[0].layer
    behind = replace(tenfold.inspect(classifier()).layers[1].layer)
    candidate = Candidate(first, Choice("prune", (8,)), (behind,))
    assert [layer.weight_shape for layer in candidate.cut()] == [(8, 4, 3, 3), (32, 8, 3, 3)]
    assert candidate.macs == first.macs // 4 - behind.macs * 3 // 4 and candidate.params == first.params // 4 - behind.params * 3 // 4
    field = fields([first], 8, methods=[tenfold.factorization.METHODS["prune"]], readers=lambda name: (behind,))[0]
    assert field.ladders["prune"] and all(candidate.choice.ranks[0] % 16 == 0 for candidate in field.ladders["prune"])


@pytest.mark.slow
def test_a_search_prunes_within_its_budget_and_the_plan_replays(work, tmp_path):
    settings = tenfold.Settings(cache=work / "cache", methods=("prune",))
    where = {"data": work / "d.npz", "target": "zen3", "device": ModelDevice()}
    done = tenfold.compress(work / "net.onnx", tmp_path / "small", tenfold.Budget(speedup=1.5), settings=settings, **where)
    assert {choice.method for choice in done.plan.layers.values()} == {"prune"}
    inspection = tenfold.inspect(tmp_path / "small" / "model.onnx")
    assert done.after.macs == inspection.macs < done.before.macs and done.after.params == inspection.params < done.before.params
    assert done.after.ms == pytest.approx(0.005 + 3 * CONV + PER_MAC * inspection.macs, rel=1e-6)
    assert done.before.ms / done.after.ms >= 1.5
    again = tenfold.compress(work / "net.onnx", tmp_path / "again", tmp_path / "small" / "plan.json", data=work / "d.npz")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "small" / "model.onnx").read_bytes() and again.plan == done.plan
    with pytest.raises(TenfoldError, match="the plan prunes"):
        tenfold.compile(work / "net.onnx", output=tmp_path / "compiled", plan=done.plan)


def test_layers_that_have_to_stay_say_why():
    """A residual sum, a sigmoid behind, and the network's output."""
    def conv(number, source, channels=(8, 8)):
        return helper.make_node("Conv", [source, f"w{number}"], [f"c{number}"], name=f"conv{number}", pads=[1, 1, 1, 1])

    nodes = [
        conv(1, "x"), helper.make_node("Relu", ["c1"], ["r1"]), conv(2, "r1"), helper.make_node("Add", ["c2", "r1"], ["a"]),
        conv(3, "a"), helper.make_node("Sigmoid", ["c3"], ["s"]), conv(4, "s"), helper.make_node("Relu", ["c4"], ["r4"]), conv(5, "r4"),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((8, 8, 3, 3)).astype("float32"), f"w{number}") for number in range(1, 6)]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 8, 8, 8]) for name in ("x", "c5")]
    model = helper.make_model(helper.make_graph(nodes, "net", values[:1], values[1:], weights), opset_imports=[helper.make_opsetid("", 17)])
    found = prunable(load(model).onnx)
    reasons = {name: each.reason for name, each in found.items() if isinstance(each, Refusal)}
    assert found["conv4"] == Readers(("conv5",)) and reasons.keys() == {"conv1", "conv2", "conv3", "conv5"}
    assert "added to those of other layers" in reasons["conv1"] and "Sigmoid" in reasons["conv3"] and "as they are" in reasons["conv5"]


def test_a_recipe_does_not_prune(work, tmp_path):
    with pytest.raises(TenfoldError, match="pruning is for a budget"):
        tenfold.compress(work / "net.onnx", tmp_path / "small", tenfold.Recipe("prune", 0.5))
