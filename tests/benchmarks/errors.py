"""How far the engines of a row are from float64."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from double import outputs_in_float64
from tenfold.runner.bench.entries import Entries
from tenfold.runner.data import random_inputs
from tenfold.runner.verify import compare_arrays


def errors_of(opened: Entries, path: Path, one_image: Path) -> dict[str, float]:
    """The largest error of each engine's outputs for the first image, over the largest element of the output.

    Parameters
    ----------
    opened : Entries
        Engines that have a network loaded.
    path : Path
        The file of the network, as `opened` calls it.
    one_image : Path
        The same network for one image, which is evaluated in float64.
    """
    entries = [one for one in opened.entries if one.model == str(path)]
    feeds = random_inputs(entries[0].inputs)
    exact = outputs_in_float64(onnx.load(one_image), {name: value[:1] for name, value in feeds.items()})
    return {one.engine_name: max(compare_arrays(np.asarray(ours)[:1], theirs).relative
                                 for ours, theirs in zip(one.engine.run(feeds), exact, strict=True)) for one in entries}
