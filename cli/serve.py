"""`tenfold serve`: networks timed for another machine."""
from __future__ import annotations

from typing import Annotated

import typer

from .app import command


@command
def serve(
    host: Annotated[str, typer.Option("--host", help="Listen on this address; whoever reaches it can run any code here.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free.", min=0, max=65535)] = 9190,
) -> None:
    """Let another machine time networks on this one (compress --device), until Ctrl-C."""
    from ..runner.serve import serve as work

    work(host, port, lambda line: print(line, flush=True))
