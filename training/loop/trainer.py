"""The loop: steps, tests, checkpoints."""
from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...support.errors import TenfoldError
from ..data import Prepared
from .checkpoint import Checkpoint, read_checkpoint
from .curves import Row, write_csv, write_picture
from .distributed import Group, joined
from .divergence import Watch
from .evaluation import evaluate, laid_out
from .objectives import Objective, cross_entropy
from .precision import autocast, faster_precision
from .progress import Display, Silent, display_on
from .randomness import Order, generator, seed_of
from .settings import Output, TrainingSettings
from .stopping import Stop, stoppable


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    network : nn.Module
        The one that was given, trained: the average, if there is one. In evaluation mode.
    rows : list of Row
        The learning curves.
    step : int
        Steps done, earlier runs included.
    finished : bool
        False: it was asked to stop, and goes on if it is called again.
    precision : str
        In which it computed.
    """

    network: nn.Module
    rows: list[Row]
    step: int
    finished: bool
    precision: str

    @property
    def accuracy(self) -> float:
        """Of the last test; NaN if there was none."""
        return self.rows[-1].test_accuracy if self.rows else float("nan")


def train(
    network: nn.Module,
    data: Prepared,
    settings: TrainingSettings,
    output: Output | None = None,
    *,
    objective: Objective | None = None,
    frozen: Collection[nn.Module] = (),
    device: torch.device | str | None = None,
    display: Display | None = None,
    until: Callable[[Row], bool] | None = None,
) -> Outcome:
    """Train a network, or go on with a run.

    Under torchrun all processes call this, with the same arguments. The same settings give the same weights to the bit on the same machine
    with the same number of threads and processes, however often the run was killed meanwhile.

    Parameters
    ----------
    network : nn.Module
        As it is to begin. Its parameters are changed, where they require gradients.
    data : Prepared
        Images and labels.
    settings : TrainingSettings
        How.
    output : Output, optional
        Where checkpoints and learning curves go. Default: nowhere.
    objective : Objective, optional
        What is minimised. Default: the cross-entropy.
    frozen : collection of modules
        Those within the network that stay in evaluation mode: their batch norms keep their statistics.
    device : torch.device, optional
        Default: a GPU if there is one.
    display : Display, optional
        Default: a bar, or lines, on standard error.
    until : callable, optional
        Asked after each test whether it is enough.

    Raises
    ------
    TenfoldError
        Training diverges, the checkpoint is of another run, a file can't be written, or the batch can't be divided among the processes.
    """
    with joined(device) as group, stoppable() as stop, _repeatable(group.device):
        shown: Display = (display or display_on()) if group.leads else Silent()
        run = _Run(network, data, settings, output, objective or cross_entropy(), frozen, group)
        run.until = until
        shown.begin(settings.steps, run.step)
        try:
            return run.go(shown, stop)
        finally:
            shown.end()


class _Run:
    def __init__(
        self,
        network: nn.Module,
        data: Prepared,
        settings: TrainingSettings,
        output: Output | None,
        objective: Objective,
        frozen: Collection[nn.Module],
        group: Group,
    ):
        if settings.batch % group.size:
            raise TenfoldError(f"a batch of {settings.batch} images can't be divided among {group.size} processes")
        if len(data.train_x) < settings.batch:
            raise TenfoldError(f"a batch of {settings.batch} images is more than the {len(data.train_x)} there are to train on")
        self.settings, self.output, self.objective, self.frozen, self.group = settings, output, objective, frozen, group
        self.network = network.to(group.device)
        if data.train_x.ndim == 4:
            layout = torch.channels_last if settings.channels_last else torch.contiguous_format
            self.network = self.network.to(memory_format=layout)
        self.data = data.to(group.device)
        self.optimizer = torch.optim.SGD(_groups(network, settings), 0.1, settings.momentum, nesterov=settings.nesterov)
        self.average = None
        if settings.average is not None:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.average), use_buffers=True)
        self.watch = Watch(settings.diverged)
        self.order = Order(len(data.train_x), settings.batch, settings.seed)
        self.period = {"loss": 0.0, "right": 0.0, "steps": 0.0}
        self.rows: list[Row] = []
        self.step, self.seconds, self.precision, self.rate = 0, 0.0, settings.precision, 0.0
        if output is not None and output.checkpoint.exists():
            self._resume(output)
        self.model: nn.Module = network
        if group.size > 1 and any(parameter.requires_grad for parameter in network.parameters()):
            self.model = DistributedDataParallel(network)
        self.start = self.saved = time.monotonic()
        self.until: Callable[[Row], bool] | None = None

    def go(self, display: Display, stop: Stop) -> Outcome:
        """Train to the end, or until it is asked to stop."""
        if self.output is not None and self.group.leads:
            self.output.folder.mkdir(parents=True, exist_ok=True)
        if self.precision == "auto" and self.step < self.settings.steps:
            self.precision = self._faster()
        every = self.settings.test_steps or self.order.steps
        self._train_mode()
        stopped, enough = False, self._is_enough()
        while self.step < self.settings.steps and not stopped and not enough:
            loss, stopped = self._one_step(stop)
            display.step(self.step, loss)
            if self.step % every == 0 or self.step == self.settings.steps:
                self.rows.append(self._test())
                display.tested(self.rows[-1])
                self._train_mode()
                self._save()
                enough = self._is_enough()
            elif stopped or self._is_due():
                self._save()
        if self.output is not None and self.group.leads:
            write_picture(self.rows, self.output.folder.name, self.output.folder / "curves.png")
        if self.average is not None:
            self.network.load_state_dict(self.average.module.state_dict())
        return Outcome(self.network.eval(), self.rows, self.step, enough or self.step >= self.settings.steps, self.precision)

    def _is_enough(self) -> bool:
        return self.until is not None and bool(self.rows) and self.until(self.rows[-1])

    def _one_step(self, stop: Stop) -> tuple[float, bool]:
        """The loss, and whether one of the processes was asked to stop."""
        settings, group = self.settings, self.group
        self.rate = settings.schedule.rate(self.step, settings.steps)
        for part in self.optimizer.param_groups:
            part["lr"] = self.rate
        torch.manual_seed(seed_of(settings.seed, "step", self.step, group.rank))  # of dropout
        x, y = self._batch(self.step)
        with autocast(group.device, self.precision):
            output = self.model(x)
        output = output.float()
        loss = self.objective.loss(output, x, y)
        with torch.no_grad():
            blank = self.objective.loss(torch.zeros_like(output), x, y).item() if self.watch.begins else 0.0
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        right = (output.argmax(1) == y).float().mean().item() if self.objective.classifies else 0.0
        totals = group.sums(loss.item(), right, float(stop.asked), blank)
        value, right, stopped, blank = (total / group.size for total in totals)
        self.watch.see(value, self.step, self.rate, blank)
        for name, amount in (("loss", value), ("right", right), ("steps", 1.0)):
            self.period[name] += amount
        return value, stopped > 0

    def _batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The share of a batch that is this process's, as the network sees it."""
        group, data = self.group, self.data
        rows = self.order.rows(step)[group.rank :: group.size].to(group.device)
        x = data.train_x[rows]
        if data.augment is not None:
            x = data.augment(x, generator(self.settings.seed, "augment", step, group.rank), step / self.settings.steps)
        else:
            x = data.seen(x)
        return laid_out(x, self.settings.channels_last), data.train_y[rows]

    def _train_mode(self) -> None:
        self.model.train()
        for module in self.frozen:
            module.eval()

    def _test(self) -> Row:
        """Of the average, if there is one."""
        network = self.network if self.average is None else self.average
        loss, right = evaluate(network, self.data, self.objective, self.settings.channels_last, self.group)
        count, period = max(self.period["steps"], 1), self.period
        train_right = period["right"] / count if self.objective.classifies else float("nan")
        row = Row(self.step, self.step / self.order.steps, self.rate, period["loss"] / count, train_right, loss, right, self._elapsed())
        self.period = dict.fromkeys(period, 0.0)
        return row

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.start

    def _faster(self) -> str:
        """The leading process decides, for all."""
        self._train_mode()
        x, y = self._batch(0)
        choice = faster_precision(self.network, x, y, self.objective) if self.group.leads else "float32"
        return "bfloat16" if self.group.same(int(choice == "bfloat16")) else "float32"

    def _is_due(self) -> bool:
        if self.output is None:
            return False
        by_steps = self.output.steps is not None and self.step % self.output.steps == 0
        return by_steps or time.monotonic() - self.saved >= self.output.seconds

    def _facts(self) -> dict[str, Any]:
        shape = "x".join(map(str, self.data.shape))
        weights = sum(parameter.numel() for parameter in self.network.parameters())
        return {"processes": self.group.size, "training images": len(self.data.train_x), "images of": shape, "parameters": weights}

    def _save(self) -> None:
        if self.output is None or not self.group.leads:
            return
        Checkpoint(
            step=self.step,
            settings=self.settings.as_json(),
            facts=self._facts(),
            precision=self.precision,
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            average=None if self.average is None else self.average.state_dict(),
            rows=self.rows,
            sums={"period": self.period, "watch": self.watch.state},
            seconds=self._elapsed(),
        ).write(self.output.checkpoint)
        write_csv(self.rows, self.output.folder / "curves.csv")
        self.saved = time.monotonic()

    def _resume(self, output: Output) -> None:
        found = read_checkpoint(output.checkpoint, self.settings.as_json(), self._facts(), self.group.device)
        try:
            self.network.load_state_dict(found.network)
            self.optimizer.load_state_dict(found.optimizer)
            if self.average is not None and found.average is not None:
                self.average.load_state_dict(found.average)
        except (RuntimeError, ValueError, KeyError) as error:
            line = str(error).strip().splitlines()[0]
            raise TenfoldError(f"{output.checkpoint}: of another network: {line[:80]}: use another folder, or remove it") from None
        self.step, self.rows, self.precision, self.seconds = found.step, found.rows, found.precision, found.seconds
        self.period, self.watch.state = found.sums["period"], found.sums["watch"]


def _groups(network: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Parameters that decay, and those that do not."""
    moved = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not moved:
        raise TenfoldError("nothing to train: all parameters of the network are frozen")
    if settings.decay_all:
        return [{"params": moved, "weight_decay": settings.weight_decay}]
    weights, others = [p for p in moved if p.ndim > 1], [p for p in moved if p.ndim <= 1]
    groups = ({"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """The same kernels every time, and the caller's random numbers left alone."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
