"""Fine-tuning of what was compressed: on torch modules and on ONNX graphs."""
from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
import torch
from factor_reference import run_chain
from tenfold import Choice, TenfoldError
from tenfold.factorization import METHODS, Plan
from tenfold.frontends import load
from tenfold.frontends.reference.free_batch import free_batch
from tenfold.training.finetune import ModuleLayers, OnnxModule, cascade, distillation, factored, freeze_through, tune_file
from tenfold.training.finetune.freezing import thaw
from tenfold.training.loop import Stairs, train
from tenfold.training.loop.evaluation import evaluate
from tenfold.training.loop.progress import Silent
from tenfold.training.networks import calli_small, export_onnx, resnet
from tiny_training import pattern_data, pattern_network, tiny_data, tiny_network, tiny_settings
from torch import nn

HARSH = Choice("channel_svd", (1,))  # all filters are multiples of one
CHOICES = {"0": Choice("spatial_svd", (2,)), "8": Choice("svd", (1,))}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def trained():
    """A network that knows the patterns: two convolutions, of which it needs all filters, and a dense layer."""
    network = pattern_network()
    train(network, pattern_data(256), tiny_settings(steps=120, schedule=Stairs((0.05,)), test_steps=120), display=Silent())
    return network


@pytest.mark.slow
def test_layers_of_a_module():
    """As the inventory of the same module has them: names, shapes, sizes."""
    convolutions = nn.Conv2d(3, 8, (3, 5), (2, 1), (1, 0), 2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding="same", groups=2)
    network = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * 5 * 4, 6))
    found = ModuleLayers(network, (3, 12, 12))
    expected = [report.layer for report in tenfold.inspect(network, example_inputs=torch.zeros(1, 3, 12, 12)).layers]
    assert list(found.layers) == ["0", "2", "4"] and len(expected) == 3
    for (name, layer), theirs in zip(found.layers.items(), expected, strict=True):
        for field in ("kind", "weight_shape", "stride", "padding", "dilation", "groups", "input_size", "output_size", "macs"):
            assert getattr(layer, field) == getattr(theirs, field), (name, field)
    assert network.training and [name for name, _ in found.executed] == ["0", "2", "4"]
    shared = nn.Linear(4, 4)
    assert [layer.reason for layer in ModuleLayers(nn.Sequential(shared, shared), (4,)).layers.values()] == ["it runs more than once"]


def test_a_factored_module_computes_its_chains(trained):
    """Against NumPy: the chain of the plan with the layer's bias, and the rest of the network as it was."""
    result = factored(trained, CHOICES, (3, 8, 8)).eval()
    found = ModuleLayers(trained, (3, 8, 8))
    x = torch.randn(5, 3, 8, 8)
    chain = METHODS["spatial_svd"].factorize(found.weights["0"], found.layers["0"], (2,)).with_bias(trained[0].bias.detach().numpy())
    with torch.inference_mode():
        inside = torch.from_numpy(run_chain(chain, x.numpy())[0]).float()
        for module in trained.eval()[1:8]:
            inside = module(inside)
        left, singular, right = np.linalg.svd(found.weights["8"])
        expected = inside.numpy() @ (left[:, :1] * singular[:1] @ right[:1]).T + trained[8].bias.numpy()
        np.testing.assert_allclose(result(x), expected, atol=1e-4)
        assert not np.allclose(result(x), trained(x), atol=1e-2)
    assert isinstance(trained[0], nn.Conv2d) and len(result[0]) == 2 and isinstance(result[8][0], nn.Linear)


@pytest.mark.slow
def test_a_plan_that_compress_made_of_the_module(trained, tmp_path):
    """Its layers are called after the modules, those of a Sequential too, whose names only count."""
    done = tenfold.compress(trained, tmp_path / "out", tenfold.Recipe("svd", 0.5), example_inputs=torch.zeros(1, 3, 8, 8))
    plan = Plan.read(tmp_path / "out" / "plan.json")
    assert list(plan.layers) == ["8"] and done.after.macs < done.before.macs
    module = factored(trained, plan, (3, 8, 8)).eval()
    x = torch.randn(1, 3, 8, 8)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    with torch.inference_mode():
        np.testing.assert_allclose(module(x), session.run(None, {session.get_inputs()[0].name: x.numpy()})[0], atol=1e-4)


def test_mistakes(trained):
    for choices, words in (({"7": CHOICES["0"]}, "layer '7' of the plan is not in the model"), ({"8": CHOICES["0"]}, "does not apply")):
        with pytest.raises(TenfoldError, match=words):
            factored(trained, choices, (3, 8, 8))
    for name, words in (("9", "runs no module of that name"), ("8", "the network's last"), ("2", "that has parameters")):
        with pytest.raises(TenfoldError, match=words):
            freeze_through(trained, name, (3, 8, 8))
    with pytest.raises(TenfoldError, match="temperature 0"):
        distillation(trained, 0)


def test_freezing_follows_the_order_in_which_modules_run():
    network = calli_small(blocks=(1, 1))
    frozen = freeze_through(network, "1", (3, 8, 8))
    trainable = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trainable == {"2", "3", "7"}
    assert network[1].norm1 in frozen and network[2].norm1 not in frozen
    thaw(network)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_tuning_above_brings_accuracy_back_and_leaves_the_rest(trained):
    """Denton's recipe: the approximated layer and those below it stay to the bit."""
    data = pattern_data(256)
    before = evaluate(trained, data)[1]
    network = factored(trained, {"0": HARSH}, data.shape)
    compressed = evaluate(network, data)[1]
    fixed = [value.clone() for value in network[0].state_dict().values()]
    norm, above = network[1].running_mean.clone(), network[3].weight.clone()
    train(network, data, tiny_settings(steps=40), frozen=freeze_through(network, "0", data.shape), display=Silent())
    assert all(torch.equal(a, b) for a, b in zip(fixed, network[0].state_dict().values(), strict=True))
    assert not torch.equal(norm, network[1].running_mean) and not torch.equal(above, network[3].weight)
    assert compressed < before - 0.2 and evaluate(network, data)[1] > compressed + 0.1
    network = factored(trained, {"3": HARSH}, data.shape)
    frozen = freeze_through(network, "3", data.shape)
    norm = network[1].running_mean.clone()
    train(network, data, tiny_settings(steps=2), frozen=frozen, display=Silent())
    assert torch.equal(norm, network[1].running_mean) and torch.equal(network[1].weight, trained[1].weight)


def test_cascade(trained):
    """Layer by layer, from the lowest on; the last has nothing above it. The network that was given stays."""
    data = pattern_data(256)
    weights = [parameter.clone() for parameter in trained.parameters()]
    choices = {"8": Choice("svd", (3,)), "3": Choice("channel_svd", (4,)), "0": Choice("channel_svd", (2,))}
    network, done = cascade(trained, choices, data, tiny_settings(steps=60, test_steps=5), may_lose=0.05, display=Silent())
    assert [one.name for one in done] == ["0", "3", "8"]
    assert all(torch.equal(a, b) for a, b in zip(weights, trained.parameters(), strict=True))
    first, second, last = done
    assert first.before == evaluate(trained, data)[1] and first.tuned == second.before and second.tuned == last.before and last.steps == 0
    assert first.compressed < first.before - 0.05 and first.tuned > first.compressed and 0 < first.steps <= 60
    assert first.restored == (first.tuned >= first.before - 0.05) and first.steps % 5 == 0
    assert [len(network[place]) for place in (0, 3, 8)] == [2, 2, 2] and all(parameter.requires_grad for parameter in network.parameters())
    # The second layer was factored as tuning had left it.
    assert last.tuned == pytest.approx(evaluate(network, data)[1])


def test_nothing_is_tuned_that_lost_nothing(trained):
    exact = {"0": Choice("channel_svd", (8,))}
    _, done = cascade(trained, exact, pattern_data(256), tiny_settings(), may_lose=0.01, display=Silent())
    assert done[0].steps == 0 and done[0].restored


def test_distillation():
    """The loss is 0 at the teacher's own scores, its gradient at temperature 1 is the difference of probabilities; labels mix in."""
    teacher = nn.Linear(6, 4)
    objective = distillation(teacher, temperature=1.0)
    x, y = torch.randn(8, 6), torch.randint(0, 4, (8,))
    assert objective.loss(teacher(x), x, y).item() == pytest.approx(0, abs=1e-6) and not teacher.training
    scores = torch.randn(8, 4, requires_grad=True)
    objective.loss(scores, x, y).backward()
    with torch.no_grad():
        torch.testing.assert_close(scores.grad, (scores.softmax(1) - teacher(x).softmax(1)) / 8)
    assert teacher.weight.grad is None
    hot = distillation(teacher, temperature=2.0, labels=0.25)
    soft = (teacher(x).detach() / 2).softmax(1)
    kl = (soft * (soft.log() - (scores / 2).log_softmax(1))).sum(1).mean()
    expected = 0.75 * 4 * kl + 0.25 * nn.functional.cross_entropy(scores, y)
    torch.testing.assert_close(hot.loss(scores, x, y), expected)


@pytest.mark.parametrize("imitated", [False, True])
def test_a_trained_network_that_is_spoilt_is_told(trained, imitated):
    """By what it began with: its loss is then no more than that of an untrained network."""
    student = factored(trained, {"0": Choice("channel_svd", (7,))}, (3, 8, 8))
    objective = distillation(trained) if imitated else None
    settings = tiny_settings(steps=60, schedule=Stairs((3.0 if not imitated else 1.0,)))
    with pytest.raises(TenfoldError, match=r"training diverged: at step \d+ the loss is \S+, it began with 0\.\d+ \(learning rate"):
        train(student, pattern_data(256), settings, objective=objective, display=Silent())


def test_a_network_learns_from_its_teacher(trained):
    data = pattern_data(256)
    student = factored(trained, {"0": HARSH}, data.shape)
    objective = distillation(trained)
    loss, accuracy = evaluate(student, data, objective)[0], evaluate(student, data)[1]
    blind = type(data)(data.train_x, torch.zeros_like(data.train_y), data.test_x, data.test_y, 4, data.augment)  # no label is looked at
    train(student, blind, tiny_settings(steps=40, schedule=Stairs((0.01,))), objective=objective, display=Silent())
    assert evaluate(student, data, objective)[0] < 0.5 * loss and evaluate(student, data)[1] > accuracy


def onnx_network(network, shape, folder):
    """As compress and bench read it, for any batch."""
    export_onnx(network, shape, folder / "network.onnx")
    model = load(folder / "network.onnx").onnx
    return free_batch(model, np.random.default_rng(0).standard_normal((4, *shape)).astype("float32"))


@pytest.mark.slow
def test_an_onnx_network_is_tuned_and_written_back(tmp_path):
    """The same nodes; ONNX Runtime computes what the module did; only weights of Conv and Gemm have moved."""
    data = tiny_data(256)
    model = onnx_network(tiny_network(), (3, 8, 8), tmp_path)
    module = OnnxModule(model)
    x = data.test_x[:7]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    name = session.get_inputs()[0].name
    with torch.inference_mode():
        np.testing.assert_allclose(module(x), session.run(None, {name: x.numpy()})[0], atol=1e-5)
    outcome = train(module, data, tiny_settings(steps=60, average=0.5), display=Silent())
    assert outcome.accuracy > 0.8
    result = module.trained()
    onnx.checker.check_model(result)
    assert result.graph.node == model.graph.node
    session = onnxruntime.InferenceSession(result.SerializeToString())
    with torch.inference_mode():
        np.testing.assert_allclose(module(x), session.run(None, {name: x.numpy()})[0], atol=1e-4)
    moved = {a.name for a, b in zip(model.graph.initializer, result.graph.initializer, strict=True) if a != b}
    assert moved == set(module.names.values()) and len(moved) == 4
    before = [module.get_parameter(own).clone() for own in module.names]
    module.freeze_through(module.nodes[0][0])
    train(module, data, tiny_settings(steps=3), display=Silent())
    assert [torch.equal(a, module.get_parameter(own)) for a, own in zip(before, module.names, strict=True)] == [True, True, False, False]
    for node, words in (("nothing", "has weights"), (module.nodes[-1][0], "has weights behind it")):
        with pytest.raises(TenfoldError, match=f"node '{node}': no node of that name {words}"):
            module.freeze_through(node)


@pytest.mark.slow
def test_onnx_networks_with_residuals_get_the_same_gradients(tmp_path):
    """As the torch module that they were exported from, in evaluation mode: batch norms are folded."""
    network = resnet(8).eval()
    module = OnnxModule(onnx_network(network, (3, 16, 16), tmp_path))
    x, y = torch.randn(4, 3, 16, 16, requires_grad=True), torch.tensor([1, 2, 3, 4])
    gradients = [torch.autograd.grad(nn.functional.cross_entropy(one(x), y), x)[0] for one in (network, module)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_file_is_tuned(trained, tmp_path):
    """What compress wrote imitates the network before: without labels, above the layer that is named; the others stay to the bit."""
    data = pattern_data(256)
    export_onnx(trained, data.shape, tmp_path / "model.onnx")
    small = factored(trained, {"0": HARSH}, data.shape)
    export_onnx(small, data.shape, tmp_path / "small.onnx")
    np.savez(tmp_path / "data.npz", x=data.train_x.numpy())
    settings = tiny_settings(steps=60, schedule=Stairs((0.01,)))
    layers = [node.name for node in load(tmp_path / "small.onnx").onnx.graph.node if node.op_type == "Conv"]
    paths = [tmp_path / name for name in ("small.onnx", "tuned.onnx", "data.npz")]
    outcome = tune_file(*paths, settings, teacher=tmp_path / "model.onnx", after=layers[1], display=Silent())

    def right(path):
        session = onnxruntime.InferenceSession(path)
        name = session.get_inputs()[0].name
        images = data.test_x.numpy()
        scores = np.concatenate([session.run(None, {name: image[None]})[0] for image in images])
        return (scores.argmax(1) == data.test_y.numpy()).mean()

    assert outcome.finished and right(tmp_path / "tuned.onnx") > right(tmp_path / "small.onnx") + 0.1
    before, after = (load(tmp_path / name).onnx.graph.initializer for name in ("small.onnx", "tuned.onnx"))
    fixed = [a == b for a, b in zip(before, after, strict=True) if a.name.startswith("0.")]
    assert all(fixed) and any(a != b for a, b in zip(before, after, strict=True))
    np.savez(tmp_path / "labels.npz", x=data.train_x.numpy(), y=np.full(256, 4))
    for name, words in (("data.npz", "images x and labels y is needed"), ("labels.npz", "a label is not among the network's 4 classes")):
        with pytest.raises(TenfoldError, match=words):
            tune_file(tmp_path / "small.onnx", tmp_path / "none.onnx", tmp_path / name, settings, display=Silent())
    with pytest.raises(TenfoldError, match="an input, and would be overwritten"):
        tune_file(paths[0], paths[0], paths[2], settings, teacher=tmp_path / "model.onnx", display=Silent())
    assert not (tmp_path / "none.onnx").exists()
