"""Fill a table or a figure of the papers: train its networks, compile them, and put their figures beside those of the paper.

    python examples/data.py -o data                                              # once
    python examples/reproduce.py --list
    python examples/reproduce.py jin --data data --runs runs --epochs 4 --one-cycle --json jin.json
    python examples/reproduce.py krivov --data data --runs runs

What is in the folder of runs is taken as it is; a run that was stopped goes on. Times are those of one image.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tenfold
from rich.console import Console
from tenfold import TenfoldError
from tenfold.runner.bench.environment import describe_machine
from tenfold.search.finetuning.options import AUGMENTATIONS, Finetuning
from tenfold.support.files.whole import write_text
from tenfold.support.listing import Listing
from tenfold.training.papers import Asked, reproductions
from tenfold.training.papers.asked import Arrays

MODELS = Path(__file__).parent / "models"


def measured(networks: Sequence[Path]) -> list[float]:
    """Milliseconds of one image, medians of runs in turns. What is compiled is kept beside the network."""
    folders = [path.parent / f"compiled-{path.stem}" for path in networks]
    for path, folder in zip(networks, folders, strict=True):
        if not folder.exists() or folder.stat().st_mtime < path.stat().st_mtime:
            tenfold.compile(path, output=folder, batch=1)
    names = list(dict.fromkeys(map(str, folders)))
    times = {row.model: row.latency_ms.median for row in tenfold.bench(names, until_stable=30).rows}
    return [times[str(folder)] for folder in folders]


def compressed(
    model: Path, output: Path, how: tenfold.Plan | float, data: Arrays, learn: Arrays | None, epochs: int = 1, cascade: bool = False
) -> dict[str, Any]:
    """As `tenfold.training.papers.asked.Compress`."""
    asked = how if isinstance(how, tenfold.Plan) else tenfold.Budget(max_drop=how)
    finetuning = None
    if learn is not None:
        changes: dict[str, Any] = {"how": "cascade"} if cascade else {"augment": AUGMENTATIONS}
        finetuning = Finetuning(epochs, {"x": learn[0], "y": learn[1]}, **changes)
    given, settings = {"x": data[0], "y": data[1]}, tenfold.Settings(finetuning=finetuning)
    return tenfold.compress(model, output, asked, data=given, settings=settings, batch=1, progress=say).to_dict()


def say(step: str, done: int | None = None, total: int | None = None) -> None:
    """A line when a step begins."""
    if not done:
        print(f"{step} ...", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = reproductions(MODELS)
    parser.add_argument("table", nargs="?", choices=[*known], metavar="table", help="a name of --list")
    parser.add_argument("--list", action="store_true", help="name the tables, and say where each is from")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar10 and mnist (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: %(default)s)")
    parser.add_argument("--epochs", type=float, help="of runs, and of fine-tuning, that are not there yet; default: the recipe's")
    parser.add_argument("--one-cycle", action="store_true", help="the learning rate of shortened runs rises and falls once")
    parser.add_argument("--images", type=int, metavar="N", help="use so many, where not all need be: a quick try; of jin-speed the batch")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="S", help="of jin-curves and pruning (default: 0)")
    parser.add_argument("--no-times", action="store_true", help="time nothing")
    parser.add_argument("--json", type=Path, help="write the table here")
    args = parser.parse_args()
    if args.list or args.table is None:
        print("\n".join(f"{name:16} {one.about}" for name, one in known.items()))
        return
    measure = None if args.no_times else measured
    asked = Asked(args.data, args.runs, say, args.epochs, args.one_cycle, args.images, tuple(args.seeds), measure, compressed)
    table = known[args.table]
    try:
        result = table.fill(asked)
    except TenfoldError as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("reproduce.py: stopped: the same command goes on", file=sys.stderr)
        sys.exit(130)
    (headings, rows), note = table.show(result), table.note(result)
    listing = Listing(headings, right=range(1, len(headings)), caption=note)
    for row in rows:
        listing.add_row(*row)
    Console().print(listing)
    if args.json is not None:
        shown = {"listing": {"headings": headings, "rows": rows, "note": note}, "machine": describe_machine(["tenfold"])}
        write_text(args.json, json.dumps({**result, **shown}, indent=1) + "\n")


if __name__ == "__main__":
    main()
