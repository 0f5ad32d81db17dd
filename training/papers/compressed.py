"""Networks compressed without fine-tuning and with it: ResNet-20, and the bundled networks.

A search may look at the first part of the test images, and verifies on half of them; what is told is of the rest, which it never sees.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...frontends import load
from ...frontends.reference.free_batch import free_batch
from ...passes.inventory import inventory
from ...support.errors import TenfoldError
from ...support.files.json_text import read_json
from ..data import prepare, read_images
from ..data.preprocessing import normalize
from ..recipes import recipe
from ..run import NETWORK
from .accuracy import accuracy
from .asked import Arrays, Asked, Table, short
from .tables import trained

SEARCHED, LEARNED = 5000, 20_000  # images
EPOCHS = 5  # of fine-tuning
MAX_DROP = 1.0  # points that a search may lose


@dataclass(frozen=True)
class Subject:
    """A network to compress.

    Attributes
    ----------
    title : str
    model : Path
    search, learn, test : arrays
        Images and labels to search with, to fine-tune with, and to report on.
    goal : (float, float) or None
        Times fewer multiply-adds and milliseconds that are wanted.
    """

    title: str
    model: Path
    search: Arrays
    learn: Arrays
    test: Arrays
    goal: tuple[float, float] | None = None


def resnet_table(asked: Asked) -> dict[str, Any]:
    """ResNet-20, trained if it is not there."""
    run = trained("resnet20", "cifar10", asked)
    images = read_images(asked.data / "cifar10")
    ready = prepare(images, recipe("resnet20").pipeline, run)
    parts = [(x.numpy(), y.numpy()) for x, y in ((ready.test_x, ready.test_y), (ready.train_x, ready.train_y))]
    return _table("resnet", [_subject("ResNet-20", run / NETWORK, parts[0], parts[1], asked)], asked)


def bundled_table(models: Sequence[tuple[str, Path, tuple[float, float]]], asked: Asked) -> dict[str, Any]:
    """The bundled networks.

    Parameters
    ----------
    models : sequence of (str, Path, (float, float))
        Titles, files, and goals: times fewer multiply-adds, and milliseconds.
    asked : Asked
    """
    images = read_images(asked.data / "cifar10")
    count = asked.images or len(images.test_x)
    tests = normalize(images.test_x[: 2 * count]), images.test_y[: 2 * count]
    learned = normalize(images.train_x[:LEARNED]), images.train_y[:LEARNED]
    return _table("bundled", [_subject(title, path, tests, learned, asked, goal) for title, path, goal in models], asked)


def _subject(title: str, model: Path, tests: Arrays, learn: Arrays, asked: Asked, goal: tuple[float, float] | None = None) -> Subject:
    count = min(asked.images or SEARCHED, len(tests[0]) // 2)
    learned = min(4 * count, LEARNED)
    end = None if asked.images is None else 2 * count
    search, test = ((tests[0][part], tests[1][part]) for part in (slice(0, count), slice(count, end)))
    return Subject(title, model, search, (learn[0][:learned], learn[1][:learned]), test, goal)


def _table(name: str, subjects: Sequence[Subject], asked: Asked) -> dict[str, Any]:
    if asked.compress is None:
        raise TenfoldError(f"table {name} needs tenfold.compress")
    epochs = EPOCHS if asked.epochs is None or name == "resnet" else max(1, round(asked.epochs))
    rows: list[dict[str, Any]] = []
    files: list[Path] = []
    for subject in subjects:
        for tuned in (None, False, True):
            path, facts = subject.model, {}
            if tuned is not None:
                folder = asked.runs / name / f"{subject.model.stem}{'-tuned' if tuned else ''}"
                if not (folder / "report.json").exists():
                    asked.say(f"{subject.title}{', with fine-tuning' if tuned else ''}")
                    asked.compress(subject.model, folder, MAX_DROP, subject.search, subject.learn if tuned else None, epochs)
                path, facts = folder / "model.onnx", {"verdict": read_json(folder / "report.json")["search"]["verdict"]}
            rows.append({"title": subject.title, "tuned": tuned, **_figures(path, subject), **facts, "goal": subject.goal})
            files.append(path)
    times = [None] * len(rows) if asked.measure is None else asked.measure(files)
    learned = len(subjects[0].learn[0])
    return {"table": name, "source": "a search that may lose a point", "epochs": epochs, "learned": learned,
            "images": len(subjects[0].test[0]), "rows": [{**row, "ms": ms} for row, ms in zip(rows, times, strict=True)]}


def _figures(path: Path, subject: Subject) -> dict[str, Any]:
    network = load(path, batch=1)
    layers = inventory(network.mod)
    right = 100 * accuracy(free_batch(network.onnx, subject.test[0]), *subject.test)
    return {"accuracy": right, "macs": sum(layer.macs for layer in layers), "parameters": sum(layer.params for layer in layers)}


def show(content: Mapping[str, Any]) -> Table:
    """Of `resnet_table` and `bundled_table`."""
    rows, dense = [], content["rows"][0]
    for row in content["rows"]:
        dense = row if row["tuned"] is None else dense
        how = {None: "dense", False: "compressed", True: "compressed and fine-tuned"}[row["tuned"]]
        ms = "-" if row["ms"] is None else f"{row['ms']:.3f}"
        fewer = [f"{dense[key] / row[key]:.1f} x" if row[key] else "-" for key in ("macs", "ms")]
        goal = "" if row["goal"] is None or row["tuned"] is not True else f"{row['goal'][0]:g} x, {row['goal'][1]:g} x"
        points = f"{row['accuracy'] - dense['accuracy']:+.2f}"
        rows.append([f"{row['title']}, {how}", f"{row['accuracy']:.2f} %", points, short(row["macs"]), fewer[0],
                     f"{row['parameters']:,}", ms, fewer[1], goal])
    return ["", "accuracy", "points", "MACs", "fewer", "weights", "ms", "faster", "wanted"], rows


def note(content: Mapping[str, Any]) -> str:
    """Of `resnet_table` and `bundled_table`."""
    tuned = f"fine-tuned for {content['epochs']} epochs on {content['learned']:,} images"
    return f"{content['source']}; {tuned}; accuracy on {content['images']:,} test images that the search did not see"
