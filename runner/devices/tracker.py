"""TVM's RPC tracker (``python -m tvm.exec.rpc_tracker``), which knows the devices of a fleet by a key: what is said to it, and by a client.

A connection begins with a magic number, which both sides send. Then one side asks and the tracker answers, each time a length and JSON.
A device puts itself there with a match key; a client that requests a device is given its address and that match key, and the entry is gone.
"""
from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...support.errors import TenfoldError
from .address import Place, join_address
from .device import Closing
from .wire import Closed, Garbled, Lost, keep_alive

MAGIC = struct.pack("<i", 0x2F271)
LENGTH = struct.Struct("<i")
LONGEST = 16 << 20
PATIENCE = 5.0  # seconds for a tracker to answer at all
SUCCESS, PUT, REQUEST, UPDATE_INFO, SUMMARY, PENDING_KEYS = 0, 3, 4, 5, 6, 7
KIND = "server:"  # begins the key of a device that tells of itself


def encode(value: Any) -> bytes:
    """A message."""
    content = json.dumps(value).encode()
    return LENGTH.pack(len(content)) + content


class Inbox:
    """What a tracker has sent, cut into messages.

    Attributes
    ----------
    greeted : bool
        Whether its magic number has come.
    """

    def __init__(self) -> None:
        self.greeted = False
        self._content = bytearray()

    def add(self, part: bytes) -> Iterator[Any]:
        """The messages that are complete with these bytes. Raises Garbled."""
        self._content += part
        if not self.greeted:
            if not MAGIC.startswith(self._content[: len(MAGIC)]):
                raise Garbled("what answers there is not a tracker")
            if len(self._content) < len(MAGIC):
                return
            self.greeted = True
            del self._content[: len(MAGIC)]
        while len(self._content) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._content)
            if not 0 < length <= LONGEST:
                raise Garbled("what it sends is no message")
            if len(self._content) < LENGTH.size + length:
                return
            content = bytes(self._content[LENGTH.size : LENGTH.size + length])
            del self._content[: LENGTH.size + length]
            try:
                yield json.loads(content)
            except (ValueError, RecursionError):
                raise Garbled("what it sends is no message") from None


@dataclass(frozen=True)
class Grant:
    """A device that a tracker has given to this client.

    Attributes
    ----------
    address : str
        Where it listens.
    match_key : str
        What shows the device that it was given.
    """

    address: str
    match_key: str

    @classmethod
    def read(cls, told: Any) -> Grant:
        """The answer to a request. Raises Garbled."""
        if not isinstance(told, list) or list(map(type, told)) != [str, int, str]:
            raise Garbled("what it sends is no device")
        return cls(join_address(told[0], told[1]), told[2])


class Tracker(Closing):
    """A client's connection to a tracker.

    Parameters
    ----------
    place : Place
    silence : float
        Seconds without an answer after which the tracker counts as gone.

    Raises
    ------
    TenfoldError
        It does not answer, or is no tracker.
    """

    def __init__(self, place: Place, silence: float) -> None:
        self._silence = silence
        self._inbox = Inbox()
        self._summary: dict[str, Any] | None = None
        self._grant: Grant | None = None
        patience = min(PATIENCE, silence)
        hint = "is python -m tvm.exec.rpc_tracker running there, and open to this machine?"
        try:
            self._socket = socket.create_connection((place.host, place.port), patience)
        except OSError as error:
            what = error.strerror or str(error) or type(error).__name__
            raise TenfoldError(f"device {place}: the tracker does not answer: {what}: {hint}") from None
        try:
            keep_alive(self._socket, silence)
            self._send(MAGIC)
            if not self._take(patience, lambda: self._inbox.greeted):
                raise Lost(f"no answer for {patience:g} s")
        except (Lost, OSError) as error:
            self.close()
            raise TenfoldError(f"device {place}: what listens at {place.tracker} is not TVM's RPC tracker ({error}): {hint}") from None
        except BaseException:
            self.close()
            raise

    def request(self, key: str) -> None:
        """Ask for a device of a key: `grant` has it, when there is one. Raises Lost."""
        self._send(encode([REQUEST, key, "", 1]))

    def grant(self, seconds: float) -> Grant | None:
        """The device that was asked for, if it is given within so many seconds. Raises Lost."""
        self._take(seconds, lambda: self._grant is not None)
        grant, self._grant = self._grant, None
        return grant

    def summary(self) -> dict[str, Any]:
        """What the tracker knows: its queues and its devices. Raises Lost."""
        self._summary = None
        self._send(encode([SUMMARY]))
        if not self._take(self._silence, lambda: self._summary is not None):
            raise Lost(f"no answer for {self._silence:g} s")
        assert self._summary is not None
        return self._summary

    def close(self) -> None:
        """End the connection, and with it what was asked for."""
        with suppress(OSError):
            self._socket.close()

    def _send(self, content: bytes) -> None:
        try:
            self._socket.settimeout(self._silence)
            self._socket.sendall(content)
        except OSError as error:
            raise Closed(error.strerror or str(error)) from None

    def _take(self, seconds: float, done: Callable[[], bool]) -> bool:
        """Take what comes within so many seconds, until it is done; whether it is."""
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            try:
                self._socket.settimeout(left)
                part = self._socket.recv(1 << 16)
            except TimeoutError:
                return False
            except OSError as error:
                raise Closed(error.strerror or str(error)) from None
            if not part:
                raise Closed("it has ended the connection")
            for answer in self._inbox.add(part):
                self._answered(answer)
        return True

    def _answered(self, answer: Any) -> None:
        if not isinstance(answer, list) or len(answer) != 2 or answer[0] != SUCCESS:
            raise Garbled("what it sends is no answer")
        if isinstance(answer[1], dict):
            self._summary = answer[1]
        else:
            self._grant = Grant.read(answer[1])


@dataclass(frozen=True)
class Member:
    """A device that tells a tracker of itself.

    Attributes
    ----------
    address : str
    beat : int
        Another number with each of its signs of life.
    user : str or None
        For whom it works; None: it is free.
    """

    address: str
    beat: int
    user: str | None

    def with_entry(self, other: Member | None) -> Member:
        """With another entry of the same device: of one that lost its power, the tracker keeps the old one too."""
        return self if other is None else Member(self.address, self.beat + other.beat, self.user or other.user)


def members(summary: dict[str, Any], key: str) -> list[Member]:
    """The devices of a key that serve sessions of Tenfold. Raises Garbled for a summary that makes no sense."""
    found: dict[str, Member] = {}
    for info in _infos(summary):
        told, address = info.get("tenfold"), info.get("addr")
        if info["key"] != KIND + key or not isinstance(told, dict) or not isinstance(address, list) or len(address) != 2:
            continue
        beat, user = told.get("beat"), told.get("user")
        if isinstance(beat, int):
            member = Member(join_address(str(address[0]), address[1]), beat, None if user is None else str(user))
            found[member.address] = member.with_entry(found.get(member.address))
    return sorted(found.values(), key=lambda member: member.address)


def keys(summary: dict[str, Any]) -> dict[str, int]:
    """The keys that there are, each with how many devices, TVM's own servers among them."""
    found: dict[str, int] = {}
    for info in _infos(summary):
        key = info["key"].removeprefix(KIND)
        found[key] = found.get(key, 0) + 1
    return dict(sorted(found.items()))


def _infos(summary: dict[str, Any]) -> list[dict[str, Any]]:
    told = summary.get("server_info")
    if not isinstance(told, list):
        raise Garbled("what it sends is no summary")
    return [info for info in told if isinstance(info, dict) and isinstance(info.get("key"), str)]
