"""A device in a session: `tenfold serve` in a process of its own on this machine, and everything that can go wrong with one."""
from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading

import pytest
from device_checks import Server
from tenfold.factorization import METHODS, Layer
from tenfold.frontends import load
from tenfold.passes.layer_module import layer_module
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices import session as session_module
from tenfold.runner.devices.remote import Remote
from tenfold.runner.devices.session import Session
from tenfold.search.settings import Settings
from tenfold.search.timing.timer import open_timer
from tenfold.support.errors import TenfoldError
from tenfold.targets import detection
from tenfold.targets.host import detect_host

CONV = Layer("conv", "conv2d", (32, 16, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    assert server.process.poll() is None
    server.stop()


@pytest.fixture
def session(server):
    session = Session(server.address)
    assert server.line() == "session with 127.0.0.1"
    yield session
    session.close()
    assert server.line() == "session ended"


def test_it_says_what_it_is(server):
    assert server.greeting.startswith("serving ") and server.address.startswith("127.0.0.1:")


def test_the_device_is_this_machine(session):
    here = detect_host()  # whatever this process takes it for
    assert (session.target.tvm, session.target.features) == (here.tvm, here.features)
    assert session.target.name == session.address


def test_a_layer_a_chain_and_a_network(session, tiny_file):
    device = TimedModules(session.target, Remote(session))
    for mod in (layer_module(CONV), layer_module(CONV, METHODS["tucker2"].outline(CONV, (8, 8)), ("relax.add", "relax.nn.relu"))):
        assert 0 < device.kernels(mod)() < 1000
    first = device.network(load(tiny_file).mod)
    second = device.network(layer_module(CONV))
    assert all(0 < module() < 1000 for module in (first, second, first))
    del first, second


def test_a_session_that_is_closed(server):
    session = Session(server.address)
    module = TimedModules(session.target, Remote(session)).kernels(layer_module(CONV))
    session.close()
    with pytest.raises(TenfoldError, match="the session has ended"):
        module()
    assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


def test_code_that_the_device_can_not_run(session):
    other = {"name": "board", "architecture": "aarch64", "features": []}
    with pytest.raises(TenfoldError, match=f"device {session.address}: target board: it is for another CPU"):
        session.ask("check", target=other)


@pytest.mark.slow
def test_one_session_at_a_time(session, server):
    with pytest.raises(TenfoldError, match=f"device {server.address}: it serves another session"):
        Session(server.address)


def test_a_session_that_crashes_ends_alone(server):
    session = Session(server.address)
    assert server.line() == "session with 127.0.0.1"
    os.kill(server.session(), signal.SIGILL)
    with pytest.raises(TenfoldError, match="the session has ended: its process died of SIGILL"):
        session.ask("describe")
    assert server.line() == "session ended: its process died of SIGILL"
    Session(server.address).close()
    assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


def test_another_version(server, monkeypatch):
    monkeypatch.setattr(session_module, "this_version", lambda: "0.0, format 0")
    with pytest.raises(TenfoldError, match="it has Tenfold .* this is 0.0, format 0: install the same on both"):
        Session(server.address)
    assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


def test_strangers_do_not_disturb_it(server):
    host, port = server.address.split(":")
    for greeting in (b"", b"GET / HTTP/1.1\r\n\r\n", struct.pack("<ii", 0xFF271, 1 << 30), struct.pack("<ii", 0xFF271, 100) + b"client:"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(greeting)
    Session(server.address).close()
    assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


def test_what_answers_is_something_else():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        thread.start()
        with pytest.raises(TenfoldError, match="what answers there is not tenfold serve|is tenfold serve running there"):
            Session(f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(TenfoldError, match=f"device {address}: .*: is tenfold serve running there"):
        Session(address)


@pytest.mark.parametrize("address", ["", ":", "board:", ":9190", "board:x", "board:0", "board:70000"])
def test_an_address_that_is_none(address):
    with pytest.raises(TenfoldError, match="write it as HOST:PORT"):
        Session(address)


def test_a_search_is_timed_there(server):
    with open_timer(server.address, None, Settings(threads=1)) as (target, timer):
        assert isinstance(timer, TimedModules) and isinstance(timer.device, Remote)
        assert target.cores == 1 and target.tvm["num-cores"] == 1 and target.description == detection.cpu_model()
    assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


@pytest.mark.slow
def test_a_port_that_is_taken(server):
    port = server.address.split(":")[1]
    command = [sys.executable, "-c", "from tenfold.cli import main; main()", "serve", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and f"127.0.0.1:{port}" in done.stderr and done.stderr.count("\n") == 1
