"""Train a network of the papers, and export it to ONNX.

    python examples/data.py -o data                                          # once
    python examples/train.py jin_flattened --data data/cifar10 -o runs/jin_flattened
    torchrun --nproc-per-node 2 examples/train.py resnet20 --data data/cifar10 -o runs/resnet20

The folder gets network.onnx, summary.json, curves.csv, curves.png and checkpoint.pt. A run that was stopped goes on when the same command
is given again; Ctrl-C stops it after the batch. --list names the networks and says how each is trained.
"""
from __future__ import annotations

import argparse
import json
import sys
from math import isfinite
from pathlib import Path

import torch
from tenfold import TenfoldError
from tenfold.support.files.whole import write_text
from tenfold.training.cost import cost
from tenfold.training.data import prepare, read_images
from tenfold.training.loop import Output, train
from tenfold.training.loop.distributed import joined
from tenfold.training.networks import export_onnx
from tenfold.training.recipes import RECIPES, recipe


def run(args: argparse.Namespace) -> int:
    """Train, and write what came of it."""
    how = recipe(args.network)
    settings = how.settings_for(args.steps, args.seed, args.precision)
    args.output.mkdir(parents=True, exist_ok=True)
    with joined() as group:
        images = read_images(args.data)
        images = images if args.first is None else images.first(args.first, args.first)
        with group.leader_first():  # it fits a whitening, if one is needed; the others read it
            data = prepare(how.seen(images), how.pipeline_for(images), args.output)
        network = how.network(data, settings.seed)
        outcome = train(network, data, settings, Output(args.output), objective=how.objective())
        if not group.leads:
            return 0
        if not outcome.finished:
            print(f"stopped at step {outcome.step} of {settings.steps}: the same command goes on", file=sys.stderr)
            return 130
        export_onnx(network, data.shape, args.output / "network.onnx")
        costs = cost(network, data.shape)
        last = {name: value if isfinite(value) else None for name, value in vars(outcome.rows[-1]).items()}
        result = {**last, "parameters": costs.parameters, "macs": costs.macs}
        trained = {"network": args.network, "about": how.about, "data": images.name, "settings": json.loads(settings.as_json())}
        machine = {"device": str(group.device), "threads": torch.get_num_threads(), "processes": group.size, "torch": torch.__version__}
        summary = {**trained, "precision": outcome.precision, **machine, **result}
        write_text(args.output / "summary.json", json.dumps(summary, indent=1) + "\n")
        size = f"{costs.parameters:,} parameters, {costs.macs / 1e6:.1f} M MACs"
        score = f"test loss {last['test_loss']:.4f}" if how.copies else f"test accuracy {outcome.accuracy:.2%}"
        print(f"{args.output / 'network.onnx'}: {size}, {score}")
    return 0


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", help="a name of --list")
    parser.add_argument("--list", action="store_true", help="name the networks, and say how each is trained")
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="CIFAR-10, CIFAR-100 or MNIST (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("run"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="default: the recipe's; changes of the learning rate move along")
    parser.add_argument("--first", type=int, metavar="N", help="use the first N images of each part alone: a quick try")
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], help="default: the recipe's")
    args = parser.parse_args()
    if args.list or args.network is None:
        print("\n".join(f"{name:26} {how.about}" for name, how in RECIPES.items()))
        return
    try:
        sys.exit(run(args))
    except TenfoldError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
