"""The near side of a session with a device (``tenfold serve``, ``tenfold-device``): what is compiled here is sent there, run and timed."""
from __future__ import annotations

import contextlib
import socket
import time
import weakref
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from ...runtime.manifest import FORMAT
from ...support.errors import TenfoldError
from ...targets import CpuTarget
from ...targets.cpu_model import CpuModel
from ...targets.host import Facts, target_of
from .wire import PIECE, PROTOCOL, Closed, Garbled, Lost, Wire, beat_of, check_silence, pieces

PORT = 9190
PATIENCE = 10.0  # seconds for a device to answer a greeting
TRIES, PAUSE = 4, 0.2  # greetings of a device that is busy; seconds between two of them
SILENCE = 12.0  # seconds without a sign of life after which a device counts as gone


def this_version() -> str:
    """What both sides must have the same of."""
    return f"{metadata.version('tenfold')}, format {FORMAT}, protocol {PROTOCOL}"


class Refused(TenfoldError):
    """The device answers a question with what is wrong; the session goes on.

    Attributes
    ----------
    words : str
        What it says.
    """

    def __init__(self, address: str, words: str) -> None:
        super().__init__(f"device {address}: {words}")
        self.words = words


class Busy(TenfoldError):
    """The device serves another session."""


class Session:
    """A device that is connected.

    Parameters
    ----------
    address : str
        ``HOST`` or ``HOST:PORT``.
    silence : float
        Seconds without a sign of life of the device after which the session is given up.

    Raises
    ------
    TenfoldError
        Nothing answers there, it is no device that serves, it serves another session, or its Tenfold is another one.
    """

    def __init__(self, address: str, silence: float = SILENCE) -> None:
        self.address = address
        check_silence(silence)
        host, port = _parse(address)
        self._wire: Wire | None = self._begin(host, port, silence)
        self._unused: list[int] = []
        weakref.finalize(self, self._wire.close)
        about = self.ask("describe")
        if about["version"] != this_version():
            self.close()
            raise TenfoldError(f"device {address}: it has Tenfold {about['version']}, this is {this_version()}: {_mend(about)}")
        self._target, self._reason, self._facts = about["target"], about["reason"], self._read_facts(about.get("facts"))

    @property
    def cpu(self) -> str:
        """The device's CPU, for people; empty where it can't tell."""
        if self._facts is not None:
            return self._facts.description
        return self._target["description"] if self._target else ""

    @property
    def cores(self) -> int:
        """The device's physical cores; TenfoldError where it can't tell."""
        return self.target.cores if self._facts is None else self._facts.cores

    @property
    def target(self) -> CpuTarget:
        """The device as a target, as it sees itself; one without LLVM tells facts, and the target is made here.

        Raises
        ------
        TenfoldError
            It can't tell.
        """
        if self._facts is not None:
            return target_of(self._facts, self.address)
        if self._target is None:
            raise TenfoldError(f"device {self.address}: {self._reason}")
        told = {"name": self.address, "features": tuple(self._target["features"]), "model": CpuModel(**self._target["model"])}
        return CpuTarget(**{**self._target, **told})

    def _read_facts(self, told: Any) -> Facts | None:
        try:
            return None if told is None else Facts.read(told)
        except TenfoldError as error:
            self.close()
            raise TenfoldError(f"device {self.address}: {error}") from None

    def ask(self, work: str, **options: Any) -> Any:
        """What the device answers, see `bench_session.Bench`.

        Raises
        ------
        TenfoldError
            The device says what is wrong, or the session has ended.
        """
        return self._ask({"do": work, "drop": self._forgotten(), **options})[0]

    def fetch(self, work: str, size: int, **options: Any) -> bytes:
        """As `ask`, for an answer that so many bytes follow."""
        return self._ask({"do": work, "drop": self._forgotten(), **options}, size=size)[1]

    def send(self, file: Path, name: str) -> None:
        """Put a file into the session's folder under a name.

        Raises
        ------
        TenfoldError
            It can't be written there, or the session has ended.
        """
        self._ask({"do": "store", "name": name, "size": file.stat().st_size}, _pieces_of_file(file))

    def send_bytes(self, content: bytes, name: str) -> None:
        """Put bytes into a file of the session's folder; see `send`."""
        self._ask({"do": "store", "name": name, "size": len(content)}, pieces(content))

    def drop(self, module: int) -> None:
        """Let the device forget a module: with the next question, so that nobody has to wait for it here."""
        self._unused.append(module)

    def close(self) -> None:
        """End the session; the device is free for another."""
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    def _forgotten(self) -> list[int]:
        unused, self._unused = self._unused, []
        return unused

    def _ask(self, question: dict[str, Any], content: Iterable[bytes] = (), size: int = 0) -> tuple[Any, bytes]:
        """Send a question and what follows it; the answer, and the `size` bytes that follow that."""
        if self._wire is None:
            raise TenfoldError(f"device {self.address}: the session has ended")
        try:
            answer = self._exchange(self._wire, question, content)
            if "error" in answer:
                raise Refused(self.address, answer["error"])
            return answer["value"], self._bytes(self._wire, size)
        except Lost as error:
            self.close()
            raise TenfoldError(f"device {self.address}: the session has ended: {error}") from None
        except Refused:
            raise
        except BaseException:  # an interrupt: the answer is still to come, to a question that nobody will remember
            self.close()
            raise

    def _exchange(self, wire: Wire, question: dict[str, Any], content: Iterable[bytes]) -> dict[str, Any]:
        try:
            wire.send(question)
            for piece in content:
                wire.send_piece(piece)
        except Closed:  # its last words may be here
            pass
        answer = wire.receive()
        if not isinstance(answer, dict):
            raise Garbled("what it sends is no answer")
        if "ended" in answer:
            raise Lost(answer["ended"])
        return answer

    @staticmethod
    def _bytes(wire: Wire, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            piece = wire.receive()
            if isinstance(piece, dict) and "ended" in piece:
                raise Lost(piece["ended"])
            if not isinstance(piece, bytes) or not 0 < len(piece) <= size - len(content):
                raise Garbled("what it sends is no answer")
            content += piece
        return bytes(content)

    def _begin(self, host: str, port: int, silence: float) -> Wire:
        """A session. A device takes a moment to see that the last one has ended, so one that is busy is asked again, a few times."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(Busy):
                return self._greet(host, port, silence)
            time.sleep(PAUSE)
        return self._greet(host, port, silence)

    def _greet(self, host: str, port: int, silence: float) -> Wire:
        hint = "is tenfold serve running there (or tenfold-device), and open to this machine (--host)?"
        try:
            wire = Wire(socket.create_connection((host, port), PATIENCE), min(PATIENCE, silence))
        except OSError as error:
            what = error.strerror or str(error) or type(error).__name__
            raise TenfoldError(f"device {self.address}: {what}: {hint}") from None
        try:
            wire.send({"do": "greet", "silence": silence})
            answer = wire.receive()
            if "busy" in answer:
                raise Busy(f"device {self.address}: it serves another session ({answer['busy']}): try again when that has ended")
            check_silence(answer["silence"])
        except (Garbled, TypeError, KeyError):
            wire.close()
            raise TenfoldError(f"device {self.address}: what answers there is not tenfold serve") from None
        except Lost as error:
            wire.close()
            raise TenfoldError(f"device {self.address}: {error}: {hint}") from None
        except BaseException:
            wire.close()
            raise
        wire.limit(silence)
        wire.beat(beat_of(silence, answer["silence"]))
        return wire


def _mend(about: dict[str, Any]) -> str:
    """What makes both sides the same, for a device that describes itself so."""
    return "build its program again (tenfold device build)" if about.get("facts") else "install the same on both"


def _pieces_of_file(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as content:
        while piece := content.read(PIECE):
            yield piece


def _parse(address: str) -> tuple[str, int]:
    """``board:9190`` -> ``("board", 9190)``."""
    host, port = address, str(PORT)
    if address.count(":") == 1 or "]:" in address:
        host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TenfoldError(f"--device {address}: write it as HOST:PORT, for example board:{PORT}")
    return host, int(port)
