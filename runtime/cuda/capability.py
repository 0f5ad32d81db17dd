"""Whether this machine has a GPU that runs an artifact, and which."""
from __future__ import annotations

from collections.abc import Sequence

from ...support.errors import TenfoldError
from ...targets.cuda_driver import NEEDED, Gpu, driver


def gpu_for(features: Sequence[str], index: int | None = None) -> Gpu:
    """The GPU that runs code with `features` (as in a manifest): the first that can, or the one that is asked for.

    Raises
    ------
    TenfoldError
        There is none: no driver, an old one, no GPU, none of that number, or none of these architectures.
    """
    found = driver()
    if found.version < NEEDED:
        raise TenfoldError(f"this NVIDIA driver is for CUDA {found.version}, the code needs {NEEDED}: update the driver")
    here = found.gpus()
    if not here:
        raise TenfoldError("this machine has no GPU that the NVIDIA driver knows")
    if index is not None and not 0 <= index < len(here):
        raise TenfoldError(f"there is no GPU {index}: this machine has {', '.join(f'{gpu.index} ({gpu.name})' for gpu in here)}")
    asked = here if index is None else here[index : index + 1]
    able = [gpu for gpu in asked if gpu.runs(features)]
    if not able:
        have = ", ".join(f"{gpu.name} is {gpu.arch}" for gpu in asked)
        raise TenfoldError(f"it holds code for {', '.join(features)}, and {have}")
    return able[0]


def lacking_gpu(features: Sequence[str], index: int | None = None) -> str | None:
    """Why code with `features` (as in a manifest) can't run on a GPU of this machine (on that of a number); None where it can."""
    try:
        gpu_for(features, index)
    except TenfoldError as error:
        return str(error)
    return None
