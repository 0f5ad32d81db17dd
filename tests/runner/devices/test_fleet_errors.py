"""Devices out of a fleet: what is done and said where one can't be had."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from device_checks import COMMAND, SECONDS, device_server, ended_after
from tenfold.runner.devices.choose import device_of
from tenfold.runner.devices.session import Session
from tenfold.runner.devices.tracker import MAGIC, encode
from tenfold.support.errors import TenfoldError
from tracker_checks import Waiting, answering, device, free_port, running_tracker, spec_of, wait_until


@pytest.mark.slow
def test_no_such_key(two, tracker):
    spec = spec_of(tracker, "pi")
    with pytest.raises(TenfoldError, match=rf"device {spec}: no device of the key pi: the tracker has (lone \(\d\), )?rpi \(2\)$"):
        device_of(spec)


@pytest.mark.slow
def test_servers_that_are_not_of_tenfold(tracker):
    """TVM's own, with the same key."""
    command = [sys.executable, "-m", "tvm.exec.rpc_server", "--host", "127.0.0.1", "--port", str(free_port())]
    command += ["--port-end", "65535", "--tracker", tracker.address, "--key", "tvm"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: tracker.free("tvm") == 1)
        with pytest.raises(TenfoldError, match="the key tvm are TVM's own servers: start tenfold serve"):
            device_of(spec_of(tracker, "tvm"))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(SECONDS)


def test_a_limit_on_waiting(lone, tracker, monkeypatch):
    monkeypatch.setenv("TENFOLD_WAIT", "1")
    words = r"after 1 s the only device of lone is taken \(127.0.0.1:.* by 127.0.0.1\): TENFOLD_WAIT=SECONDS waits longer"
    with device_of(lone.address), pytest.raises(TenfoldError, match=words):
        device_of(spec_of(tracker, "lone"))


@pytest.mark.parametrize("limit", ["x", "-1", "nan"])
def test_a_limit_on_waiting_that_is_none(monkeypatch, limit):
    monkeypatch.setenv("TENFOLD_WAIT", limit)
    with pytest.raises(TenfoldError, match=f"TENFOLD_WAIT={limit}: give seconds"):
        device_of("tracker:127.0.0.1:1/rpi")


def test_a_device_that_hangs_is_passed_over(two, tracker):
    """It takes the connection, and says nothing."""
    first = tracker.members()[0].address
    hung = next(server for server in two if server.address == first)
    other = next(server for server in two if server is not hung)
    os.kill(hung.process.pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # whichever the tracker gives
            with device_of(spec_of(tracker), silence=1) as found:
                assert found.name == other.address
            wait_until(lambda: tracker.free() >= 1)
    finally:
        os.kill(hung.process.pid, signal.SIGCONT)


@pytest.mark.slow
def test_a_lone_device_that_hangs_is_told_of_soon(lone, tracker):
    """As if it were off: the tracker does not know it. With the limit on silence that a user has."""
    os.kill(lone.process.pid, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        with pytest.raises(TenfoldError, match=f"{lone.address} gave no sign of life for 10 s"):
            device_of(spec_of(tracker, "lone"))
        assert time.monotonic() - begin < 15
    finally:
        os.kill(lone.process.pid, signal.SIGCONT)


def test_a_device_that_dies_is_told_of(lone, tracker):
    with device_of(spec_of(tracker, "lone")) as found:
        session = lone.session()
        lone.process.kill()
        os.kill(session, signal.SIGKILL)
        with pytest.raises(TenfoldError, match=f"device {lone.address}: the session has ended"):
            found.session.ask("describe")
    wait_until(lambda: not tracker.members("lone"))


@pytest.mark.slow
def test_an_address_where_nobody_is(tracker):
    """Another device of the key is taken; without one, it is told."""
    with device(tracker, "c++", "--advertise", "127.0.0.2", key="far") as server:
        port = server.address.split(":")[1]
        with pytest.raises(TenfoldError, match=f"127.0.0.2:{port} can't be had .*Connection refused: is tenfold serve running there"):
            device_of(spec_of(tracker, "far"))
        with device(tracker, "c++", key="far") as near:
            wait_until(lambda: tracker.free("far") == 2)
            with device_of(spec_of(tracker, "far")) as found:
                assert found.name == near.address


@pytest.mark.slow
def test_a_tracker_that_goes_for_good_while_a_client_waits():
    with running_tracker() as tracker, device(tracker, "c++"), device_of(spec_of(tracker)) as user:
        waiting = Waiting(spec_of(tracker), silence=2).waits()
        tracker.stop()
        assert waiting.end().error.startswith(f"device {spec_of(tracker)}: the tracker is gone: ")
        assert user.session.ask("describe")["version"]  # which needs no tracker


def test_nothing_is_registered():
    nothing = encode([0, {"queue_info": {}, "server_info": []}])
    with answering(MAGIC, nothing, nothing, nothing) as place:
        with pytest.raises(TenfoldError, match=f"device {place}: no device of the key rpi: the tracker has no devices at all$"):
            device_of(str(place))


WRONG = {
    "no key": ("tracker:127.0.0.1:9190", "write it as tracker:HOST:PORT/KEY"),
    "no port": ("tracker:board/rpi", "write it as tracker:HOST:PORT/KEY"),
    "an empty key": ("tracker:127.0.0.1:9190/", "a key has 1 to 100 letters"),
    "no tracker": (f"tracker:127.0.0.1:{1}/rpi", "the tracker does not answer: Connection refused"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG.values(), ids=list(WRONG))
def test_mistakes_are_one_line(case, tiny_file, tmp_path):
    spec, words = case
    command = [sys.executable, "-c", COMMAND, "compile", str(tiny_file), "-o", str(tmp_path / "out"), "-q", "--device", spec]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr and spec in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_device_is_no_tracker():
    with ended_after(device_server()) as server:
        with pytest.raises(TenfoldError, match=f"what listens at {server.address} is not TVM's RPC tracker"):
            device_of(f"tracker:{server.address}/rpi", silence=1)
        Session(server.address).close()
