"""The loop: that it learns, that it repeats itself to the bit, also after a kill, and how it ends."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from math import cos, isnan, pi
from pathlib import Path

import pytest
import tenfold
import torch
from tenfold import TenfoldError
from tenfold.training.loop import OneCycle, Output, Stairs, cross_entropy, evaluation, root_mean_square, train
from tenfold.training.loop.curves import read_csv
from tenfold.training.loop.precision import faster_precision
from tenfold.training.loop.progress import Silent
from tiny_training import tiny_data, tiny_network, tiny_settings
from torch import nn

HERE = Path(__file__).parent
# Dies like a process that the system kills, when a step is done.
KILLED = """
import os, signal, sys, torch
from pathlib import Path
sys.path.insert(0, {here!r})
from tenfold.training.loop import Output, train
from tenfold.training.loop.progress import Silent
from tiny_training import tiny_data, tiny_network, tiny_settings

class Die(Silent):
    def step(self, done, loss):
        if done == 4:
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads({threads})
train(tiny_network(), tiny_data(), tiny_settings(average=0.9), Output(Path({folder!r}), steps=3), display=Die())
"""


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Collects(Silent):
    """Every loss; and `what(done)` is called after each step."""

    def __init__(self, what=lambda done: None):
        self.losses, self.began, self.what = [], None, what

    def begin(self, steps, done):
        self.began = (steps, done)

    def step(self, done, loss):
        self.losses.append(loss)
        self.what(done)


def test_the_loss_falls():
    before = torch.random.get_rng_state()
    outcome = train(tiny_network(), tiny_data(), tiny_settings(steps=60), display=Silent())
    assert outcome.finished and outcome.step == 60 and not outcome.network.training
    assert outcome.rows[-1].test_loss < 0.5 * outcome.rows[0].test_loss and outcome.accuracy > 0.8
    assert len(outcome.rows) == 30 and outcome.rows[0].epoch == 1 and outcome.rows[-1].rate == 0.02
    assert torch.equal(before, torch.random.get_rng_state())


def test_steps_are_stochastic_gradient_descent():
    """Against the same arithmetic by hand, with momentum, decay of weights alone, and two rates."""
    data, network, reference = tiny_data(), tiny_network(norm=False), tiny_network(norm=False)
    settings = tiny_settings(decay_all=False, channels_last=False)
    collects = Collects()
    train(network, data, settings, display=collects)
    from tenfold.training.loop.randomness import Order

    order = Order(64, 24, 3)
    speed = [torch.zeros_like(p) for p in reference.parameters()]
    for step in range(6):
        rows = order.rows(step)
        loss = nn.functional.cross_entropy(reference(data.train_x[rows]), data.train_y[rows])
        assert collects.losses[step] == pytest.approx(loss.item(), rel=1e-5)
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for parameter, gradient, v in zip(reference.parameters(), gradients, speed, strict=True):
                v.mul_(0.9).add_(gradient + (1e-3 * parameter if parameter.ndim > 1 else 0))
                parameter -= (0.05 if step < 4 else 0.02) * v
    for one, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_each_pass_sees_every_image_once():
    from tenfold.training.loop.randomness import Order

    order = Order(10, 3, 0)
    passes = [torch.cat([order.rows(3 * number + step) for step in range(3)]) for number in range(2)]
    assert all(len(rows.unique()) == 9 for rows in passes) and not torch.equal(*passes)
    assert torch.equal(order.rows(1), passes[0][3:6])  # back again
    assert not torch.equal(Order(10, 3, 1).rows(0), order.rows(0))


@pytest.mark.slow
def test_resumed_to_the_bit_after_a_kill(tmp_path):
    """Three steps, kill -9, and three more are six."""
    whole = train(tiny_network(), tiny_data(), tiny_settings(average=0.9), display=Silent())
    script = KILLED.format(here=str(HERE), folder=str(tmp_path), threads=torch.get_num_threads())
    died = subprocess.run([sys.executable, "-c", script], cwd=Path(tenfold.__file__).parents[1], env=dict(os.environ))
    assert died.returncode == -signal.SIGKILL
    collects = Collects()
    resumed = train(tiny_network(), tiny_data(), tiny_settings(average=0.9), Output(tmp_path), display=collects)
    assert collects.began == (6, 3) and len(collects.losses) == 3
    assert same(weights(whole.network), weights(resumed.network))
    pairs = list(zip(whole.rows, resumed.rows, strict=True))
    assert len(pairs) == 3 and all(vars(a) | {"seconds": 0} == vars(b) | {"seconds": 0} for a, b in pairs)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint.pt", "curves.csv", "curves.png"]
    assert read_csv(tmp_path / "curves.csv") == resumed.rows
    again = train(tiny_network(), tiny_data(), tiny_settings(average=0.9), Output(tmp_path), display=Silent())
    assert again.finished and same(weights(again.network), weights(whole.network))
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert content["step"] == 6 and len(content["optimizer"]["state"]) == 6


def test_other_seeds_and_no_dropout_give_other_weights():
    one, other = (train(tiny_network(), tiny_data(), tiny_settings(seed=seed), display=Silent()) for seed in (3, 4))
    assert not same(weights(one.network), weights(other.network))


def test_ctrl_c_ends_after_the_batch_with_a_checkpoint(tmp_path):
    def press(done):
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    stopped = train(tiny_network(), tiny_data(), tiny_settings(), Output(tmp_path), display=Collects(press))
    assert not stopped.finished and stopped.step == 3  # the third batch was under way
    assert signal.getsignal(signal.SIGINT) is handler
    collects = Collects()
    outcome = train(tiny_network(), tiny_data(), tiny_settings(), Output(tmp_path), display=collects)
    assert outcome.finished and collects.began == (6, 3)
    whole = train(tiny_network(), tiny_data(), tiny_settings(), display=Silent())
    assert same(weights(outcome.network), weights(whole.network))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(tiny_network(), tiny_data(), tiny_settings(steps=1), Output(tmp_path), display=Silent())
    for options, words in (
        (dict(steps=2), "of a run with steps 1, not 2"),
        (dict(steps=1, schedule=Stairs((0.5,))), r"of a run with schedule Stairs\(rates=\(0.05, 0.02\), boundaries=\(4,\)\), not Stairs"),
    ):
        with pytest.raises(TenfoldError, match=rf"checkpoint\.pt: {words}.*: use the same, another folder, or remove it"):
            train(tiny_network(), tiny_data(), tiny_settings(**options), Output(tmp_path), display=Silent())
    with pytest.raises(TenfoldError, match="of a run with training images 64, not 60"):
        train(tiny_network(), tiny_data(60), tiny_settings(steps=1), Output(tmp_path), display=Silent())
    with pytest.raises(TenfoldError, match=r"of a run with parameters \d+, not \d+"):
        train(tiny_network(norm=False), tiny_data(), tiny_settings(steps=1), Output(tmp_path), display=Silent())
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TenfoldError, match=r"checkpoint\.pt: not a checkpoint of training, or cut short"):
        train(tiny_network(), tiny_data(), tiny_settings(steps=1), Output(tmp_path), display=Silent())


@pytest.mark.parametrize(
    "rate, words",
    [
        (1e20, r"the loss of step \d+ is (nan|inf) \(learning rate 1e\+20\)"),
        (1.5, r"at step 20 the loss is \S+, an untrained network has 1\.\d+"),
    ],
)
def test_divergence_is_told_and_the_checkpoint_stays(tmp_path, rate, words):
    network = tiny_network(norm=False)
    settings = tiny_settings(steps=50, schedule=Stairs((0.01, rate), (2,)))
    with pytest.raises(TenfoldError, match=rf"training diverged: {words}.*try a lower one"):
        train(network, tiny_data(), settings, Output(tmp_path, steps=2), display=Silent())
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(value.isfinite().all() for value in content["network"].values())


def test_the_average():
    """Of all weights, and of the statistics of batch norms: by hand, from the weights after each step."""
    network, seen = tiny_network(), []
    outcome = train(network, tiny_data(), tiny_settings(average=0.5), display=Collects(lambda done: seen.append(weights(network))))
    expected = seen[0]
    for now in seen[1:]:
        expected = {name: 0.5 * expected[name] + 0.5 * now[name] for name in now}
    found = outcome.network.state_dict()
    for name, value in expected.items():
        if value.is_floating_point() and not name.endswith("tracked"):
            torch.testing.assert_close(found[name], value)
    assert not torch.equal(found["0.weight"], seen[-1]["0.weight"])


def test_tests_count_all_images(monkeypatch):
    """In batches of any size: here of 15, 15 and 2."""
    monkeypatch.setattr(evaluation, "TEST_BATCH", 15)
    network, data = tiny_network(), tiny_data()
    loss, accuracy = evaluation.evaluate(network, data)
    with torch.inference_mode():
        scores = network.eval()(data.test_x)
    assert loss == pytest.approx(nn.functional.cross_entropy(scores, data.test_y).item(), rel=1e-5)
    assert accuracy == (scores.argmax(1) == data.test_y).double().mean().item()


def test_training_ends_when_it_is_enough(tmp_path):
    options = dict(display=Silent(), until=lambda row: row.step >= 4)
    outcome = train(tiny_network(), tiny_data(), tiny_settings(steps=60), Output(tmp_path), **options)
    assert outcome.finished and outcome.step == 4 and len(outcome.rows) == 2
    again = train(tiny_network(), tiny_data(), tiny_settings(steps=60), Output(tmp_path), **options)
    assert again.finished and again.step == 4


def test_frozen_parts_stay_as_they_are():
    network = tiny_network()
    for parameter in network[:2].parameters():
        parameter.requires_grad_(False)
    before = weights(network)
    train(network, tiny_data(), tiny_settings(), frozen=[network[1]], display=Silent())
    after = weights(network)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"6.weight", "6.bias"}
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(TenfoldError, match="nothing to train"):
        train(network, tiny_data(), tiny_settings(), display=Silent())


def test_other_objectives():
    data = tiny_data()
    pictures = type(data)(data.train_x, data.train_x, data.test_x, data.test_x, 4)
    network = nn.Conv2d(3, 3, 3, padding=1)
    outcome = train(network, pictures, tiny_settings(steps=60), objective=root_mean_square(), display=Silent())
    assert outcome.rows[-1].test_loss < 0.8 * outcome.rows[0].test_loss and isnan(outcome.accuracy)
    x = torch.randn(5, 3, 4, 4)
    expected = torch.stack([(a - b).square().mean().sqrt() for a, b in zip(x, 2 * x, strict=True)]).mean()
    assert root_mean_square().loss(2 * x, x, x) == pytest.approx(expected.item(), rel=1e-5)
    y = torch.randint(0, 4, (5,))
    assert cross_entropy(0.2).loss(torch.zeros(5, 4), x, y).item() == pytest.approx(1.386, abs=1e-3)


def test_schedules():
    stairs = Stairs((0.1, 0.01, 0.001), (40, 60))
    assert [stairs.rate(step, 80) for step in (0, 39, 40, 59, 60, 79)] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    cycle = OneCycle(0.4, rise=0.5, start=0.1, end=0.0)
    assert cycle.rate(0, 101) == pytest.approx(0.04) and cycle.rate(100, 101) == pytest.approx(0)
    assert cycle.rate(25, 101) == pytest.approx(0.04 + 0.36 * (1 - cos(pi * 25 / 50.5)) / 2)
    assert max(range(101), key=lambda step: cycle.rate(step, 101)) in (50, 51)
    for kind, arguments in ((Stairs, ((0.1, 0.01),)), (Stairs, ((0.1, 0.01, 0.001), (5, 5))), (Stairs, ((0.0,),)), (OneCycle, (0.1, 1))):
        with pytest.raises(TenfoldError, match="learning rate"):
            kind(*arguments)


@pytest.mark.parametrize(
    "options", [dict(steps=-1), dict(batch=0), dict(precision="float16"), dict(average=1.0), dict(test_steps=0), dict(weight_decay=-1)]
)
def test_settings_are_checked(options):
    name = next(iter(options))
    with pytest.raises(TenfoldError, match=f"^{name} "):
        tiny_settings(**options)
    with pytest.raises(TenfoldError, match="a batch of 65 images is more than the 64"):
        train(tiny_network(), tiny_data(), tiny_settings(batch=65), display=Silent())


def test_precision():
    """bfloat16 where it is asked for, and a measurement that changes nothing."""
    outcome = train(tiny_network(), tiny_data(), tiny_settings(precision="bfloat16"), display=Silent())
    exact = train(tiny_network(), tiny_data(), tiny_settings(), display=Silent())
    assert outcome.precision == "bfloat16" and outcome.rows[-1].test_loss != exact.rows[-1].test_loss
    assert outcome.rows[-1].test_loss == pytest.approx(exact.rows[-1].test_loss, rel=0.05)
    network, data = tiny_network(), tiny_data()
    before, state = weights(network), torch.random.get_rng_state()
    assert faster_precision(network, data.train_x, data.train_y, cross_entropy(), seconds=0.01) in ("float32", "bfloat16")
    assert same(before, weights(network)) and torch.equal(state, torch.random.get_rng_state()) and network[0].weight.grad is None


def test_the_faster_precision_is_taken(monkeypatch):
    """By a clock that says what a step takes."""
    from tenfold.training.loop import precision

    real = torch.autocast
    for slow, expected in (("bfloat16", "float32"), ("float32", "bfloat16")):
        now = [0.0]
        monkeypatch.setattr(precision.time, "perf_counter", lambda now=now: now[0])
        def autocast(device, name, slow=slow, now=now):
            now[0] += 0.2 if name == slow else 0.1
            return real("cpu", enabled=False)

        monkeypatch.setattr(precision, "autocast", autocast)
        data = tiny_data()
        assert faster_precision(tiny_network(), data.train_x, data.train_y, cross_entropy()) == expected


TORCHRUN = """
import sys, torch
sys.path.insert(0, {here!r})
from pathlib import Path
from tenfold.training.loop import Output, train
from tenfold.training.loop.progress import Silent
from tiny_training import tiny_data, tiny_network, tiny_settings
for steps in {steps}:
    outcome = train(tiny_network(norm=False), tiny_data(), tiny_settings(), Output(Path({folder!r})), display=Silent())
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_whole_batch(tmp_path):
    """Under torchrun; a network without batch norm and dropout, whose gradients are the mean of the shares'."""
    script = tmp_path / "script.py"
    script.write_text(TORCHRUN.format(here=str(HERE), steps=[6], folder=str(tmp_path / "run")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    ran = subprocess.run(command, cwd=Path(tenfold.__file__).parents[1], env=dict(os.environ), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    alone = train(tiny_network(norm=False), tiny_data(), tiny_settings(), display=Silent())
    content = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(content["network"][name], value, rtol=1e-4, atol=1e-6)
    rows = read_csv(tmp_path / "run" / "curves.csv")
    assert [row.test_accuracy for row in rows] == pytest.approx([row.test_accuracy for row in alone.rows])
    assert [row.train_loss for row in rows] == pytest.approx([row.train_loss for row in alone.rows], rel=1e-4)
    with pytest.raises(TenfoldError, match="of a run with processes 2, not 1"):
        train(tiny_network(norm=False), tiny_data(), tiny_settings(), Output(tmp_path / "run"), display=Silent())
