"""Devices for the tests of them, alone and in fleets. Files that test another server have a fixture `server` of their own."""
from __future__ import annotations

import pytest
from device_server_checks import serving
from tracker_checks import device, running_tracker, wait_until


@pytest.fixture(scope="module")
def one():
    with serving() as server:
        yield server
        assert server.process.poll() is None


@pytest.fixture
def server(one):
    """One for all tests of a file, whose lines of earlier tests are forgotten: a failure is one failure."""
    one.forget()
    return one


@pytest.fixture(scope="module")
def tracker():
    with running_tracker() as tracker:
        yield tracker


@pytest.fixture(scope="module")
def fleet(tracker):
    """Two devices of one key, one of each kind."""
    with device(tracker, "python") as one, device(tracker, "c++") as other:
        yield [one, other]


@pytest.fixture
def two(fleet, tracker):
    wait_until(lambda: tracker.free() == 2)
    for server in fleet:
        server.forget()
    return fleet


@pytest.fixture
def lone(tracker):
    """One device of a key of its own."""
    with device(tracker, "c++", key="lone") as server:
        wait_until(lambda: tracker.free("lone") == 1)
        yield server
