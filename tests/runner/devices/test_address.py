"""Addresses of devices and trackers, as users write them."""
from __future__ import annotations

import pytest
from tenfold.runner.devices.address import Place, join_address, split_address
from tenfold.support.errors import TenfoldError


@pytest.mark.parametrize(
    ("address", "parts"), [("board", ("board", 9190)), ("board:1", ("board", 1)), ("[::1]:2", ("::1", 2)), ("::1", ("::1", 9190))]
)
def test_addresses(address, parts):
    assert split_address(address) == parts
    assert split_address(join_address(*parts)) == parts


@pytest.mark.parametrize("address", ["", ":", "board:", ":9190", "board:x", "board:0", "board:70000", "board:-1", "[]:1"])
def test_what_is_none(address):
    assert split_address(address) is None


@pytest.mark.parametrize("address", ["board", "::1"])
def test_a_tracker_has_a_port(address):
    assert split_address(address, None) is None


def test_a_place_at_a_tracker():
    for spec, parts in (
        ("tracker:10.0.0.1:9190/rpi", ("10.0.0.1", 9190, "rpi")),
        ("tracker:[::1]:1/pi/4:a", ("::1", 1, "pi/4:a")),
        ("tracker:tracker:1/tracker", ("tracker", 1, "tracker")),
    ):
        place = Place.of_device(spec)
        assert (place.host, place.port, place.key) == parts and str(place) == spec
        assert Place.of_options(place.tracker, place.key) == place


@pytest.mark.parametrize("spec", ["", "10.0.0.1", "10.0.0.1:9190", "10.0.0.1/rpi", "10.0.0.1:x/rpi", ":9190/rpi", "/rpi", "http://board:1/rpi"])
def test_a_place_that_is_none(spec):
    with pytest.raises(TenfoldError, match=r"--device tracker:.*: write it as tracker:HOST:PORT/KEY, for example tracker:"):
        Place.of_device(f"tracker:{spec}")


@pytest.mark.parametrize("key", ["", "a b", "a\n", "\x1b[0m", "a" * 101])
def test_a_key_that_is_none(key):
    with pytest.raises(TenfoldError, match="(?s)--device tracker:board:1/.*: a key has 1 to 100 letters, and no spaces"):
        Place.of_device(f"tracker:board:1/{key}")
    with pytest.raises(TenfoldError, match="(?s)--key .*: a key has"):
        Place.of_options("board:1", key)
