"""A step of reading a model that a library does: whatever it raises for a model it can't make sense of becomes one line."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..support.errors import TenfoldError


@contextlib.contextmanager
def step(name: str, doing: str) -> Iterator[None]:
    """Turn an exception of a library into a TenfoldError that names the model and the step.

    Parameters
    ----------
    name : str
        What errors call the model.
    doing : str
        What can't be done, such as "write out its functions".
    """
    try:
        yield
    except TenfoldError:
        raise
    except MemoryError:
        raise TenfoldError(f"{name}: can't {doing}: out of memory") from None
    except Exception as error:
        raise TenfoldError(f"{name}: can't {doing}: {first_line(error)}; check the model with onnx.checker") from error


def first_line(error: BaseException) -> str:
    """The first line that an exception says, or its class, in case it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
