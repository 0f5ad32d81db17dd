"""Pruning: what goes together, by what rules, and that the smaller network is the masked one."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tenfold import TenfoldError
from tenfold.training.cost import cost
from tenfold.training.data import Prepared
from tenfold.training.loop import Stairs, TrainingSettings, root_mean_square, train
from tenfold.training.loop.progress import Silent
from tenfold.training.networks import autoencoder, calli_baseline, calli_small, jin_flattened, resnet, summation
from tenfold.training.networks.summation import summation_data
from tenfold.training.pruning import (
    Channels,
    NodeStatistics,
    all_of,
    collect,
    distort,
    keep_connections,
    lowest,
    masked,
    never_active,
    of_no_variance,
    outliers,
    prune_connections,
    share_of_zeros,
    smaller,
    training_cycles,
    vote,
    within_range,
)
from tiny_training import tiny_data, tiny_network, tiny_settings
from torch import nn


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Branches(nn.Module):
    """What networks have besides chains: a concatenation, a mean, a grouped convolution, and a layer that is not known."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.multiplied = nn.Conv2d(10, 20, 3, padding=1, groups=10)
        self.mixed = nn.Conv2d(20, 8, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.grouped = nn.Conv2d(8, 6, 1, groups=2)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.cat([F.relu(self.one(x)), torch.tanh(self.two(x))], 1)
        x = self.norm(self.mixed(self.multiplied(x)))
        return self.last(self.grouped(x).mean((2, 3)))


NETWORKS = {
    "jin_flattened": (lambda: jin_flattened(first=True, size=16, batch_norm=True), (3, 16, 16)),
    "calli_separable": (lambda: calli_baseline("nonlinear_separable"), (3, 8, 8)),
    "calli_small": (lambda: calli_small(width=6), (3, 8, 8)),
    "resnet": (lambda: resnet(14), (3, 8, 8)),
    "autoencoder": (lambda: autoencoder((5, 7, 6)), (1, 8, 8)),
    "summation": (lambda: summation(9), (2,)),
    "branches": (Branches, (3, 8, 8)),
}


def lively(network, seed=0):
    """With statistics in its batch norms as training leaves them."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.running_mean, module.weight, module.bias):
                    value += 0.3 * torch.randn(value.shape, generator=rng)
    return network.eval()


def some(channels, part, seed=0):
    """A random part of the nodes of each group, at least one of them."""
    rng = np.random.default_rng(seed)
    return {int(node) for space in channels.spaces for node in rng.permutation(space)[: max(1, int(part * len(space)))] if len(space) > 1}


@pytest.mark.quick(4)
@pytest.mark.parametrize("part", [0.2, 0.7])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_is_the_masked_one(name, part):
    make, shape = NETWORKS[name]
    network = lively(make())
    channels = Channels(network, shape)
    nodes = some(channels, part)
    small, mask = smaller(network, channels, nodes), masked(network, channels, nodes)
    x = torch.randn(3, *shape)
    with torch.inference_mode():
        expected = mask(x)
        torch.testing.assert_close(small(x), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(expected, network(x), atol=1e-4)
    assert cost(small, shape).parameters < cost(network, shape).parameters
    if part < 0.5:  # it can be pruned further; a depthwise convolution of one channel would count as a plain one
        assert sum(map(len, Channels(small, shape).spaces)) == sum(map(len, channels.spaces)) - len(nodes)


def test_blocks_that_are_directly_connected_are_one_group():
    """Of the model with three stages: zeros are added between stages, so all residual nodes of the last stage hold those before."""
    network = calli_small(width=6, blocks=(2, 1))
    channels = Channels(network, (3, 8, 8))
    sizes = sorted(len(space) for space in channels.spaces)
    # Three pointwise convolutions within blocks, 6, 6 and 12; and the twelve nodes that all blocks add up.
    assert sizes == [6, 6, 12, 12]
    convolutions = {use.name: use for use in channels.uses}
    first, residual = convolutions["0"].outputs, convolutions["2.convolution2.1"].outputs
    assert first.tolist() == residual.tolist() == convolutions["3.convolution2.1"].outputs[:6].tolist()
    depthwise = convolutions["1.convolution1.0"]
    assert depthwise.kind == "depthwise" and depthwise.outputs.tolist() == depthwise.inputs.tolist() == first.tolist()
    assert depthwise.first and not convolutions["1.convolution1.1"].first


def test_what_stays():
    """Images, scores, and what layers read that are not known: groups and other norms."""
    network = Branches()
    channels = Channels(network, (3, 8, 8))
    uses = {use.name: use for use in channels.uses}
    assert {*uses["one"].inputs, *uses["last"].outputs, *uses["mixed"].outputs, *uses["last"].inputs} <= channels.kept
    assert sorted(len(space) for space in channels.spaces) == [4, 6]
    assert uses["multiplied"].outputs.tolist() == np.repeat(uses["multiplied"].inputs, 2).tolist()
    with pytest.raises(TenfoldError, match="can't be pruned"):
        smaller(network, channels, {int(uses["last"].outputs[0])})
    with pytest.raises(TenfoldError, match="would have no inputs left"):
        smaller(summation(3), Channels(summation(3), (2,)), {*Channels(summation(3), (2,)).spaces[0]})
    shared = nn.Linear(4, 4)
    with pytest.raises(TenfoldError, match="runs more than once"):
        Channels(nn.Sequential(shared, nn.ReLU(), shared), (4,))

    class Asks(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(TenfoldError, match=r"torch\.fx can't trace it"):
        Channels(nn.Sequential(nn.Linear(4, 4), Asks()), (4,))


def test_statistics_are_those_of_what_layers_read():
    """By NumPy, on the activations of each layer; features of a flattened image count for their channel."""
    network = lively(tiny_network())
    channels = Channels(network, (3, 8, 8))
    batches = list(torch.randn(40, 3, 8, 8).split(16))
    found = collect(network, channels, batches)
    with torch.inference_mode():
        inside = network[:5](torch.cat(batches)).double().numpy()  # (40, 8, 4, 4)
    of_channels = inside.transpose(1, 0, 2, 3).reshape(8, -1)
    np.testing.assert_allclose(found["6"].mean, of_channels.mean(1), atol=1e-6)
    np.testing.assert_allclose(found["6"].variance, of_channels.var(1), rtol=1e-5)
    np.testing.assert_allclose(found["6"].active, (of_channels > 0).mean(1))
    np.testing.assert_allclose(found["6"].features, inside.reshape(40, -1).mean(0), atol=1e-6)
    assert found["6"].nodes.tolist() == channels.spaces[0] and found["0"].nodes.tolist() == sorted({*channels.uses[0].inputs})


def statistics_of(variance=None, active=None):
    zeros = np.zeros(len(variance if active is None else active))
    given = [zeros if values is None else np.array(values, float) for values in (active, variance)]
    return NodeStatistics(np.arange(len(zeros)), given[0], zeros, given[1], zeros, votes=True)


def test_criteria():
    assert never_active()(statistics_of(active=[0, 0.1, 0])).tolist() == [True, False, True]
    assert of_no_variance()(statistics_of(variance=[0, 1e-9, 2])).tolist() == [True, False, False]
    # mean 0.25, variance 0.0625: within 0.125 of 0.25 lie 0.3 and 0.2
    v = [0.3, 0.2, 0.6, 0.0, 0.25 * 5 - 1.1]
    inside = np.abs(np.array(v) - np.mean(v)) < 2 * np.var(v)
    assert outliers()(statistics_of(variance=v)).tolist() == inside.tolist() and 0 < inside.sum() < 5
    assert outliers(removed="outside")(statistics_of(variance=v)).tolist() == (~inside).tolist()
    assert within_range()(statistics_of(active=v)).tolist() == (np.abs(np.array(v) - np.mean(v)) > 2 * np.var(v)).tolist()
    assert all_of(never_active(), of_no_variance())(statistics_of(variance=[0, 1])).tolist() == [True, False]


def test_nodes_that_one_layer_keeps_stay():
    """The union of what the layers keep; and never does a group go as a whole."""
    network = lively(resnet(14))
    channels = Channels(network, (3, 8, 8))
    found = collect(network, channels, [torch.randn(8, 3, 8, 8)])
    assert vote(channels, found, lambda statistics: np.zeros(len(statistics.nodes), bool)) == set()
    everything = vote(channels, found, lambda statistics: np.ones(len(statistics.nodes), bool))
    assert [len(space) - len(everything & {*space}) for space in channels.spaces] == [1] * len(channels.spaces)
    residual = next(use for use in channels.uses if use.name == "0")
    objector = next(use for use in channels.uses if use.kind == "layer" and use.inputs[0] == residual.outputs[0])
    keeps = {objector.name: int(residual.outputs[2])}

    def all_but(statistics):
        name = next(name for name, own in found.items() if own is statistics)
        return statistics.nodes != keeps.get(name, -1)

    assert int(residual.outputs[2]) not in vote(channels, found, all_but)


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_counts_that_the_target_likes(multiple):
    network = lively(resnet(14))
    channels = Channels(network, (3, 8, 8))
    found = collect(network, channels, [torch.randn(8, 3, 8, 8)])
    nodes = lowest(channels, found, 0.6, multiple)
    small = smaller(network, channels, nodes)
    widths = {module.out_channels for module in small.modules() if isinstance(module, nn.Conv2d)}
    assert all(width % multiple == 0 for width in widths) and max(widths) < 64
    if multiple == 1:
        scores = {node: max(s.variance[list(s.nodes).index(node)] / s.variance.mean() for s in found.values() if node in s.nodes)
                  for space in channels.spaces for node in space}
        for space in channels.spaces:
            gone, kept = [scores[n] for n in space if n in nodes], [scores[n] for n in space if n not in nodes]
            assert len(gone) == int(0.6 * len(space)) and max(gone) <= min(kept)
    with pytest.raises(TenfoldError, match="a part 1.5 of the nodes"):
        lowest(channels, found, 1.5)


def test_means_go_into_biases():
    """A node that always gives the same is removed without a trace, away from padded borders."""
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3))
    with torch.no_grad():
        network[0].weight[2] = 0
        network[0].bias[2] = 0.7
    channels = Channels(network, (3, 4, 4))
    x = torch.randn(20, 3, 4, 4)
    found = collect(network, channels, [x])
    nodes = {int(channels.uses[0].outputs[2])}
    assert nodes <= vote(channels, found, of_no_variance())
    with torch.inference_mode():
        torch.testing.assert_close(smaller(network, channels, nodes, found)(x), network(x))
        assert not torch.allclose(smaller(network, channels, nodes)(x), network(x), atol=1e-3)


def test_means_of_transposed_convolutions():
    network = nn.Sequential(nn.Conv2d(1, 5, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(5, 2, 2, 2), nn.ReLU(), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        network[0].weight[1] = 0
        network[0].bias[1] = 0.5
        network[2].weight[1] = network[2].weight[1].mean((1, 2), keepdim=True)
    channels = Channels(network, (1, 8, 8))
    x = torch.randn(20, 1, 8, 8)
    found = collect(network, channels, [x])
    node = {int(channels.uses[0].outputs[1])}
    with torch.inference_mode():
        torch.testing.assert_close(smaller(network, channels, node, found)(x), network(x))


def test_training_cycles_end_when_nothing_goes():
    """The network that adds two numbers, small: it loses nodes, and still adds."""
    x, y = summation_data(600)
    data = Prepared(x[:500], y[:500], x[500:], y[500:], 1)
    settings = TrainingSettings(60, 50, Stairs((0.02,)), precision="float32", channels_last=False, test_steps=60)
    network, cycles = training_cycles(
        summation(30), data, settings, never_active(), most=4, distortion=0.3, objective=root_mean_square(), display=Silent()
    )
    widths = [cycle.widths["0"] for cycle in cycles]
    assert widths[0] == 30 and widths == sorted(widths, reverse=True) and widths[-1] < 30
    assert cycles[-1].parameters == 4 * widths[-1] + 1 and [cycle.number for cycle in cycles] == list(range(1, len(cycles) + 1))
    assert cycles[-1].loss < 0.3 and (cycles[-1].pruned == 0 or len(cycles) == 4)
    assert [before - after for before, after in zip(widths, widths[1:], strict=False)] == [cycle.pruned for cycle in cycles[:-1]]
    nothing = never_active(-1.0)
    same, cycles = training_cycles(network, data, settings, nothing, objective=root_mean_square(), display=Silent())
    assert same is network and len(cycles) == 1
    _, cycles = training_cycles(
        network, data, settings, nothing, most=5, patience=3, distortion=0.1, objective=root_mean_square(), display=Silent()
    )
    assert len(cycles) == 3


def test_cycles_of_the_autoencoder():
    images = torch.rand(64, 1, 8, 8) * 2 - 1
    data = Prepared(images, images, images, images, 1)
    settings = TrainingSettings(6, 16, Stairs((0.01,)), weight_decay=2e-2, precision="float32")
    options = dict(most=3, objective=root_mean_square(), display=Silent())
    network, cycles = training_cycles(autoencoder((8, 12, 8)), data, settings, outliers(), **options)
    assert cycles[0].widths == {"0": 8, "3": 12, "6": 8, "9": 1} and cycles[-1].widths["9"] == 1
    assert network(images).shape == images.shape


def test_distortions():
    network = tiny_network()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    distort(network, 0.0, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    distort(network, 0.5, torch.Generator().manual_seed(0))
    for old, new in zip(before, network.parameters(), strict=True):
        if old.ndim == 1:
            assert torch.equal(old, new)
        else:  # as large as before, and mixed with so much that is random
            assert new.detach().square().mean().sqrt() == pytest.approx(old.square().mean().sqrt().item(), rel=0.2)
            assert torch.corrcoef(torch.stack([old.flatten(), new.detach().flatten()]))[0, 1] == pytest.approx(1.25**-0.5, abs=0.1)


def test_connections_stay_pruned_while_training():
    network = tiny_network()
    weight = network[0].weight.detach().clone()
    share = prune_connections(network, 1.0)
    threshold = abs(weight.mean()) + weight.std(correction=0)
    gone = weight.abs() < threshold
    assert torch.equal(network[0].weight == 0, gone) and 0.4 < share < 0.9 and share == share_of_zeros(network)
    train(network, tiny_data(), tiny_settings(average=0.9), display=Silent())
    assert torch.equal(network[0].weight == 0, gone) and not torch.equal(network[0].weight[~gone], weight[~gone])
    keep_connections(network)
    assert isinstance(network[0].weight, nn.Parameter) and share_of_zeros(network) == pytest.approx(share)
    assert prune_connections(network, 1.5) >= share
