"""The Mahalanobis weights against gradients by finite differences, and from labels to a plan in that metric."""
from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from onnx import helper, numpy_helper
from scipy.special import log_softmax
from search_fakes import classifier, images, labels
from tenfold.factorization import METHODS, Plan
from tenfold.frontends import load
from tenfold.passes.inventory import inventory, weights
from tenfold.runner.data import Data
from tenfold.search.calibration import moments
from tenfold.search.calibration.evaluation import split
from tenfold.search.calibration.moments import calibrate
from tenfold.search.calibration.network_rewriter import CALIBRATION_IMAGES
from tenfold.support.errors import TenfoldError

pytest.importorskip("torch")
GEOMETRY = {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}
STEP = 1e-2  # step of a weight


def strided(softmax=False):
    """A convolution of uneven geometry and a dense layer: x (1, 2, 7, 6) -> scores (1, 5)."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((3, 2, 3, 2)), "b": rng.standard_normal(3), "v": rng.standard_normal((5, 60)) / 4}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", **GEOMETRY),
        helper.make_node("Tanh", ["c"], ["t"]),
        helper.make_node("Flatten", ["t"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["logits"], name="fc", transB=1),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["scores"]),
    ]
    shapes = {"x": [1, 2, 7, 6], "scores": [1, 5]}
    image, scores = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items())
    tensors = [numpy_helper.from_array(array.astype("float32"), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "strided", [image], [scores], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def losses(model, x, wrong):
    """Of each image, the cross-entropy with each of its wrong labels: (N, h)."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logs = log_softmax(np.concatenate([session.run(None, {"x": image[None]})[0] for image in x]).astype(np.float64), axis=1)
    return -np.take_along_axis(logs, wrong, 1)


def by_definition(model, x, y, mistakes):
    """Equations 1 and 2, one weight after the other."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    scores = np.concatenate([session.run(None, {"x": image[None]})[0] for image in x])
    scores[np.arange(len(x)), y] = -np.inf
    wrong = np.argsort(-scores, axis=1)[:, :mistakes]
    found = {}
    for layer, name in (("conv", "w"), ("fc", "v")):
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        start, alpha = numpy_helper.to_array(tensor).copy(), np.empty(list(tensor.dims))
        for index in np.ndindex(*start.shape):
            moved = []
            for sign in (1, -1):
                array = start.copy()
                array[index] += sign * STEP
                tensor.CopyFrom(numpy_helper.from_array(array, name))
                moved.append(losses(model, x, wrong))
            alpha[index] = np.sqrt(np.square((moved[0] - moved[1]) / (2 * STEP)).mean())
        tensor.CopyFrom(numpy_helper.from_array(start, name))
        found[layer] = alpha
    return found


@pytest.mark.quick(1)
@pytest.mark.parametrize("softmax", [False, True], ids=["logits", "probabilities"])
def test_weights_are_the_errors_of_the_likeliest_mistakes_back_propagated(softmax):
    model = strided()
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((20, 2, 7, 6)).astype("float32"), rng.integers(0, 5, 20)
    network = load(strided(softmax))
    found = calibrate(network, inventory(network.mod), x, y).statistics
    expected = by_definition(model, x, y, mistakes=3)
    for name, alpha in expected.items():
        np.testing.assert_allclose(found[name].alpha, alpha, atol=0.02 * alpha.mean(), rtol=0.02)


def test_other_labels_are_other_mistakes():
    network, x = load(strided()), np.random.default_rng(1).standard_normal((20, 2, 7, 6)).astype("float32")
    one, other = (calibrate(network, inventory(network.mod), x, np.full(20, label)).statistics["fc"].alpha for label in (0, 1))
    assert np.abs(one - other).max() > 0.05 * one.mean()


@pytest.mark.slow
def test_a_plan_in_the_mahalanobis_metric(tmp_path):
    """A plan edited by hand: carried out with labels, its factors are nearer in that metric than the Frobenius ones."""
    model, x = classifier(), images(300)
    y = labels(model, x)
    network, data = load(model), Data(x, y)
    calibrating = split(data)[0].x[:CALIBRATION_IMAGES]
    plan = {"version": 1, "model": network.sha256, "target": "zen3", "data": moments.digest(calibrating)}
    plan["layers"] = {"conv2": {"method": "channel_svd", "ranks": [4], "metric": "mahalanobis"}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = tenfold.compress(model, tmp_path / "out", tmp_path / "plan.json", data={"x": x, "y": y})
    assert done.plan == Plan.from_json(json.dumps(plan))

    layer = next(layer for layer in inventory(network.mod) if layer.name == "conv2")
    weight, part = weights(network.mod)["conv2"], split(data)[0]
    metric = calibrate(network, [layer], part.x, part.y).statistics["conv2"].metric("mahalanobis")
    plain = METHODS["channel_svd"].factorize(weight, layer, (4,))
    ours = METHODS["channel_svd"].factorize(weight, layer, (4,), metric=metric)
    assert ours.relative_error(weight, metric) < plain.relative_error(weight, metric)
    assert done.layers[1].error == pytest.approx(ours.relative_error(weight), rel=1e-4)

    with pytest.raises(TenfoldError, match="conv2.*labelled"):
        tenfold.compress(model, tmp_path / "none", tmp_path / "plan.json", data=x)
    assert not (tmp_path / "none").exists()
