"""Fill a table of the papers: train its networks, compile them, and put their figures beside those of the paper.

    python examples/data.py -o data                                              # once
    python examples/reproduce.py jin --data data --runs runs --epochs 10 --json jin.json
    python examples/reproduce.py krivov --data data --runs runs

jin: baseline and flattened network on CIFAR-10 and MNIST. calli: alternatives to the convolution. krivov: low rank and low precision on
MNIST. Runs that are in the folder are taken as they are; one that was stopped goes on. Times are those of one image.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import tenfold
from tenfold import TenfoldError
from tenfold.runner.bench.environment import describe_machine
from tenfold.support.files.whole import write_text
from tenfold.training.papers import TABLES, filled, precision_table
from tenfold.training.run import SUMMARY, run_recipe

KRIVOV = "calli_convolution"  # the network that is factored and rounded


def measured(networks: Sequence[Path]) -> list[float]:
    """Milliseconds of one image, medians of runs in turns. What is compiled is kept beside the network."""
    folders = [path.parent / "compiled" for path in networks]
    for path, folder in zip(networks, folders, strict=True):
        if not folder.exists() or folder.stat().st_mtime < path.stat().st_mtime:
            tenfold.compile(path, output=folder, batch=1)
    times = {row.model: row.latency_ms.median for row in tenfold.bench([str(folder) for folder in folders], until_stable=30).rows}
    return [times[str(folder)] for folder in folders]


def krivov(args: argparse.Namespace) -> dict:
    """Train the network, if it is not there, and try all pairs."""
    run, data = args.runs / f"mnist-{KRIVOV}", args.data / "mnist"
    if not (run / SUMMARY).exists() and run_recipe(KRIVOV, data, run).summary is None:
        raise KeyboardInterrupt
    return precision_table(run, data, images=args.images)


def show(result: dict) -> None:
    """Print the rows."""
    print(result["source"])
    for row in result["rows"]:
        if "energy" in row:
            print(f"{row['energy']:>5.0%} {row['macs']:>12,} MACs ", *(f"{bits} bits {a:.2f} %" for bits, a in row["accuracy"].items()))
            continue
        short = "" if row["step"] == row["recipe_steps"] else f", {row['step']:,} of {row['recipe_steps']:,} steps"
        ms = "" if row["ms"] is None else f", {row['ms']:.3f} ms"
        print(f"{row['data']:8} {row['title']:42} {row['accuracy']:.2f} % (paper {row['paper_accuracy']:.2f} %),"
              f" {row['parameters']:,} parameters, {row['macs'] / 1e6:.1f} M MACs{ms} ({row['epoch']:.0f} epochs{short})")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*TABLES, "krivov"])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar10 and mnist (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: %(default)s)")
    parser.add_argument("--epochs", type=float, help="of runs that are not there yet; default: the recipe's")
    parser.add_argument("--images", type=int, metavar="N", help="of krivov: the first N test images; default: all")
    parser.add_argument("--no-times", action="store_true", help="time nothing")
    parser.add_argument("--json", type=Path, help="write the table here")
    args = parser.parse_args()
    try:
        if args.table == "krivov":
            result = krivov(args)
        else:
            result = filled(args.table, args.data, args.runs, args.epochs, None if args.no_times else measured)
    except TenfoldError as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("reproduce.py: stopped: the same command goes on", file=sys.stderr)
        sys.exit(130)
    show(result)
    if args.json is not None:
        write_text(args.json, json.dumps({**result, "machine": describe_machine(["tenfold"])}, indent=1) + "\n")


if __name__ == "__main__":
    main()
