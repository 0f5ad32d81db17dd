"""The entry of a device at TVM's tracker, of both servers: when it is there, and what becomes of it when something goes wrong."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from device_checks import COMMAND, SECONDS, Server, device_server, ended_after
from tenfold.runner.devices.connect import Busy, Unavailable
from tenfold.runner.devices.session import Session
from tenfold.runner.devices.tracker import MAGIC, Tracker
from tracker_checks import KEY, device, free_port, joining, registered, running_tracker, wait_until

BEGIN, END = "session with 127.0.0.1", "session ended"


@pytest.fixture(scope="module", params=["python", "c++"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def one(tracker, kind):
    """A device for the tests that leave it as it was."""
    with device(tracker, kind) as server:
        yield server


@pytest.fixture
def server(one, tracker):
    wait_until(lambda: tracker.free() == 1)
    one.forget()
    return one


def granted(tracker):
    """What the tracker gives to who asks."""
    with Tracker(tracker.place(), SECONDS) as client:
        client.request(KEY)
        return client.grant(SECONDS)


@pytest.mark.slow
def test_it_tells_of_itself(server, tracker):
    (member,) = tracker.members()
    assert member.address == server.address and member.user is None
    wait_until(lambda: tracker.members()[0].beat > member.beat)


def test_a_match_key_is_good_for_one_session(server, tracker):
    grant = granted(tracker)
    assert grant.address == server.address and tracker.free() == 0
    with_key = Session(grant.address, match_key=grant.match_key)
    assert server.line() == BEGIN
    wait_until(lambda: tracker.members()[0].user == "127.0.0.1")
    assert tracker.free() == 0
    with pytest.raises(Busy):
        Session(grant.address, match_key=grant.match_key)
    with_key.close()
    assert server.line() == END
    wait_until(lambda: tracker.free() == 1 and tracker.members()[0].user is None)
    with pytest.raises(Unavailable, match="it waits for another client, or it is another device than the tracker says"):
        Session(grant.address, match_key=grant.match_key)


def test_a_match_key_that_nobody_gave(server, tracker):
    for key in ("", KEY, f"{KEY}:", "x" * 1000):
        with pytest.raises(Unavailable, match="it waits for another client"):
            Session(server.address, match_key=key)
    assert tracker.free() == 1


@pytest.mark.slow
def test_a_match_key_that_is_not_used_is_given_up(server, tracker):
    first = granted(tracker)
    assert tracker.free() == 0
    wait_until(lambda: tracker.free() == 1)
    assert granted(tracker).match_key != first.match_key


@pytest.mark.slow
@pytest.mark.quick(1)
def test_a_client_that_does_not_ask_the_tracker(server, tracker):
    """It is served, and the tracker has the device for nobody else meanwhile."""
    session = Session(server.address)
    assert server.line() == BEGIN
    wait_until(lambda: tracker.free() == 0 and [member.user for member in tracker.members()] == ["127.0.0.1"])
    with Tracker(tracker.place(), SECONDS) as client:
        client.request(KEY)
        assert client.grant(1.0) is None
        session.close()
        assert server.line() == END
        Session(server.address, match_key=client.grant(SECONDS).match_key).close()


def test_a_session_that_is_killed_frees_the_device(server, tracker):
    session = Session(server.address, match_key=granted(tracker).match_key)
    os.kill(server.session(), signal.SIGKILL)
    wait_until(lambda: tracker.free() == 1)
    with pytest.raises(Unavailable, match="the session has ended"):
        session.ask("describe")


def test_a_device_that_is_killed_is_dropped(tracker, kind):
    with device(tracker, kind, key="other") as server:
        session = Session(server.address)  # whose process has to let go of the entry too
        server.process.kill()
        wait_until(lambda: not tracker.members("other"))
        assert tracker.free("other") == 0
        session.close()


@pytest.mark.quick(1)
def test_a_device_that_is_stopped_is_dropped(tracker, kind):
    with device(tracker, kind, key="other") as server:
        server.stop()
        wait_until(lambda: not tracker.members("other") and tracker.free("other") == 0)


def test_an_address_of_its_own(tracker, kind):
    with device(tracker, kind, "--advertise", "board.example", key="other") as server:
        port = server.address.split(":")[1]
        wait_until(lambda: tracker.free("other") == 1)
        assert [member.address for member in tracker.members("other")] == [f"board.example:{port}"]
        with Tracker(tracker.place(), SECONDS) as client:
            client.request("other")
            assert client.grant(SECONDS).address == f"board.example:{port}"


def started(kind, *options):
    return ended_after((Server if kind == "python" else device_server)(*options))


@pytest.mark.slow
def test_a_tracker_that_comes_late_and_goes(kind):
    """The device says each once, serves all the time, and registers again."""
    with running_tracker() as tracker:
        tracker.stop()
        with started(kind, *joining(tracker)) as server:
            gone = f"the tracker {tracker.address} does not answer: Connection refused: registering as soon as it does"
            assert server.line() == gone
            Session(server.address).close()
            assert [server.line(), server.line()] == [BEGIN, END]
            tracker.start()
            assert server.line() == registered(tracker)
            session = Session(server.address)
            assert server.line() == BEGIN
            tracker.stop()
            assert server.line().startswith(f"the tracker {tracker.address} does not answer: ")
            assert session.ask("describe")["version"]
            tracker.start()
            assert server.line() == registered(tracker)
            assert tracker.free() == 0 and tracker.members()[0].user == "127.0.0.1"
            session.close()
            assert server.line() == END
            wait_until(lambda: tracker.free() == 1)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is not a tracker"),
        (MAGIC + b"\0\0\0\0", "what it sends is no message"),
        (MAGIC + b"\2\0\0\0[1", "what it sends is no message"),
        (MAGIC + b"\1\0\0\0" + b"7", "what it sends is no answer of a tracker"),
        (b"", "it has ended the connection"),
    ],
)
def test_what_is_no_tracker(kind, answer, words):
    """It is told of once, however often it is tried, and the device serves."""
    tries = threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_all():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(len(MAGIC))
                    connection.sendall(answer)
                    while answer and connection.recv(100):
                        pass
                tries.release()

        threading.Thread(target=answer_all, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with started(kind, "--tracker", address, "--key", KEY) as server:
            assert server.line() == f"the tracker {address} does not answer: {words}: registering as soon as it does"
            for _ in range(3):
                assert tries.acquire(timeout=SECONDS)
            Session(server.address).close()
            assert [server.line(), server.line()] == [BEGIN, END]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_a_tracker_that_hangs(kind):
    with running_tracker() as tracker, device(tracker, kind) as server:
        tracker.signal(signal.SIGSTOP)
        assert server.line() == f"the tracker {tracker.address} does not answer: no answer for 10 s: registering as soon as it does"
        Session(server.address).close()
        assert [server.line(), server.line()] == [BEGIN, END]
        tracker.signal(signal.SIGCONT)
        assert server.line() == registered(tracker)
        wait_until(lambda: tracker.free() == 1 and len(tracker.members()) == 1)


WRONG = {
    "no key": (["--tracker", "127.0.0.1:1"], "--tracker HOST:PORT and --key KEY belong together"),
    "no tracker": (["--key", "rpi"], "--tracker HOST:PORT and --key KEY belong together"),
    "an address alone": (["--advertise", "board"], "--tracker HOST:PORT and --key KEY belong together"),
    "no port": (["--tracker", "board", "--key", "rpi"], "--tracker board: write it as HOST:PORT"),
    "a port that is none": (["--tracker", "board:0", "--key", "rpi"], "--tracker board:0: write it as HOST:PORT"),
    "no host": (["--tracker", ":9190", "--key", "rpi"], "--tracker :9190: write it as HOST:PORT"),
    "a name that is unknown": (["--tracker", "no-such.invalid:9190", "--key", "rpi"], "--tracker no-such.invalid:9190: "),
    "a key that is none": (["--tracker", "127.0.0.1:9190", "--key", "a b"], "--key a b: a key has 1 to 100 letters, and no spaces"),
    "nobody would reach it": (["--tracker", "192.0.2.1:9190", "--key", "rpi"], "--host 127.0.0.1: clients of a tracker on another machine"),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("options", WRONG.values(), ids=list(WRONG))
def test_options_that_make_no_sense(kind, options):
    given, words = options
    command = [sys.executable, "-c", COMMAND, "serve"]
    if kind == "c++":
        with ended_after(device_server()) as server:
            command = server.program
    done = subprocess.run([*command, "--port", str(free_port()), *given], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2 and not done.stdout and done.stderr.count("\n") == 1 and words in done.stderr
