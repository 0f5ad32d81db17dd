"""What emulation reports."""
from __future__ import annotations

from ....support.errors import TenfoldError


class EmulationError(TenfoldError):
    """A kernel does what it may not do, or what the emulator does not know. The message says which kernel, block, thread and line."""
