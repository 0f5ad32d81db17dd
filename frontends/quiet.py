"""Other people's progress reports and warnings kept off the user's terminal while we use their tools."""
from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from ..support.errors import TenfoldWarning


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """No standard output, of the loggers named only errors, and of Python's warnings only ours, at the end."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    try:
        for logger in found:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", TenfoldWarning)
            yield
        for warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)
