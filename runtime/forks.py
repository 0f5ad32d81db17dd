"""What threads hold when their process forks: in the child none of them lives, so that nothing may stay locked there."""
from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

PATIENCE = 5.0  # seconds that a fork waits for each lock at most: its own thread may be the one that holds it


class Shared(Protocol):
    """Something that several threads of a process use."""

    @property
    def settles(self) -> threading.Lock | None:
        """A lock that a fork waits for, because what it guards is of no use half done; None: the child can go on from any state."""

    def renew(self) -> None:
        """Forget, in the child, what other threads were doing."""


class Guard:
    """A lock that a fork waits for.

    Attributes
    ----------
    lock : threading.Lock
        Another one in the child.
    """

    def __init__(self) -> None:
        self.renew()
        know(self)

    @property
    def settles(self) -> threading.Lock:
        """The lock that a fork waits for."""
        return self.lock

    def renew(self) -> None:
        """Make another lock, in the child."""
        self.lock = threading.Lock()


def know(shared: Shared) -> None:
    """Let every fork from now on see to it, as long as it lives."""
    _known.add(weakref.ref(shared, _known.discard))


_known: set[weakref.ref[Shared]] = set()  # copied and changed in single steps of the interpreter: threads need no lock for it
_turn = threading.Lock()  # of one fork: two that wait for the same locks would wait for each other
_held: list[threading.Lock] = []  # by the fork whose turn it is


def _before() -> None:
    _take(_turn)
    for shared in _all():
        if (lock := shared.settles) is not None:
            _take(lock)


def _take(lock: threading.Lock) -> None:
    if lock.acquire(timeout=PATIENCE):
        _held.append(lock)


def _in_parent() -> None:
    while _held:
        _held.pop().release()


def _in_child() -> None:
    global _turn
    _turn = threading.Lock()
    _held.clear()
    for shared in _all():
        shared.renew()


def _all() -> list[Shared]:
    return [shared for reference in list(_known) if (shared := reference()) is not None]


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
