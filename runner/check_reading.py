"""Is the network, as it was read, the one in the file? Asked before anything is made of it: what is factored has no other reference."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..support.errors import VerificationError
from .data import Data, random_inputs
from .judgement import Verified, judge
from .tolerance import Tolerance

if TYPE_CHECKING:
    from ..frontends import Network

RANDOM_SETS = 2  # of random inputs that are verified
REAL_BATCHES = 8  # of real inputs, where given


def check_reading(network: Network, images: Data | None = None, tolerance: float | None = None) -> Verified:
    """Compare the normalised graph with the model as it was given; once for each network.

    Parameters
    ----------
    network : Network
        It keeps the result.
    images : Data, optional
        Real inputs to compare on, besides random ones.
    tolerance : float, optional
        As of `compile`.

    Raises
    ------
    VerificationError
        They differ: the model was read wrong.
    """
    if network.reading is None:
        from ..frontends.reference import Reference

        read = Reference.of_onnx(network.onnx)
        names, allowed = [spec.name for spec in network.outputs], Tolerance.of(network.run_reference.precision, tolerance)
        sets = verification_inputs(network, images)
        try:
            network.reading = judge(read, network.run_reference, sets, names, allowed, "the network as it was read")
        except VerificationError as error:
            merged = network.simplified is not None and network.simplified.merges
            advice = "please report it, with the model" + (" (--no-simplify leaves out what was merged)" if merged else "")
            raise VerificationError(f"{network.name}: {error}; this is a fault of Tenfold: {advice}") from None
    return network.reading


def check_images(images: Data, network: Network) -> None:
    """Raise TenfoldError unless the images fit the network's inputs."""
    images.check_all(network.inputs, network.name)


def verification_inputs(network: Network, images: Data | None) -> Iterator[dict[str, np.ndarray]]:
    """What networks are compared on: random inputs, and the first batches of real ones."""
    for seed in range(RANDOM_SETS):
        yield random_inputs(network.inputs, seed)
    if images is not None:
        yield from images.feeds(network.inputs, REAL_BATCHES)
