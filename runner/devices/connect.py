"""How a client gets a device for itself: it says who it is, and is served or told why not."""
from __future__ import annotations

import socket
import time
from typing import Any

from ...support.errors import TenfoldError
from .address import parse_address
from .wire import Garbled, Lost, Wire, beat_of, check_silence

PATIENCE, BRIEF = 10.0, 3.0  # seconds for a device to answer at all; for one of several, where the next one may be had
TRIES, PAUSE = 4, 0.2  # greetings of a device that is busy; seconds between two of them
HINT = "is tenfold serve running there (or tenfold-device), and open to this machine (--host)?"


class Unavailable(TenfoldError):
    """The device is not there, or not for this client; another one may be."""


class Busy(Unavailable):
    """The device serves another session."""


def connect(address: str, silence: float, match_key: str | None = None) -> Wire:
    """A wire to a device, which gives signs of life from now on.

    Parameters
    ----------
    address : str
        ``HOST`` or ``HOST:PORT``.
    silence : float
        Seconds without a sign of life of the device after which it counts as gone.
    match_key : str, optional
        With which a tracker has given the device to this client.

    Raises
    ------
    Unavailable
        Nothing answers there, it is no device that serves, it serves another session, or it waits for another client.
    TenfoldError
        The address is none, or the limit on silence.
    """
    check_silence(silence)
    host, port = parse_address(address)
    greeting = {"do": "greet", "silence": silence}
    if match_key is not None:  # the tracker gave a device that was free: if it is busy now, the next one is asked for
        return _greet(address, _reach(address, host, port, BRIEF, silence), {**greeting, "key": match_key})
    for _ in range(TRIES - 1):  # a device takes a moment to see that its last session has ended
        try:
            return _greet(address, _reach(address, host, port, PATIENCE, silence), greeting)
        except Busy:
            time.sleep(PAUSE)
    return _greet(address, _reach(address, host, port, PATIENCE, silence), greeting)


def _reach(address: str, host: str, port: int, patience: float, silence: float) -> Wire:
    try:
        return Wire(socket.create_connection((host, port), patience), min(PATIENCE, silence))
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        raise Unavailable(f"device {address}: {what}: {HINT}") from None


def _greet(address: str, wire: Wire, greeting: dict[str, Any]) -> Wire:
    try:
        wire.send(greeting)
        answer = wire.receive()
        if "stale" in answer:
            raise Unavailable(f"device {address}: {answer['stale']}")
        if "busy" in answer:
            raise Busy(f"device {address}: it serves another session ({answer['busy']}): try again when that has ended")
        check_silence(answer["silence"])
    except (Garbled, TypeError, KeyError):
        wire.close()
        raise Unavailable(f"device {address}: what answers there is not tenfold serve") from None
    except Lost as error:
        wire.close()
        raise Unavailable(f"device {address}: {error}: {HINT}") from None
    except BaseException:
        wire.close()
        raise
    wire.limit(greeting["silence"])
    wire.beat(beat_of(greeting["silence"], answer["silence"]))
    return wire
