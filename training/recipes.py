"""How each of the papers' networks is trained: network, pipeline and settings, by the paper's words.

What a paper does not say is ours, and said so in the recipe's `about`.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from ..support.errors import TenfoldError
from .data import HELD_OUT, Images, Prepared, shuffled_rows
from .loop import Objective, OneCycle, Stairs, TrainingSettings, cross_entropy, root_mean_square
from .loop.randomness import seed_of
from .networks import autoencoder, calli_baseline, calli_small, jin_baseline, jin_flattened, resnet, small_vgg

BATCH = 128
EPOCH = 50_000 // BATCH  # steps of a pass over CIFAR


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    about : str
        Its source, and what is ours.
    make : callable
        Classes, and the shape of what it sees -> the network, untrained.
    pipeline : str
        A name in `data.PIPELINES`, for images in colour.
    settings : TrainingSettings
        How it learns.
    gray : str
        The pipeline for images without colour.
    smoothing : float
        Of labels.
    copies : bool
        The network gives its input back: an autoencoder.
    held_out : int
        Training images that it does not see: searches verify on them.
    peak, cycle_batch : float, int
        The highest learning rate of one cycle, and its batch, for runs that are far shorter than the recipe. Ours.
    """

    about: str
    make: Callable[[int, tuple[int, ...]], nn.Module]
    pipeline: str
    settings: TrainingSettings
    gray: str = "plain"
    smoothing: float = 0.0
    copies: bool = False
    held_out: int = 0
    peak: float = 0.05
    cycle_batch: int = BATCH

    def network(self, data: Prepared, seed: int) -> nn.Module:
        """The network for these images, its weights drawn with this seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "weights"))
            return self.make(data.classes, data.shape)

    def pipeline_for(self, images: Images) -> str:
        """The name of the pipeline for these images."""
        return "pixels" if self.copies else self.pipeline if images.train_x.shape[1] > 1 else self.gray

    def seen(self, images: Images) -> Images:
        """The images without those that are held out."""
        return images.without(shuffled_rows(len(images.train_x))[: self.held_out]) if self.held_out else images

    def objective(self) -> Objective:
        """What it minimises."""
        return root_mean_square() if self.copies else cross_entropy(self.smoothing)

    def settings_for(
        self,
        steps: int | None = None,
        seed: int | None = None,
        precision: str | None = None,
        cut: int | None = None,
        one_cycle: bool = False,
    ) -> TrainingSettings:
        """The settings, some of them changed.

        Parameters
        ----------
        steps : int, optional
            Boundaries of learning rates move along.
        seed : int, optional
        precision : str, optional
        cut : int, optional
            End after so many of the steps, and let the boundaries of learning rates stay where they are.
        one_cycle : bool
            Up to `peak` and down to nearly nothing, in the place of the recipe's learning rates, with batches of `cycle_batch`.

        Raises
        ------
        TenfoldError
            Too few steps for the learning rates, more than are to be cut, or options that exclude each other.
        """
        if cut is not None and (steps is not None or one_cycle or not 0 < cut <= self.settings.steps):
            raise TenfoldError(f"cut {cut}: give from 1 to {self.settings.steps} steps, and neither other steps nor one cycle")
        changed = self.settings
        if one_cycle:
            changed = replace(changed, schedule=OneCycle(self.peak), batch=self.cycle_batch)
        if steps is not None:
            schedule, part = changed.schedule, steps / changed.steps
            if isinstance(schedule, Stairs) and part != 1:
                boundaries = tuple(round(boundary * part) for boundary in schedule.boundaries)
                if len({*boundaries}) < len(boundaries) or 0 in boundaries:
                    raise TenfoldError(f"steps {steps}: too few for {len(schedule.rates)} learning rates")
                schedule = Stairs(schedule.rates, boundaries)
            changed = replace(changed, steps=steps, schedule=schedule)
        if cut is not None:
            changed = replace(changed, steps=cut)
        return replace(changed, seed=changed.seed if seed is None else seed, precision=precision or changed.precision)


def recipe(name: str) -> Recipe:
    """By name; TenfoldError if there is none."""
    if name not in RECIPES:
        raise TenfoldError(f"network {name!r}: there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _jin(make: Callable[..., nn.Module], classes: int, shape: tuple[int, ...], **options: bool) -> nn.Module:
    return make(classes, shape[1], channels=shape[0], **options)


def _calli(operation: str, classes: int, shape: tuple[int, ...]) -> nn.Module:
    return calli_baseline(operation, classes, shape[0])


_JIN = TrainingSettings(20 * EPOCH, BATCH, Stairs((0.1, 0.01), (8 * EPOCH,)), weight_decay=5e-4)
_FLATTENED = replace(_JIN, weight_decay=5e-5)
_JIN_ABOUT = "Jin et al. 2015, sections 4.1, 4.2, 4.5: rate 0.1, 0.01 after 8 epochs, momentum 0.9. Ours: batch, 20 epochs, weight decay"
_CALLI = TrainingSettings(
    50_000, BATCH, Stairs((0.1, 0.01, 0.001, 0.0001), (20_000, 30_000, 40_000)), weight_decay=2e-3, decay_all=False, test_steps=1000
)
_CALLI_ABOUT = "Çallı 2017, section 2.3.4: 50,000 steps of 128, rate 0.1 divided by 10 three times. Ours: widths, L2 as in section 2.4.1"
_RESNET = TrainingSettings(64_000, BATCH, Stairs((0.1, 0.01, 0.001), (32_000, 48_000)), weight_decay=1e-4, test_steps=EPOCH)
_RESNET_ABOUT = "He et al. 2015, section 4.2: 64,000 steps of 128, rate 0.1 divided by 10 twice, weight decay 1e-4, flips, shifts of 4"

RECIPES: dict[str, Recipe] = {
    "jin_baseline": Recipe(f"{_JIN_ABOUT} 5e-4", partial(_jin, jin_baseline), "jin", _JIN, "jin", cycle_batch=64),
    "jin_flattened": Recipe(f"{_JIN_ABOUT} 5e-5 (\"decreased\")", partial(_jin, jin_flattened), "jin", _FLATTENED, "jin", cycle_batch=64),
    "jin_flattened_all": Recipe(
        f"{_JIN_ABOUT} 5e-5; all three layers flattened", partial(_jin, jin_flattened, first=True), "jin", _FLATTENED, "jin", cycle_batch=64
    ),
    "calli_convolution": Recipe(_CALLI_ABOUT, partial(_calli, "convolution"), "calli", _CALLI, peak=0.1),
    "calli_kernel_composing": Recipe(_CALLI_ABOUT, partial(_calli, "kernel_composing"), "calli", _CALLI, peak=0.1),
    "calli_separable": Recipe(_CALLI_ABOUT, partial(_calli, "separable"), "calli", _CALLI, peak=0.1),
    "calli_nonlinear_separable": Recipe(_CALLI_ABOUT, partial(_calli, "nonlinear_separable"), "calli", _CALLI, peak=0.1),
    "calli_small": Recipe(
        "Çallı 2017, section 2.4.1: 80,000 steps of 128, rates 0.1, 0.01, 0.001, L2 of weights by 0.001. Ours: blocks of each stage",
        lambda classes, shape: calli_small(classes, shape[0]),
        "calli",
        TrainingSettings(80_000, BATCH, Stairs((0.1, 0.01, 0.001), (40_000, 60_000)), weight_decay=2e-3, decay_all=False, test_steps=1000),
    ),
    "calli_autoencoder": Recipe(
        "Çallı 2017, section 2.1.3, L2 by 0.01 (section 3.1.2). Ours: rate 0.01 as for the summation, momentum 0.9, 10 epochs of 128",
        lambda classes, shape: autoencoder(),
        "pixels",
        TrainingSettings(10 * (60_000 // BATCH), BATCH, Stairs((0.01,)), weight_decay=2e-2, decay_all=False),
        copies=True,
    ),
    "resnet20": Recipe(_RESNET_ABOUT, lambda classes, shape: resnet(20, classes, shape[0]), "channels", _RESNET, peak=0.2),
    "resnet56": Recipe(_RESNET_ABOUT, lambda classes, shape: resnet(56, classes, shape[0]), "channels", _RESNET, peak=0.2),
    "bundled_jin": Recipe(
        "the bundled network: Jin's baseline with a batch norm behind each convolution while training, 7 epochs of one cycle",
        partial(_jin, jin_baseline, batch_norm=True),
        "bundled",
        TrainingSettings(7 * EPOCH, BATCH, OneCycle(0.05), nesterov=True, weight_decay=1e-3, precision="float32"),
    ),
    "bundled_vgg": Recipe(
        "the bundled small VGG: 78 epochs of one cycle, the first 60 % of them on crops of 24 pixels",
        lambda classes, shape: small_vgg(classes),
        "growing",
        TrainingSettings(78 * (45_000 // BATCH), BATCH, OneCycle(0.1), nesterov=True, weight_decay=1e-3, precision="bfloat16"),
        smoothing=0.1,
        held_out=HELD_OUT,
    ),
}  # fmt: skip
