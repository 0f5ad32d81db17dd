"""`tenfold serve`: networks timed for another machine."""
from __future__ import annotations

from typing import Annotated

import typer

from ..printable import printable
from .app import service
from .options import Silence
from .work import Work


@service
def serve(
    work: Work,
    host: Annotated[str, typer.Option("--host", help="Listen on this address; whoever reaches it can run any code here.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free.", min=0, max=65535)] = 9190,
    silence: Silence = None,
) -> None:
    """Let another machine time networks on this one (compress --device), until Ctrl-C."""
    from ..runner.serve import serve as listen

    work.step, work.kept = "serving", "no session is open any more"
    listen(host, port, (lambda line: None) if work.quiet else (lambda line: print(printable(line), flush=True)), silence)
