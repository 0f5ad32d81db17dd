"""A factored network, trained on until it is as good as it gets, or as the dense one was.

    all        factor every layer of the plan             -> tune all weights
    cascade    factor the lowest one -> tune those above  -> factor the next one of the weights that came of it -> tune those above -> ...

What is written to disk meanwhile are checkpoints, by which a run that was stopped goes on when the same is asked for again.
"""
from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ...factorization import FROBENIUS, METHODS
from ...frontends.reference.free_batch import free_batch
from ...frontends.reference.graph_activations import GraphActivations
from ...passes.factorize_onnx import factorize_onnx
from ...passes.inventory import weights
from ...support.code_version import code_version
from ...support.errors import TenfoldError
from ...support.phases import phase
from ...support.progress import Progress
from ...training.data import Prepared
from ...training.data.augmentation import combined
from ...training.finetune import OnnxModule, distillation
from ...training.loop import OneCycle, Outcome, Output, TrainingSettings, cross_entropy, train
from ...training.loop.curves import Row
from ...training.loop.evaluation import evaluate
from ..calibration.pruning import prunes
from .images import parts
from .options import CASCADE, Finetuning
from .tuned import Tuned

if TYPE_CHECKING:
    from ...factorization import FactorChain, Plan
    from ...runner.data import Data
    from ..calibration.evaluation import Judge
    from ..calibration.network_rewriter import NetworkRewriter

BATCH = 128  # images, at the most
MIN_STEPS = 16  # of an epoch
RATES = 1.0, 0.1, 0.01  # of the learning rate: what is tried, until the network gets better


class Tuner:
    """Fine-tunes factored forms of one network.

    Parameters
    ----------
    rewriter : NetworkRewriter
        Of the dense network.
    images : Data
        To train on.
    judge : Judge
        By the images that are held out.
    options : Finetuning
    folder : path
        For checkpoints.
    progress : callable

    Raises
    ------
    TenfoldError
        PyTorch lacks an operator of the network, or what it reads are no images that could be augmented.
    """

    def __init__(self, rewriter: NetworkRewriter, images: Data, judge: Judge, options: Finetuning, folder: Path, progress: Progress):
        self.rewriter, self.network, self.judge, self.options, self._say = rewriter, rewriter.network, judge, options, progress
        self._images = images
        dense = free_batch(self.network.onnx, images.x)
        output = self.network.onnx.graph.output[0].name
        scores = np.concatenate([values[output] for values in GraphActivations(dense, [output]).batches(images.x)])
        scores = scores.reshape(len(images.x), -1)
        self._distil = options.distil or images.y is None
        truth = scores.argmax(axis=1) if images.y is None else images.y
        self._data = _prepared(*parts(images, truth.astype(np.int64)), classes=scores.shape[1])
        if options.augment:
            if self._data.train_x.ndim != 4:
                raise TenfoldError(f"--finetune-augment: {images.name} holds no images of channels, height and width: leave it out")
            self._data = replace(self._data, augment=combined(options.augment))
        self._objective = distillation(OnnxModule(dense)) if self._distil else cross_entropy()
        self._folder, self._used = folder, set[Path]()
        self._goal = evaluate(OnnxModule(dense), self._data, cross_entropy())[1]

    def tune(self, plan: Plan, chains: Mapping[str, FactorChain]) -> Tuned:
        """The network with a plan, tuned; its weights stay as they are where that does not make it better.

        Parameters
        ----------
        plan : Plan
        chains : mapping of str to FactorChain
            Of the plan, corrected.

        Raises
        ------
        KeyboardInterrupt
            It was asked to stop; a checkpoint is kept.
        """
        small = self.rewriter.emitted(plan, chains)
        with phase("fine-tuning"):
            found = self._best(small, plan)
        before = self.judge.judge_model(small)
        after = before if found.rate is None else self.judge.judge_model(found.model)
        if after.drop > before.drop:
            found, after = _Run(small, None, found.curve), before
        return Tuned(found.model, before, after, self.options, len(self._data.train_x), found.rate, tuple(found.curve))

    def forget(self) -> None:
        """Remove the checkpoints of what was tuned: the results are written."""
        for folder in self._used:
            shutil.rmtree(folder, ignore_errors=True)

    def _best(self, small: onnx.ModelProto, plan: Plan) -> _Run:
        """The first rate by which it gets better on the images left out for that."""
        start = self._quality(small)
        run = _Run(small)
        for part in RATES:
            rate = part * self.options.rate
            try:
                model, curve = self._cascade(plan, rate) if self.options.how == CASCADE else self._all(small, rate)
            except TenfoldError as error:
                if "diverged" not in str(error):
                    raise
                continue
            run.curve = curve
            if self._quality(model) > start:
                return _Run(model, rate, curve)
        return run

    def _quality(self, model: onnx.ModelProto) -> tuple[float, float]:
        """Accuracy, then the loss, on the images left out; the higher the better."""
        loss, right = evaluate(self._module(model), self._data, self._objective)
        return right, -loss

    def _all(self, small: onnx.ModelProto, rate: float) -> tuple[onnx.ModelProto, list[dict[str, Any]]]:
        module = self._module(small)
        outcome = self._train(module, small, rate, "")
        return module.trained(small), [_point(None, row) for row in outcome.rows]

    def _cascade(self, plan: Plan, rate: float) -> tuple[onnx.ModelProto, list[dict[str, Any]]]:
        """Denton et al. (2014), section 4.2. Metrics are those of the dense network's inputs."""
        if prunes(plan.layers):
            raise TenfoldError("--finetune-how cascade factors one layer after the other: a plan that prunes can't be: tune all")
        model, curve = self.network.onnx, list[dict[str, Any]]()
        layers = {layer.name: layer for layer in self.rewriter.layers}
        statistics = {} if self.rewriter.calibration is None else self.rewriter.calibration.statistics
        for name in (name for name in layers if name in plan.layers):
            choice = plan.layers[name]
            metric = statistics[name].metric(choice.metric) if name in statistics else FROBENIUS
            weight = weights(replace(self.network, onnx=model).mod)[name]
            model = factorize_onnx(model, {name: METHODS[choice.method].factorize(weight, layers[name], choice.ranks, metric=metric)})
            module = self._module(model)
            if module.is_last(name) or self._quality(model)[0] >= self._goal:
                continue
            module.freeze_through(name)
            outcome = self._train(module, model, rate, name, until=lambda row: row.test_accuracy >= self._goal)
            model = module.trained(model)
            curve += [_point(name, row) for row in outcome.rows]
        return model, curve

    def _train(
        self, module: OnnxModule, model: onnx.ModelProto, rate: float, above: str, until: Callable[[Row], bool] | None = None
    ) -> Outcome:
        data = self._data
        batch = min(BATCH, max(len(data.train_x) // MIN_STEPS, 1))
        steps = self.options.epochs * max(len(data.train_x) // batch, 1)
        settings = TrainingSettings(steps, batch, OneCycle(rate), precision="float32")
        folder = self._folder / self._key(model, settings, above)
        self._used.add(folder)
        words = f"fine-tuning above {above}" if above else "fine-tuning"
        outcome = train(
            module, data, settings, Output(folder), objective=self._objective, display=_Told(self._say, words), until=until
        )
        if not outcome.finished:
            raise KeyboardInterrupt
        return outcome

    def _key(self, model: onnx.ModelProto, settings: TrainingSettings, above: str) -> str:
        """What a run depends on."""
        sha256 = hashlib.sha256(model.SerializeToString(deterministic=True))
        for tensor in (self._data.train_x, self._data.train_y):
            sha256.update(np.ascontiguousarray(tensor.numpy()).data)
        dense = self.network.key if self._distil else ""
        asked = [settings.as_json(), self.options.augment, above, dense]
        sha256.update(json.dumps([*asked, code_version("training", "search/finetuning")]).encode())
        return sha256.hexdigest()[:24]

    def _module(self, model: onnx.ModelProto) -> OnnxModule:
        return OnnxModule(free_batch(model, self._images.x))


@dataclass
class _Run:
    model: onnx.ModelProto
    rate: float | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)


class _Told:
    """A display that tells the progress of the command."""

    def __init__(self, say: Progress, words: str):
        self._say, self._words, self._steps = say, words, 0

    def begin(self, steps: int, done: int) -> None:
        """How many there are."""
        self._steps = steps
        self._say(self._words, done, steps)

    def step(self, done: int, loss: float) -> None:
        """One more."""
        self._say(self._words, done, self._steps)

    def tested(self, row: Row) -> None:
        """Nothing: the report has the curve."""

    def end(self) -> None:
        """Nothing."""


def _point(above: str | None, row: Row) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(row).items() if name in ("step", "epoch", "rate", "train_loss", "test_accuracy")}
    return {"above": above, **kept}


def _prepared(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, classes: int) -> Prepared:
    import torch

    tensors = [torch.from_numpy(np.ascontiguousarray(part)) for part in (x, y, test_x, test_y)]
    return Prepared(tensors[0], tensors[1], tensors[2], tensors[3], classes)
