"""JSON that others wrote, read strictly: what a reader of it may take for granted holds, and everything else is refused in one line."""
from __future__ import annotations

import json
import math
import os
from typing import Any, NoReturn

from ..errors import TenfoldError
from .regular import read_regular


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file; TenfoldError as of `open_regular` and `parse_json`."""
    return parse_json(decode_text(read_regular(path), os.fspath(path)), os.fspath(path))


def decode_text(content: bytes, source: str) -> str:
    """UTF-8, with or without the mark that some editors put first; TenfoldError, naming `source`, for anything else."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TenfoldError(f"{source}: it is not UTF-8 text (byte {error.start})") from None


def parse_json(text: str, source: str) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    text : str
    source : str
        What errors call it, for example its path.

    Raises
    ------
    TenfoldError
        Not JSON; a key that stands twice in an object; a number that is not finite (JSON has none, but Python's parser takes NaN) or has
        thousands of digits; brackets thousands of levels deep; a character that can't be written as UTF-8 (half of a pair).
    """

    def fail(what: str) -> NoReturn:
        raise TenfoldError(f"{source}: {what}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            fail(f"{next(n for n in names if names.count(n) > 1)!r} stands there twice: remove one")
        return found

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else fail(f"{digits[:40]} is not a finite number")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        fail(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}")
    except UnicodeEncodeError:
        fail("it holds half of a pair of surrogates, which is no character")
    except RecursionError:
        fail("its brackets are nested too deeply")
    except ValueError:
        fail("a number in it has thousands of digits")
