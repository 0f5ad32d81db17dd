"""A device for tests: ``tenfold serve`` in a process of its own on this machine."""
from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

SECONDS = 60  # that anything may take on a machine that does other things too
COMMAND = "from tenfold.cli import main; main()"


class Server:
    """`tenfold serve`, and the lines that it prints.

    Parameters
    ----------
    *options : str
        Of the command.
    folder : Path, optional
        For temporary files.
    patch : str
        Python that is run before the command: what makes it slow, or impatient.
    """

    def __init__(self, *options: str, folder: Path | None = None, patch: str = "") -> None:
        command = [sys.executable, "-c", f"{patch}\n{COMMAND}", "serve", "--port", "0", *options]
        environment = os.environ | ({} if folder is None else {"TMPDIR": str(folder)})
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [self._lines.put(line.rstrip()) for line in self.process.stdout], daemon=True).start()
        self.greeting = self.line()
        self.address = self.greeting.split(" on ")[1].split(",")[0]

    def line(self) -> str:
        """The next line that it prints."""
        return self._lines.get(timeout=SECONDS)

    def session(self) -> int:
        """The process of its session."""
        (child,) = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        return int(child)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)
