"""Writes the lists of layers of the networks of today, one file for each in `shapes/modern/`.

    python tests/benchmarks/modern/lists.py [--check]

A list has each distinct convolution once. It leaves out those of one pixel, which are fully connected layers. Padding that is not the same
on all sides becomes half a kernel, which gives as many pixels. With ``--check`` nothing is written, and a list that differs is named.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from modern.catalogue import MODERN  # noqa: E402
from modern.graph import Graph  # noqa: E402
from shapes import SHAPES  # noqa: E402

HEAD = """\
# {name}, images of {size} x {size}: written by modern/lists.py.
# channels  filters  size  kernel  [stride  [padding  [groups  [dilation]]]]
"""


def list_of(name: str, graph: Graph) -> str:
    """The list of a network as text."""
    lines = dict.fromkeys(_line(convolution) for convolution in graph.convolutions if convolution[2] != (1, 1))
    return HEAD.format(name=name, size=MODERN[name].size) + "".join(line + "\n" for line in lines)


def _line(convolution: tuple) -> str:
    channels, filters, (size, width), (kernel, other), stride, pads, dilation, groups = convolution
    if size != width or kernel != other:
        raise ValueError(f"a list has no place for {convolution}")
    half = dilation * (kernel // 2)
    padding = pads[0] if len(set(pads)) == 1 else half
    values, usual = [stride, padding, groups, dilation], [1, kernel // 2, 1, 1]
    while values and values[-1] == usual[len(values) - 1]:
        values.pop()
    return f"{channels:4} {filters:4} {size:3} {kernel}" + "".join(f" {value}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a list differs")
    check, folder = parser.parse_args().check, SHAPES / "modern"
    folder.mkdir(exist_ok=True)
    wanted = {folder / f"{name}.txt": list_of(name, net.graph(name, weights=False)[0]) for name, net in MODERN.items()}
    for path in sorted({*folder.glob("*.txt"), *wanted}):
        if check and (path not in wanted or not path.exists() or path.read_text() != wanted[path]):
            sys.exit(f"lists.py: {path} is not what the networks are: run python tests/benchmarks/modern/lists.py")
        if not check and path in wanted:
            path.write_text(wanted[path])
        elif not check:
            path.unlink()


if __name__ == "__main__":
    main()
