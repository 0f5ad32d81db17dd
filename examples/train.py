"""Train a network of the papers, and export it to ONNX.

    python examples/data.py -o data                                          # once
    python examples/train.py jin_flattened --data data/cifar10 -o runs/jin_flattened
    torchrun --nproc-per-node 2 examples/train.py resnet20 --data data/cifar10 -o runs/resnet20

The folder gets network.onnx, summary.json, curves.csv, curves.png and checkpoint.pt. A run that was stopped goes on when the same command
is given again; Ctrl-C stops it after the batch. --list names the networks and says how each is trained.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tenfold import TenfoldError
from tenfold.training.recipes import RECIPES
from tenfold.training.run import NETWORK, run_recipe


def run(args: argparse.Namespace) -> int:
    """Train, and say what came of it."""
    options = {"steps": args.steps, "cut": args.cut, "seed": args.seed, "precision": args.precision, "first": args.first,
               "one_cycle": args.one_cycle}
    ended = run_recipe(args.network, args.data, args.output, **options)
    if not ended.leads:
        return 0
    if ended.summary is None:
        print(f"stopped at step {ended.step} of {ended.steps}: the same command goes on", file=sys.stderr)
        return 130
    found = ended.summary
    size = f"{found['parameters']:,} parameters, {found['macs'] / 1e6:.1f} M MACs"
    accuracy = found["test_accuracy"]
    score = f"test loss {found['test_loss']:.4f}" if accuracy is None else f"test accuracy {accuracy:.2%}"
    print(f"{args.output / NETWORK}: {size}, {score}")
    return 0


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", help="a name of --list")
    parser.add_argument("--list", action="store_true", help="name the networks, and say how each is trained")
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="CIFAR-10, CIFAR-100 or MNIST (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("run"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="default: the recipe's; changes of the learning rate move along")
    parser.add_argument("--cut", type=int, metavar="STEPS", help="end after so many; changes of the learning rate stay where they are")
    parser.add_argument("--one-cycle", action="store_true", help="the rate rises and falls once: for runs far shorter than the recipe")
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
