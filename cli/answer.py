"""What a command found: for people, and as JSON."""
from __future__ import annotations

import json as json_text
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..support.errors import TenfoldError
from ..support.files.whole import destination

STDOUT = "-"


@dataclass(frozen=True)
class Answer:
    """The outcome of a command.

    Attributes
    ----------
    shown : sequence of str or Listing
        For people, in order.
    content : dict or list
        The same for programs.
    code : int
        With which the command ends.
    """

    shown: Sequence[Any]
    content: Mapping[str, Any] | Sequence[Any]
    code: int = 0

    def publish(self, json: str | None, quiet: bool) -> None:
        """Show it, and write the JSON to a file, or to standard output: then people are spoken to on standard error, if not `quiet`."""
        from ..runner.report import console, show
        from ..support.files.folder import write_text

        text = json_text.dumps(_finite(self.content), indent=2) + "\n"
        if json == STDOUT:
            sys.stdout.write(text)
            sys.stdout.flush()
            if not quiet:
                show(self.shown, console(sys.stderr))
            return
        show(self.shown, console(sys.stdout))
        sys.stdout.flush()
        if json is not None:
            write_text(Path(json), text)


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def check_json(json: str | None) -> None:
    """Raise TenfoldError, before any work, if the JSON can't be written there."""
    if json is None or json == STDOUT:
        return
    if not json:
        raise TenfoldError("--json '': give the name of a file, or - for standard output")
    destination(Path(json))
