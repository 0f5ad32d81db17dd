"""The near side of a session with a device (``tenfold serve``, ``tenfold-device``): what is compiled here is sent there, run and timed."""
from __future__ import annotations

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
from .connect import Unavailable, connect
from .wire import PIECE, PROTOCOL, Closed, Garbled, Lost, Wire, pieces

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


class Session:
    """A device that is connected.

    Parameters
    ----------
    address : str
        ``HOST`` or ``HOST:PORT``.
    silence : float
        Seconds without a sign of life of the device after which the session is given up.
    match_key : str, optional
        With which a tracker has given the device to this client.

    Raises
    ------
    Unavailable
        Nothing answers there, it is no device that serves, it serves another session, or waits for another client.
    TenfoldError
        Its Tenfold is another one, or the address is none.
    """

    def __init__(self, address: str, silence: float = SILENCE, match_key: str | None = None) -> None:
        self.address = address
        self._wire: Wire | None = connect(address, silence, match_key)
        self._unused: list[int] = []
        weakref.finalize(self, self._wire.close)
        about = self.ask("describe")
        if about["version"] != this_version():
            self.close()
            raise TenfoldError(f"device {address}: it has Tenfold {about['version']}, this is {this_version()}: {_mend(about)}")
        self._target, self._reason, self._facts = about["target"], about["reason"], self._read_facts(about.get("facts"))
        self.gpus: list[str] = about.get("gpus", [])  # of a device in Python, for people

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
            raise Unavailable(f"device {self.address}: the session has ended: {error}") from None
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


def _mend(about: dict[str, Any]) -> str:
    """What makes both sides the same, for a device that describes itself so."""
    return "build its program again (tenfold device build)" if about.get("facts") else "install the same on both"


def _pieces_of_file(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as content:
        while piece := content.read(PIECE):
            yield piece
