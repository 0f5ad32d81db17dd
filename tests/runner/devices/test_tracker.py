"""What a client says to TVM's tracker, and what it makes of what comes back."""
from __future__ import annotations

import socket

import pytest
from tenfold.runner.devices.address import Place
from tenfold.runner.devices.tracker import MAGIC, Grant, Inbox, Member, Tracker, encode, keys, members
from tenfold.runner.devices.wire import Garbled, Lost
from tenfold.support.errors import TenfoldError
from tracker_checks import answering


def info(host, port, beat=1, user=None, key="rpi"):
    return {"key": f"server:{key}", "addr": [host, port], "tenfold": {"beat": beat, "user": user}}


def test_messages_come_in_any_pieces():
    values = [0, [0, {"a": "ä"}], [0, ["host", 1, "key"]], []]
    content = MAGIC + b"".join(map(encode, values))
    for size in (1, 2, 3, 7, len(content)):
        inbox = Inbox()
        found = [value for start in range(0, len(content), size) for value in inbox.add(content[start : start + size])]
        assert found == values and inbox.greeted


@pytest.mark.parametrize(
    "content", [b"GET ", b"q\xf2\x02\x01", MAGIC + b"\0\0\0\0", MAGIC + b"\xff\xff\xff\xff", MAGIC + b"\1\0\0\0{", MAGIC + b"\1\0\0\0\xff"]
)
def test_what_is_no_message(content):
    with pytest.raises(Garbled):
        list(Inbox().add(content))


def test_devices_and_keys_of_a_summary():
    others = [{"key": "server:rpi", "addr": ["10.0.0.9", 9090]}, {"key": "server:jetson", "addr": ["::1", 1]}, {"key": 7}, None, {}]
    summary = {"queue_info": {}, "server_info": [info("10.0.0.2", 9190, 5, "10.0.0.7"), info("::1", 2), info("x", 1, key="rpi2"), *others]}
    assert members(summary, "rpi") == [Member("10.0.0.2:9190", 5, "10.0.0.7"), Member("[::1]:2", 1, None)]
    assert members(summary, "jetson") == []
    assert keys(summary) == {"jetson": 1, "rpi": 3, "rpi2": 1}


def test_a_device_that_lost_its_power_has_two_entries():
    """The tracker does not see that a connection is dead. The device is one, and gives signs of life."""
    before, after = (members({"server_info": [info("a", 1, 900, "b"), info("a", 1, beat)]}, "rpi") for beat in (1, 2))
    assert len(before) == len(after) == 1 and before[0].beat != after[0].beat


@pytest.mark.parametrize("summary", [{}, {"server_info": 1}, {"server_info": None}])
def test_what_is_no_summary(summary):
    with pytest.raises(Garbled):
        members(summary, "rpi")


@pytest.mark.parametrize("told", [None, [], {}, ["a", "1", "k"], ["a", 1], [1, 1, "k"], ["a", 1, None], ["a", True, "k"]])
def test_what_is_no_device(told):
    with pytest.raises(Garbled):
        Grant.read(told)


def test_a_grant_that_comes_before_a_summary():
    summary = {"queue_info": {}, "server_info": []}
    with answering(MAGIC, encode([0, ["10.0.0.2", 9190, "rpi:1"]]) + encode([0, summary])) as place, Tracker(place, 5.0) as tracker:
        assert tracker.grant(0.01) is None
        assert tracker.summary() == summary
        assert tracker.grant(0.0) == Grant("10.0.0.2:9190", "rpi:1")
        assert tracker.grant(0.01) is None


@pytest.mark.parametrize("answer", [encode(0), encode([1, {}]), encode([0]), encode({}), encode([0, "x"]), b"\0\0\0\0"])
def test_answers_that_make_no_sense(answer):
    with answering(MAGIC, answer) as place, Tracker(place, 5.0) as tracker, pytest.raises(Lost):
        tracker.summary()


def test_a_tracker_that_falls_silent():
    with answering(MAGIC) as place, Tracker(place, 0.5) as tracker, pytest.raises(Lost, match="no answer for 0.5 s"):
        tracker.summary()


def test_a_tracker_that_goes():
    with answering(MAGIC, b"") as place, Tracker(place, 5.0) as tracker:
        tracker.request("rpi")
        tracker._socket.shutdown(socket.SHUT_WR)  # on which it goes too
        with pytest.raises(Lost, match="it has ended the connection"):
            tracker.grant(5.0)


@pytest.mark.parametrize("answers", [(b"HTTP/1.1 400 Bad Request\r\n\r\n",), (), (b"\0\0\0\0",)])
def test_what_is_no_tracker(answers):
    with answering(*answers) as place, pytest.raises(TenfoldError, match=f"device {place}: what listens at {place.tracker} is not TVM's"):
        Tracker(place, 5.0)


def test_what_listens_and_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = Place("127.0.0.1", listener.getsockname()[1], "rpi")
        with pytest.raises(TenfoldError, match=r"is not TVM's RPC tracker \(no answer for 0.5 s\)"):
            Tracker(place, 0.5)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = Place("127.0.0.1", listener.getsockname()[1], "rpi")
    with pytest.raises(TenfoldError, match=f"device {place}: the tracker does not answer: Connection refused: is python -m tvm.exec.rpc_"):
        Tracker(place, 5.0)
