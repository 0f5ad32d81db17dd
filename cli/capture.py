"""What foreign code prints, kept off the user's terminal while a command works: TVM, LLVM and ONNX Runtime write to the file descriptors.

It is dropped when the command ends, and shown when its process dies, for then it may hold the only word on the cause.
"""
from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from typing import IO, TextIO

from ..support.printable import printable

# It reads the steps of the command, one a line. An empty line: all went well. No more lines: the process has died. What was captured is
# its descriptor 1, to read.
WATCHER = r"""
trap '' HUP INT QUIT TERM
step='starting'
while read -r line; do
    [ -z "$line" ] && exit 0
    step=$line
done
cat <&1 >&2
printf 'tenfold: the process died while %s: it was killed, memory ran out, or it crashed; please report a crash\n' "$step" >&2
"""


class Capture:
    """While it is entered, file descriptors 1 and 2, and `sys.stdout` and `sys.stderr`, lead to a temporary file.

    Attributes
    ----------
    stderr : file
        Where standard error went before: for progress and warnings.
    """

    def __init__(self) -> None:
        self.stderr: TextIO = sys.stderr
        self._stack = contextlib.ExitStack()
        self._steps: IO[str] | None = None

    def __enter__(self) -> Capture:
        with contextlib.ExitStack() as stack:
            file, path = tempfile.mkstemp(prefix="tenfold-")
            stack.callback(os.close, file)
            self.stderr = self._real_stderr(stack)
            self._watch(path, stack)
            os.unlink(path)
            for number in (1, 2):
                _redirect(number, file, stack)
            text = io.TextIOWrapper(os.fdopen(os.dup(file), "wb"), errors="backslashreplace", write_through=True)
            stack.callback(_close, text)
            stack.enter_context(contextlib.redirect_stdout(text))
            stack.enter_context(contextlib.redirect_stderr(text))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def note(self, step: str) -> None:
        """What is being done, should the process die of it."""
        if self._steps is not None:
            with contextlib.suppress(OSError):
                self._steps.write(f"{printable(step) or 'working'}\n")

    @staticmethod
    def _real_stderr(stack: contextlib.ExitStack) -> TextIO:
        """`sys.stderr`, or, if descriptor 2 is all that it has, another one to the same place."""
        try:
            if sys.stderr.fileno() != 2:
                return sys.stderr
        except (OSError, ValueError):  # of a test or a notebook: no descriptor
            return sys.stderr
        sys.stderr.flush()
        encoding = sys.stderr.encoding
        return stack.enter_context(os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace"))

    def _watch(self, path: str, stack: contextlib.ExitStack) -> None:
        """Start the process that outlives this one. Where there is no shell, nothing is shown of a crash but its signal."""
        kept = os.open(path, os.O_RDONLY)  # with a position of its own
        try:
            watcher = subprocess.Popen(["/bin/sh", "-c", WATCHER], cwd="/", stdin=subprocess.PIPE, stdout=kept, text=True, bufsize=1)
        except OSError:
            return
        finally:
            os.close(kept)
        self._steps = watcher.stdin
        stack.callback(self._dismiss, watcher)

    def _dismiss(self, watcher: subprocess.Popen[str]) -> None:
        self._steps = None
        with contextlib.suppress(OSError):
            watcher.communicate("\n")


def _redirect(number: int, to: int, stack: contextlib.ExitStack) -> None:
    """Let a descriptor lead elsewhere until the stack is closed."""
    try:
        before = os.dup(number)
    except OSError:  # it is closed
        return
    stack.callback(_restore, before, number)
    os.dup2(to, number)


def _restore(before: int, number: int) -> None:
    os.dup2(before, number)
    os.close(before)


def _close(text: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        text.close()
