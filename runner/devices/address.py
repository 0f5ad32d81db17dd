"""Addresses of devices and trackers, as users write them."""
from __future__ import annotations

from dataclasses import dataclass

from ...support.errors import TenfoldError

PORT = 9190
TRACKER = "tracker"
LONGEST_KEY = 100


def split_address(address: str, port: int | None = PORT) -> tuple[str, int] | None:
    """``board:9190`` -> ``("board", 9190)``, ``[::1]:2`` -> ``("::1", 2)``; without a port, `port`. None: it is no address."""
    host, number = address, str(port or "")
    if address.count(":") == 1 or "]:" in address:
        host, _, number = address.rpartition(":")
    host = host.strip("[]")
    if not host or not number.isdecimal() or not 0 < int(number) < 65536:
        return None
    return host, int(number)


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of a device; TenfoldError for what is no address."""
    found = split_address(address)
    if found is None:
        raise TenfoldError(f"--device {address}: write it as HOST:PORT, for example board:{PORT}")
    return found


def join_address(host: str, port: int) -> str:
    """``("::1", 2)`` -> ``[::1]:2``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_key(key: str, option: str) -> None:
    """Raise TenfoldError, which names the option, if this can't be the key of devices: TVM's own programs split lines at spaces."""
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable() or " " in key:
        raise TenfoldError(f"{option}: a key has 1 to {LONGEST_KEY} letters, and no spaces")


@dataclass(frozen=True)
class Place:
    """A tracker, and a key of devices there.

    Attributes
    ----------
    host, port
        Of the tracker.
    key : str
    """

    host: str
    port: int
    key: str

    @classmethod
    def of_device(cls, spec: str) -> Place:
        """The place that ``tracker:HOST:PORT/KEY`` names; TenfoldError where it is written otherwise."""
        address, slash, key = spec.removeprefix(f"{TRACKER}:").partition("/")
        found = split_address(address, None)
        if found is None or not slash:
            raise TenfoldError(f"--device {spec}: write it as tracker:HOST:PORT/KEY, for example tracker:10.0.0.1:{PORT}/rpi")
        check_key(key, f"--device {spec}")
        return cls(*found, key)

    @classmethod
    def of_options(cls, tracker: str, key: str) -> Place:
        """The place that ``--tracker HOST:PORT --key KEY`` names; TenfoldError where one is written otherwise."""
        found = split_address(tracker, None)
        if found is None:
            raise TenfoldError(f"--tracker {tracker}: write it as HOST:PORT, for example 10.0.0.1:{PORT}")
        check_key(key, f"--key {key}")
        return cls(*found, key)

    @property
    def tracker(self) -> str:
        """The tracker's address, for people."""
        return join_address(self.host, self.port)

    def __str__(self) -> str:
        return f"{TRACKER}:{self.tracker}/{self.key}"
