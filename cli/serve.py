"""`tenfold serve`: networks timed for another machine."""
from __future__ import annotations

import contextlib
import json as json_text
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ..support.files.whole import destination
from ..support.printable import printable
from .answer import STDOUT, check_json
from .app import service
from .options import Silence
from .work import Work

Say = Callable[[str], None]


@service
def serve(
    work: Work,
    host: Annotated[str, typer.Option("--host", help="Listen on this address; whoever reaches it can run any code here.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free.", min=0, max=65535)] = 9190,
    silence: Silence = None,
    json: Annotated[str | None, typer.Option("--json", help="A line of JSON an event; - for standard output.", metavar="FILE|-")] = None,
) -> None:
    """Let another machine time networks on this one (compress --device), until Ctrl-C."""
    check_json(json)
    from ..runner.devices.serve import serve as listen

    work.step, work.kept = "serving", "no session is open any more"
    with _journal(json) as note:

        def say(line: str) -> None:
            note(line)
            if not work.quiet and json != STDOUT:
                print(printable(line), flush=True)

        listen(host, port, say, silence)


@contextlib.contextmanager
def _journal(json: str | None) -> Iterator[Say]:
    """Takes events, and writes each as ``{"time": ..., "event": ...}`` at once, where it was asked for."""
    if json is None:
        yield lambda line: None
        return
    with contextlib.nullcontext(sys.stdout) if json == STDOUT else open(destination(Path(json)), "w", encoding="utf-8") as stream:

        def note(line: str) -> None:
            stream.write(json_text.dumps({"time": datetime.now().astimezone().isoformat(), "event": line}) + "\n")
            stream.flush()

        yield note
