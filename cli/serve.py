"""`tenfold serve`: networks timed for another machine."""
from __future__ import annotations

import contextlib
import json as json_text
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..support.errors import TenfoldError
from ..support.files.whole import destination
from ..support.printable import printable
from .answer import STDOUT, check_json
from .app import service
from .options import Silence
from .work import Work

if TYPE_CHECKING:
    from ..runner.devices.registration import Entry

Say = Callable[[str], None]


@service
def serve(
    work: Work,
    host: Annotated[str, typer.Option("--host", help="Listen on this address; whoever reaches it can run any code here.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free.", min=0, max=65535)] = 9190,
    tracker: Annotated[
        str | None, typer.Option("--tracker", help="Register with TVM's RPC tracker, so that it is one of a fleet.", metavar="HOST:PORT")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="What devices like this one are called there.", metavar="KEY")] = None,
    advertise: Annotated[
        str | None, typer.Option("--advertise", help="The address that clients are given; default: as the tracker sees it.", metavar="HOST")
    ] = None,
    silence: Silence = None,
    json: Annotated[str | None, typer.Option("--json", help="A line of JSON an event; - for standard output.", metavar="FILE|-")] = None,
) -> None:
    """Let another machine time networks on this one (compress --device), until Ctrl-C."""
    check_json(json)
    entry = _entry(tracker, key, advertise)
    from ..runner.devices.serve import serve as listen

    work.step, work.kept = "serving", "no session is open any more"
    with _journal(json) as note:

        def say(line: str) -> None:
            note(line)
            if not work.quiet and json != STDOUT:
                print(printable(line), flush=True)

        listen(host, port, say, silence, entry)


def _entry(tracker: str | None, key: str | None, advertise: str | None) -> Entry | None:
    """What the options register the device as."""
    if tracker is None or key is None:
        if (tracker, key, advertise) != (None, None, None):
            raise TenfoldError("--tracker HOST:PORT and --key KEY belong together; --advertise HOST needs both")
        return None
    from ..runner.devices.address import Place
    from ..runner.devices.registration import Entry

    return Entry(Place.of_options(tracker, key), advertise)


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
