"""A device out of a fleet: any of a key that a tracker knows, as soon as one is free."""
from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from ...support.errors import TenfoldError
from ...support.progress import Progress
from .address import Place
from .connect import Busy, Unavailable
from .session import Session
from .tracker import Grant, Member, Tracker, keys, members
from .wire import Lost

WAIT = 3600.0  # seconds to wait for a device that others use
LIMIT = "TENFOLD_WAIT"  # the environment variable with another limit
LOOK = 2.0  # seconds between two looks at what the tracker knows
PAUSE = 0.5  # seconds until a second look: a device that changes its entry is away for a moment
GONE = 10.0  # seconds without a sign of life after which a device at the tracker counts as gone
TRIES, TRIES_EACH = 5, 2  # of devices that the tracker gives and that can't be had; of each, where there is no other
NAMED = 3  # devices that a line names


class Roll:
    """The devices of a key, as the tracker tells of them over time.

    Attributes
    ----------
    present : list of Member
        At the last look.
    seen : float
        When there were any, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.present: list[Member] = []
        self.seen = time.monotonic()
        self._beats: dict[str, tuple[int, float]] = {}

    def look(self, present: Sequence[Member]) -> None:
        """Note who is there now."""
        now = time.monotonic()
        self.present = list(present)
        if self.present:
            self.seen = now
        self._beats = {each.address: self._beat(each, now) for each in self.present}

    def silent(self) -> list[str]:
        """Addresses of devices that have given no sign of life for long."""
        now = time.monotonic()
        return [each.address for each in self.present if now - self._beats[each.address][1] > GONE]

    def _beat(self, member: Member, now: float) -> tuple[int, float]:
        beat, since = self._beats.get(member.address, (None, now))
        return (member.beat, since) if beat == member.beat else (member.beat, now)


class Search:
    """What looks for a free device.

    Parameters
    ----------
    place : Place
    silence : float
        Seconds without a sign of life of the tracker, or of a device, after which it counts as gone.
    say : Progress
    """

    def __init__(self, place: Place, silence: float, say: Progress) -> None:
        self._place, self._silence, self._say = place, silence, say
        self._limit = _limit()
        self._end = time.monotonic() + self._limit
        self._roll = Roll()
        self._failures: list[tuple[str, str]] = []  # addresses, and what was wrong there

    def session(self) -> Session:
        """A session with the first device that is free.

        Raises
        ------
        TenfoldError
            There is no tracker, no device of the key, none that answers, or none that becomes free within the limit.
        """
        tracker = Tracker(self._place, self._silence)
        try:
            if not self._look(tracker):
                time.sleep(PAUSE)
                if not self._look(tracker):
                    raise self._error(self._no_key(tracker.summary()))
            while True:
                try:
                    tracker.request(self._place.key)
                    grant = self._wait(tracker)
                except Lost as error:
                    tracker.close()
                    tracker = self._again(str(error))
                    continue
                session = self._open(grant)
                if session is not None:
                    return session
        except Lost as error:
            raise self._error(f"the tracker: {error}") from None
        finally:
            tracker.close()

    def _look(self, tracker: Tracker) -> bool:
        self._roll.look(members(tracker.summary(), self._place.key))
        return bool(self._roll.present)

    def _wait(self, tracker: Tracker) -> Grant:
        """Wait until the tracker has a device for this client, as long as there is hope. Raises Lost, TenfoldError."""
        while True:
            grant = tracker.grant(LOOK)
            if grant is not None:
                return grant
            if self._look(tracker):
                self._check_hope()
                self._say(f"waiting for a device: {self._taken()}")
            elif time.monotonic() - self._roll.seen > GONE:
                raise self._error(self._no_key(tracker.summary()) + self._had())
            if time.monotonic() > self._end:
                raise self._error(f"after {self._limit:g} s {self._taken()}: {LIMIT}=SECONDS waits longer")

    def _check_hope(self) -> None:
        """Raise TenfoldError if none of the devices that are there can be had."""
        present, silent = [each.address for each in self._roll.present], self._roll.silent()
        if len(silent) == len(present):
            raise self._error(f"{_named(silent)} gave no sign of life for {GONE:g} s{self._had()}")
        tried = [address for address, _ in self._failures]
        if all(address in silent or tried.count(address) >= TRIES_EACH for address in present):
            raise self._error(f"{_named(present)} can't be had{self._had()}")

    def _again(self, why: str) -> Tracker:
        """Another connection to a tracker that is gone, if it comes back soon: its devices will, too."""
        self._say("waiting for the tracker, which is gone")
        end = time.monotonic() + self._silence
        while True:
            time.sleep(PAUSE)
            try:
                tracker = Tracker(self._place, self._silence)
            except TenfoldError:
                if time.monotonic() > min(end, self._end):
                    raise self._error(f"the tracker is gone: {why}") from None
                continue
            self._roll.seen = time.monotonic()
            return tracker

    def _open(self, grant: Grant) -> Session | None:
        self._say(f"connecting to {grant.address}")
        try:
            return Session(grant.address, self._silence, grant.match_key)
        except Busy:  # a client that did not ask the tracker was faster
            return None
        except Unavailable as error:
            self._failures.append((grant.address, str(error)))
        if len(self._failures) == TRIES:
            raise self._error(f"none of {TRIES} devices that the tracker named could be had{self._had()}")
        return None

    def _taken(self) -> str:
        silent = self._roll.silent()
        there = [each for each in self._roll.present if each.address not in silent]
        used = [f"{each.address} by {each.user}" for each in there if each.user is not None]
        of_them = f"all {len(there)} devices of {self._place.key} are" if len(there) > 1 else f"the only device of {self._place.key} is"
        return f"{of_them} taken" + (f" ({_named(used)})" if used else "")

    def _had(self) -> str:
        """What was tried, to end a line."""
        return f" ({self._failures[-1][1]})" if self._failures else ""

    def _no_key(self, summary: dict[str, Any]) -> str:
        found = keys(summary)
        if self._place.key in found:
            return f"what has the key {self._place.key} are TVM's own servers: start tenfold serve, or tenfold-device, with --tracker"
        known = ", ".join(f"{key} ({count})" for key, count in found.items())
        return f"no device of the key {self._place.key}: the tracker has " + (known or "no devices at all")

    def _error(self, words: str) -> TenfoldError:
        return TenfoldError(f"device {self._place}: {words}")


def _named(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _limit() -> float:
    text = os.environ.get(LIMIT) or str(WAIT)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise TenfoldError(f"{LIMIT}={text}: give seconds")
    return limit
