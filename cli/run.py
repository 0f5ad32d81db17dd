"""`tenfold run`: a compiled network on arrays of a file."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..support.errors import TenfoldError
from .answer import Answer
from .app import command
from .options import Device, Threads
from .work import Work

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.artifact import Artifact
    from ..support.progress import Progress


@command
def run(
    work: Work,
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.", metavar="DIR")],
    inputs: Annotated[Path, typer.Option("--input", help="The one input as .npy, or all by name as .npz.", metavar="X.npy|X.npz")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the outputs by name.", metavar="Y.npz")] = None,
    threads: Threads = None,
    device: Device = None,
) -> Answer:
    """Run a compiled network on arrays of a file."""
    work.say("loading the artifact")
    from ..runtime.arrays import read_arrays, write_arrays
    from ..support.files.whole import destination

    if output is not None:
        if output.suffix != ".npz":
            raise TenfoldError(f"{output}: the outputs are written as .npz: give a name that ends in it")
        destination(output)
    with _loaded(artifact, threads, device, work.say) as network:
        if any(size.manifest.verification is None for size in network.sizes):
            work.remark(f"{artifact}: it was never verified: tenfold verify {artifact} does that")
        work.say("reading the inputs")
        feeds = read_arrays(inputs)
        work.say("running the network")
        results = network.run(feeds)
    shown = [f"{name}: {value.dtype}{list(value.shape)}, {_summary(value)}" for name, value in results.items()]
    content = {"outputs": {name: _facts(value) for name, value in results.items()}, "output": output and str(output)}
    if output is not None:
        write_arrays(output, results)
        shown.append(f"wrote {output}")
    return Answer(shown, content)


@contextlib.contextmanager
def _loaded(artifact: Path, threads: int | None, device: str | None, say: Progress) -> Iterator[Artifact]:
    """The network, here or on a device. Without one nothing but the runtime is imported."""
    if device is None:
        from ..runtime.loading import load

        yield load(artifact, threads)
        return
    from ..runner.devices.artifacts import load_on, read_manifest
    from ..runner.devices.choose import device_of

    with device_of(device, architecture=read_manifest(artifact).target["architecture"], progress=say) as where:
        yield load_on(where, artifact, threads)


def _summary(value: np.ndarray) -> str:
    if value.size and value.dtype.kind in "fiu":
        return f"from {value.min():.6g} to {value.max():.6g}, largest at {value.argmax()}"
    return f"{value.size} values"


def _facts(value: np.ndarray) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": str(value.dtype), "shape": list(value.shape)}
    if value.size and value.dtype.kind in "fiu":
        facts |= {"min": value.min().item(), "max": value.max().item(), "largest_at": int(value.argmax())}
    return facts
